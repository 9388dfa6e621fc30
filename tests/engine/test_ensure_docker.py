"""scripts/ensure-docker against commands that pretend: what it starts, what it falls back to, what it says."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "ensure-docker"
# `docker version` answers once dockerd has made the file `up`.
DOCKER = 'if [ -e "$STATE/up" ]; then echo 99.1; else echo "${REFUSAL:-Cannot connect}" >&2; exit 1; fi'
DOCKERD = 'echo "$*" >> "$STATE/started"; case " $REFUSED " in *" $2 "*) echo "failed to start daemon: no $2" >&2; exit 1;; esac; touch "$STATE/up"; exec sleep 5'  # noqa: E501
COMMANDS = {"docker": DOCKER, "dockerd": DOCKERD, "id": 'case $1 in -u) echo "$USER_ID";; *) echo ann;; esac'}

pytestmark = pytest.mark.skipif(
    Path("/run/systemd/system").exists(), reason="with systemd the script calls the real systemctl"
)


@pytest.fixture
def run(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    for name, body in COMMANDS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)

    def call(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        values = {
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "STATE": str(tmp_path),
            "TMPDIR": str(tmp_path),
            "USER_ID": "0",
            "MOORAGE_DOCKERD_LOG": str(tmp_path / "log"),
            "MOORAGE_DOCKERD_PID": str(tmp_path / "pid"),
        }
        return subprocess.run(
            [str(SCRIPT), *arguments],
            env=values | environment,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
        )

    return call


def test_an_engine_that_answers_is_left_alone(run, tmp_path: Path):
    (tmp_path / "up").touch()
    done = run()
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not (tmp_path / "started").exists()


def test_it_starts_dockerd_with_overlay2(run, tmp_path: Path):
    done = run()
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "started").read_text().split("\n")[:-1] == ["--storage-driver overlay2"]
    assert done.stderr.splitlines()[-1] == "Docker 99.1 answers."


def test_it_falls_back_to_vfs(run, tmp_path: Path):
    done = run(REFUSED="overlay2")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "started").read_text().split("\n")[:-1] == ["--storage-driver overlay2", "--storage-driver vfs"]


def test_a_pid_file_left_by_a_crash_is_no_engine(run, tmp_path: Path):
    (tmp_path / "pid").write_text(str(os.getpid()))
    assert run().returncode == 0
    assert not (tmp_path / "pid").exists()


def test_it_says_why_dockerd_did_not_start(run, tmp_path: Path):
    done = run(REFUSED="overlay2 vfs")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        f"dockerd did not start (failed to start daemon: no vfs): see why with  tail -n 30 {tmp_path / 'log'}"
    )


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        (
            {"DOCKER_HOST": "tcp://192.0.2.1:2375"},
            "Docker does not answer at DOCKER_HOST=tcp://192.0.2.1:2375:"
            " start it there, or use this machine's with  unset DOCKER_HOST",
        ),
        (
            {"REFUSAL": "permission denied while trying to connect"},
            "Docker runs, but this user may not use it: run  sudo usermod -aG docker ann && newgrp docker",
        ),
        (
            {"USER_ID": "1000", "PATH": "no-sudo"},
            "Docker does not answer and starting it takes root: run  sudo scripts/ensure-docker  (or ask whoever has root)",
        ),
    ],
)
def test_what_it_cannot_mend_is_one_sentence(run, tmp_path: Path, environment: dict[str, str], sentence: str):
    if environment.get("PATH"):
        sudo = tmp_path / "sudo"
        sudo.write_text("#!/bin/sh\nexit 1\n")
        sudo.chmod(0o755)
        environment = {name: value for name, value in environment.items() if name != "PATH"}
    done = run(**environment)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", sentence + "\n")
    assert not (tmp_path / "started").exists()


def test_check_only_asks(run, tmp_path: Path):
    done = run("--check")
    assert (done.returncode, done.stderr) == (1, "Docker does not answer: start it with  scripts/ensure-docker\n")
    assert not (tmp_path / "started").exists()
