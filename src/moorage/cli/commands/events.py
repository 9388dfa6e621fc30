"""Show the service events, in AWS's words, oldest first; with --follow go on with those that come."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from moorage.cli.instance import Instance, add_data_dir, need_running
from moorage.cli.people import ask_people
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
    add_data_dir(parser)


def run(options: argparse.Namespace) -> int:
    instance = need_running(options.data_dir)
    lines = str(max(0, options.lines))
    answer = ask_people(instance, "people/events", service=options.service, limit=lines)
    if not answer["events"] and not options.follow and not options.json:
        sys.stdout.write("There are no events.\n")
    while True:
        sys.stdout.writelines(line + "\n" for line in render(answer["events"], as_json=options.json))
        sys.stdout.flush()
        if not options.follow:
            return 0
        instance, answer = _more(options, instance, answer["cursor"])


def _more(options: argparse.Namespace, instance: Instance, cursor: str) -> tuple[Instance, dict[str, Any]]:
    """What came after the cursor. The server holds the question until there is something; it may restart meanwhile."""
    for _ in range(TRIES):
        try:
            wait, timeout = str(WAIT), WAIT + 10
            return instance, ask_people(
                instance, "people/events", service=options.service, after=cursor, wait=wait, timeout=timeout
            )
        except Retryable:
            time.sleep(PAUSE)
            instance = need_running(options.data_dir)
    raise Retryable("Moorage does not answer any more", next="Its log: moor logs")


def render(events: Iterable[Mapping[str, Any]], *, as_json: bool = False) -> Iterator[str]:
    now = time.time()
    for event in events:
        if as_json:
            yield json.dumps(event)
        else:
            at = clock_time(event["at"], now)
            yield from paragraph(f"{at}  {event['message']}", hanging=" " * (len(at) + 2))
