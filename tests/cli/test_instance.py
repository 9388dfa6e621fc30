"""Which server belongs to a data directory: the lock decides, not the process id."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from moorage.cli.instance import Instance, hold, remembered, running
from moorage.domain.errors import Permanent

ME = Instance(4711, "127.0.0.1", 4566, "000000000000", "us-east-1", 1_700_000_000.0)
HOLDER = """
import pathlib, sys, time
from moorage.cli.instance import Instance, hold
with hold(pathlib.Path(sys.argv[1]), Instance(1, "127.0.0.1", 4566, "000000000000", "us-east-1")):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_nothing_runs_in_an_unknown_directory(tmp_path):
    assert running(tmp_path / "nowhere") is None
    assert remembered(tmp_path / "nowhere") is None


def test_a_server_is_seen_while_it_holds_the_directory(tmp_path):
    with hold(tmp_path, ME):
        assert running(tmp_path) == ME
    assert running(tmp_path) is None
    assert remembered(tmp_path) == ME


def test_a_second_server_is_refused(tmp_path):
    with hold(tmp_path, ME), pytest.raises(Permanent, match="its pid is 4711"), hold(tmp_path, ME):
        pass


def test_a_killed_server_is_not_taken_for_a_living_one(tmp_path):
    """Its file stays behind and names a process id that lives (1): the lock is gone all the same."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        assert running(tmp_path) is not None
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert running(tmp_path) is None
    assert remembered(tmp_path).pid == 1


def test_a_file_of_something_else_is_no_server(tmp_path):
    (tmp_path / "moorage.pid").write_text("4711\n")
    assert running(tmp_path) is None
    assert remembered(tmp_path) is None


@pytest.mark.parametrize(
    ("host", "endpoint"),
    [
        ("127.0.0.1", "http://localhost:4566"),
        ("0.0.0.0", "http://localhost:4566"),
        ("10.1.2.3", "http://10.1.2.3:4566"),
    ],
)
def test_the_endpoint_is_where_a_client_of_this_machine_reaches_it(host, endpoint):
    assert Instance(1, host, 4566, "000000000000", "us-east-1").endpoint == endpoint
