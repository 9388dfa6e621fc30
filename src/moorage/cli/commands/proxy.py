"""Restart the proxy of the load balancers without closing a door: a new Envoy takes over the listening sockets, the old
one finishes the requests that it has begun. Moorage does this by itself when Envoy or its configuration is updated."""

from __future__ import annotations

import argparse
import sys

from moorage.cli.client import ask
from moorage.cli.instance import add_data_dir, need_running

PATIENCE = 60.0


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=("restart",))
    add_data_dir(parser)


def run(options: argparse.Namespace) -> int:
    answer = ask(need_running(options.data_dir), "POST", "/_moorage/proxy/restart", timeout=PATIENCE)
    before, pid = answer["before"], answer["pid"]
    if answer["without_a_gap"]:
        sys.stdout.write(f"Envoy {pid} took over from {before}; no connection was refused.\n")
    else:
        sys.stdout.write(f"Envoy was started again with process {pid}; connections were refused meanwhile.\n")
    return 0
