"""Show the service events, in AWS's words, oldest first; with --follow go on with those that come."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from moorage.cli.instance import Instance, add_data_dir, need_running
from moorage.cli.people import add_cluster, add_scope, ask_people
from moorage.cli.text import clock_time, paragraph
from moorage.domain.errors import Retryable

WAIT = 20
"""Seconds for which the server may hold a question until something happens."""
PAUSE, TRIES = 0.5, 40
"""A server that restarts is asked again that many times, that many seconds apart."""


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--service", metavar="NAME", help="only of this service: name, cluster/name or ARN")
    parser.add_argument("-f", "--follow", action="store_true", help="go on with the events that come")
    parser.add_argument("-n", "--lines", type=int, default=50, help="how many of the past (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON object a line, for programs")
    add_cluster(parser)
    add_scope(parser)
    add_data_dir(parser)


def run(options: argparse.Namespace) -> int:
    instance = need_running(options.data_dir)
    lines = str(max(0, options.lines))
    answer = _ask(options, instance, limit=lines)
    if not answer["events"] and not options.follow and not options.json:
        sys.stdout.write("There are no events.\n")
    while True:
        sys.stdout.writelines(line + "\n" for line in render(answer, as_json=options.json))
        sys.stdout.flush()
        if not options.follow:
            return 0
        instance, answer = _more(options, instance, answer["cursor"])


def _more(options: argparse.Namespace, instance: Instance, cursor: str) -> tuple[Instance, dict[str, Any]]:
    """What came after the cursor. The server holds the question until there is something; it may restart meanwhile."""
    for _ in range(TRIES):
        try:
            return instance, _ask(options, instance, timeout=WAIT + 10, after=cursor, wait=str(WAIT))
        except Retryable:
            time.sleep(PAUSE)
            instance = need_running(options.data_dir)
    raise Retryable("Moorage does not answer any more", next="Its log: moor logs")


def _ask(options: argparse.Namespace, instance: Instance, *, timeout: float = 10, **query: str) -> dict[str, Any]:
    return ask_people(
        instance,
        "people/events",
        timeout=timeout,
        service=options.service,
        cluster=options.cluster,
        account=options.account,
        region=options.region,
        **query,
    )


def render(answer: Mapping[str, Any], *, as_json: bool = False) -> Iterator[str]:
    """ECS names the service in its sentence; where there are several clusters, theirs comes before it."""
    now = time.time()
    for event in answer["events"]:
        if as_json:
            yield json.dumps(event)
            continue
        at = clock_time(event["at"], now)
        where = f"{event['cluster']}: " if answer.get("clusters", 1) > 1 else ""
        yield from paragraph(f"{at}  {where}{event['message']}", hanging=" " * (len(at) + 2))
