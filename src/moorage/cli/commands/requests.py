"""Show the requests that the load balancers answered, with the cause of every failure. `--follow` goes on with what
comes; `--failed` leaves out what went well."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from moorage.cli.client import ask
from moorage.cli.instance import Instance, add_data_dir, running
from moorage.domain.errors import Permanent

PAUSE = 0.5


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("load_balancer", nargs="?", default="", help="only this one (name, ARN or DNS name)")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with the requests that come from now on")
    parser.add_argument("-n", "--lines", type=int, default=50, help="how many of the past (default: %(default)s)")
    parser.add_argument("--failed", action="store_true", help="only requests that failed")
    parser.add_argument("--format", choices=("text", "aws", "json"), default="text", help="aws: access log lines")
    add_data_dir(parser)


def run(options: argparse.Namespace) -> int:
    data_dir: Path = options.data_dir.expanduser().resolve()
    instance = running(data_dir)
    if instance is None:
        raise Permanent(f"Moorage does not run (data directory {data_dir})", next="Start it: moor up --detach")
    query = {"load_balancer": options.load_balancer, "failed": "true" if options.failed else "false"}
    answer = _asked(instance, {**query, "last": max(0, options.lines)})
    while True:
        sys.stdout.writelines(line + "\n" for entry in answer["requests"] for line in render(entry, options.format))
        sys.stdout.flush()
        if not options.follow:
            return 0
        if not answer["requests"]:
            time.sleep(PAUSE)
        answer = _asked(instance, {**query, "after": answer["next"]})


def _asked(instance: Instance, query: Mapping[str, object]) -> dict[str, Any]:
    return ask(instance, "GET", f"/_moorage/requests?{urlencode(query)}")


def render(entry: Mapping[str, Any], form: str) -> Iterator[str]:
    """The lines of one request."""
    if form == "json":
        yield json.dumps(entry)
        return
    if form == "aws":
        yield entry["line"]
        return
    record = entry["record"]
    at = time.strftime("%H:%M:%S", time.localtime(record["at"])) + f".{int(record['at'] * 1000) % 1000:03d}"
    target = record.get("target") or "-"
    took = f"{record['duration'] * 1000:.0f} ms"
    yield _plain(
        f"{at} {record['status']} {entry.get('load_balancer') or '-'} {record['method'] or '-'} "
        f"{record['host']}{record['path']} → {target} {took}"
    )
    if not entry.get("cause"):
        return
    yield f"    {entry['cause']}: {entry['sentence']}"
    if entry.get("registered") is not None:
        group = record.get("target_group_arn", "").split("/")[1:2]
        yield f"    target group {''.join(group)}: {entry.get('healthy', 0)} of {entry['registered']} targets healthy"
    if entry.get("last_target"):
        yield f"    its last target was {entry['last_target']}"
    if entry.get("task_arn"):
        yield f"    task {entry['task_arn'].rsplit('/', 1)[-1]} {entry.get('task_said', 'is gone')}".rstrip()


def _plain(text: str) -> str:
    """What clients sent must not move the cursor of a terminal."""
    return "".join(c if c.isprintable() else "?" for c in text)
