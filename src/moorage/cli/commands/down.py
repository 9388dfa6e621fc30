"""Stop Moorage and remove what it made on this machine: containers, networks, namespaces, addresses, the proxy. The
state stays in the data directory: `moor up` finds everything again and starts its tasks anew.

A server that was killed leaves its containers serving; this command then cleans up in its place."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from moorage.cli.client import ask
from moorage.cli.docker_engine import find
from moorage.cli.instance import PID_FILE, Instance, add_data_dir, remembered, running
from moorage.domain.errors import MoorageError, Permanent

SHUTDOWN_SECONDS = 150  # tasks may take their stopTimeout, at most 120 s
TERM_SECONDS = 10


def arguments(parser: argparse.ArgumentParser) -> None:
    add_data_dir(parser)


def run(options: argparse.Namespace) -> int:
    data_dir: Path = options.data_dir.expanduser().resolve()
    instance = running(data_dir)
    if instance is None and remembered(data_dir) is None:
        sys.stdout.write(f"Nothing runs with the data directory {data_dir}.\n")
        return 0
    if instance is None or not _asked(instance, data_dir):
        _clean_up(data_dir)
    (data_dir / PID_FILE).unlink(missing_ok=True)
    sys.stdout.write(f"Moorage is down: no containers, networks or proxy left. The state is kept in {data_dir}\n")
    return 0


def _asked(instance: Instance, data_dir: Path) -> bool:
    """Whether the server took itself down in an orderly way; when it did not, it is ended all the same."""
    try:
        ask(instance, "POST", "/_moorage/shutdown", {"purge": False}, timeout=SHUTDOWN_SECONDS)
    except MoorageError as error:
        sys.stderr.write(f"The server could not stop by itself ({error}); ending it and cleaning up after it.\n")
    else:
        if _ended(data_dir, SHUTDOWN_SECONDS):
            return True
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.kill(instance.pid, number)
        except ProcessLookupError:
            break
        except PermissionError as error:
            raise Permanent(
                f"The server (pid {instance.pid}) belongs to another user", next="As that user, or root: sudo moor down"
            ) from error
        if _ended(data_dir, TERM_SECONDS):
            break
    return False


def _ended(data_dir: Path, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while running(data_dir) is not None:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def _clean_up(data_dir: Path) -> None:
    """In the place of a server that is dead: the server's own code removes what its installation made."""
    environment = {**os.environ, "MOORAGE_DATA_DIR": str(data_dir), "DOCKER_HOST": find()}
    done = subprocess.run(
        [sys.executable, "-m", "moorage.app", "--cleanup"], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines()
        raise Permanent("The clean-up failed", lines[-1] if lines else "", "Try it again: moor down")
