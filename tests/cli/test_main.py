"""The entry point: help, wrong usage, one sentence for every failure."""

from __future__ import annotations

import subprocess
import sys

import pytest

import moorage
from moorage.cli.main import COMMANDS


def test_without_a_command_it_explains_itself(moor):
    code, out, _ = moor()
    assert code == 2
    assert all(f"  {name}" in out for name in COMMANDS)
    assert "First steps:" in out


def test_the_version(moor):
    assert moor("--version")[:2] == (0, f"moor {moorage.__version__}\n")


def test_an_unknown_command_is_wrong_usage(moor):
    code, _, err = moor("sail")
    assert code == 2
    assert "invalid choice: 'sail'" in err


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - {"aws"}))
def test_every_command_has_help(moor, name):
    code, out, _ = moor(name, "--help")
    assert code == 0
    assert out.startswith(f"usage: moor {name}")


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--account", "12"], "moor: --account 12 is not an account. an account has 12 digits\n"),
        (["--region", "here"], "moor: --region here is not a region. a region looks like eu-west-1\n"),
        (["--port", "70000"], "moor: --port 70000 is not a port. ports go from 1 to 65535\n"),
    ],
)
def test_up_refuses_what_cannot_be(moor, data_dir, words, sentence):
    assert moor("up", *words) == (1, "", sentence)


@pytest.mark.parametrize("name", ["reset"])
def test_a_command_that_needs_the_server_says_how_to_start_it(moor, data_dir, name):
    code, _, err = moor(name)
    assert code == 1
    assert err == f"moor: Moorage does not run with the data directory {data_dir}. Start it: moor up --detach\n"


def test_commands_stay_light():
    """`moor status` answers at once because it loads nothing of the server."""
    code = "import sys, moorage.cli.main, moorage.cli.commands.status; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"aiohttp", "botocore", "grpc", "moto", "asyncio", "moorage.app"} & set(loaded)
