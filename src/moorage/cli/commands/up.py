"""Start Moorage: one endpoint for every AWS API, on http://localhost:4566 unless told otherwise.

In the foreground it prints the exports and `Ready.`, and stays until Ctrl-C; containers and load balancers then go on
serving, and the next `moor up` takes them over. With --detach it returns as soon as the server answers."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from moorage.cli.client import healthy
from moorage.cli.docker_engine import find
from moorage.cli.exports import exports
from moorage.cli.instance import LOG_FILE, Instance, add_data_dir, running
from moorage.cli.machine import missing_rights, need_port
from moorage.cli.server import run as serve
from moorage.domain.errors import Permanent
from moorage.settings import DEFAULT_PORT, Settings

START_SECONDS = 60
LOG_LINES = 15


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", "--detach", action="store_true", help="run in the background, return when it is ready")
    parser.add_argument("-p", "--port", type=int, default=DEFAULT_PORT, help="default: %(default)s; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="the address to listen on (default: %(default)s)")
    parser.add_argument("--account", default="000000000000", help="the account of callers that name none (12 digits)")
    parser.add_argument("--region", default="us-east-1", help="the region of callers that name none")
    add_data_dir(parser)


def run(options: argparse.Namespace) -> int:
    data_dir: Path = options.data_dir.expanduser().resolve()
    _check(options)
    present = running(data_dir)
    if present:
        sys.stdout.write(f"Moorage already runs (pid {present.pid}) at {present.endpoint}.\n{exports(present)}")
        return 0
    engine = find()
    port = need_port(options.host, options.port)
    if note := missing_rights():
        sys.stderr.write(note + "\n")
    settings = Settings(
        host=options.host, port=port, data_dir=data_dir, account=options.account, region=options.region,
        docker_host=engine,
    )  # fmt: skip
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Permanent(f"The data directory {data_dir} cannot be made", error.strerror or "") from error
    if options.detach:
        return _detach(settings)
    serve(settings, announce=True)
    return 0


def _check(options: argparse.Namespace) -> None:
    if not re.fullmatch(r"\d{12}", options.account):
        raise Permanent(f"--account {options.account} is not an account", "an account has 12 digits")
    if not re.fullmatch(r"[a-z]{2}(-[a-z]+)+-\d", options.region):
        raise Permanent(f"--region {options.region} is not a region", "a region looks like eu-west-1")
    if not 0 <= options.port <= 65535:
        raise Permanent(f"--port {options.port} is not a port", "ports go from 1 to 65535")


def _detach(settings: Settings) -> int:
    log = settings.data_dir / LOG_FILE
    before = log.stat().st_size if log.exists() else 0
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "moorage.cli.server", msgspec.json.encode(settings, enc_hook=str).decode()],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, cwd="/",
        )  # fmt: skip
    instance = Instance(process.pid, settings.host, settings.port, settings.account, settings.region)
    deadline = time.monotonic() + START_SECONDS
    while not healthy(instance):
        if process.poll() is not None:
            raise Permanent("Moorage did not start", _tail(log, before) or f"exit code {process.returncode}")
        if time.monotonic() > deadline:
            process.terminate()
            raise Permanent(f"Moorage did not answer within {START_SECONDS} seconds", _tail(log, before))
        time.sleep(0.02)
    sys.stdout.write(f"Moorage runs (pid {process.pid}), its log is {log}\n{exports(instance)}Ready.\n")
    return 0


def _tail(log: Path, start: int) -> str:
    """What the server wrote to its log since `start` (bytes), the last lines of it."""
    with log.open("rb") as file:
        file.seek(min(start, log.stat().st_size))
        lines = file.read().decode(errors="replace").splitlines()
    return "it said:\n  " + "\n  ".join(lines[-LOG_LINES:]) if lines else ""
