"""Show the server's log (its own; the containers' logs are `moor aws logs tail GROUP`)."""

from __future__ import annotations

import argparse
import sys
import time
from collections import deque
from pathlib import Path

from moorage.cli.instance import LOG_FILE, add_data_dir
from moorage.domain.errors import Permanent


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--follow", action="store_true", help="go on with what is written from now on")
    parser.add_argument("-n", "--lines", type=int, default=100, help="how many lines (default: %(default)s)")
    add_data_dir(parser)


def run(options: argparse.Namespace) -> int:
    path: Path = options.data_dir / LOG_FILE
    try:
        file = path.open(errors="replace")
    except OSError as error:
        raise Permanent(f"There is no log at {path}", next="Start Moorage: moor up --detach") from error
    with file:
        sys.stdout.writelines(deque(file, maxlen=max(options.lines, 0)))
    if options.follow:
        _follow(path)
    return 0


def _follow(path: Path) -> None:
    """Also over a rotation of the file."""
    position = path.stat().st_size
    while True:
        sys.stdout.flush()
        size = path.stat().st_size if path.exists() else 0
        if size < position:
            position = 0
        if size > position:
            with path.open(errors="replace") as file:
                file.seek(position)
                sys.stdout.write(file.read())
                position = file.tell()
        time.sleep(0.2)
