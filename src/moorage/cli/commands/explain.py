"""Explain what Moorage is doing about something, why it waits and for how long, and how it ended.

moor explain web                     a service, load balancer or target group of that name
moor explain task 3f9a               a task, by the beginning of its id; also one that stopped long ago
moor explain service c1/web          of the service web in cluster c1
moor explain instance i-0a1b…        a container instance: what is left of it, and whom it refuses
moor explain ecs-svc/1234…           a deployment, and which failures its circuit breaker counted
moor explain 172.31.0.9:8000         a target: why it is not in rotation
moor explain 502                     why load balancers answered 502 (or 503, 504, 460 …) lately
moor explain 503 web --at 14:03      the same of load balancer web, in that minute
An ARN of any of them works too."""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

from moorage.cli.instance import add_data_dir, need_running
from moorage.cli.people import add_cluster, add_scope, ask_people
from moorage.cli.text import paragraph
from moorage.domain.errors import Permanent

STATUS = re.compile(r"[45]\d\d")
TIME = re.compile(r"([01]?\d|2[0-3]):[0-5]\d(:[0-5]\d)?")
KINDS = {
    "service": "service", "task": "task", "deployment": "deployment", "target": "target",
    "instance": "instance", "container-instance": "instance", "capacity-provider": "capacity-provider",
    "load-balancer": "load-balancer", "loadbalancer": "load-balancer", "lb": "load-balancer", "alb": "load-balancer",
    "target-group": "target-group", "targetgroup": "target-group", "tg": "target-group",
}  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    kinds = "service, task, deployment, instance, capacity-provider, load-balancer (lb), target-group (tg) or target"
    parser.add_argument("words", nargs="+", metavar="[KIND] NAME", help=f"a name or ARN; KIND is {kinds}")
    parser.add_argument("--at", metavar="HH:MM[:SS]", help="with a status: only what was answered then")
    parser.add_argument("--json", action="store_true", help="the server's own answer, for programs")
    add_cluster(parser)
    add_scope(parser)
    add_data_dir(parser)


def run(options: argparse.Namespace) -> int:
    instance = need_running(options.data_dir)
    if STATUS.fullmatch(options.words[0]) and len(options.words) < 3:
        status, *names = options.words
        since, until = around(options.at, datetime.now()) if options.at else (None, None)
        balancer = names[0] if names else None
        answer = ask_people(instance, "explain", of=status, load_balancer=balancer, since=since, until=until)
    else:
        kind, name = meant(options.words)
        where = {"cluster": options.cluster, "account": options.account, "region": options.region}
        answer = ask_people(instance, "explain", of=name, kind=kind, **where)
    if options.json:
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    else:
        sys.stdout.writelines(line + "\n" for line in render(answer))
    return 0


def around(at: str, now: datetime) -> tuple[str, str]:
    """A time of the day (today's, or yesterday's when it is still to come) as epoch seconds: that minute, or five seconds
    to either side."""
    if not TIME.fullmatch(at):
        raise Permanent(f"'{at}' is not a time", next="Say it as 14:03 or 14:03:27")
    hour, minute, *second = (int(part) for part in at.split(":"))
    then = now.replace(hour=hour, minute=minute, second=second[0] if second else 0, microsecond=0)
    if then > now:
        then -= timedelta(days=1)
    start = then.timestamp()
    return (str(start - 5), str(start + 6)) if second else (str(start), str(start + 60))


def meant(words: list[str]) -> tuple[str | None, str]:
    """(kind or None, name): "load balancer web" and "lb web" are the same. A name that is also a kind stays a name."""
    *before, name = words
    if not before:
        return None, name
    kind = KINDS.get("-".join(before).lower())
    if kind is None:
        raise Permanent(f"'{' '.join(before)}' is not something that can be explained", next="See: moor explain --help")
    return kind, name


def render(explanation: Mapping[str, Any]) -> Iterator[str]:
    """The title, the sections with their lines indented, the next command."""
    yield from paragraph(explanation["title"])
    for section in explanation.get("sections", ()):
        yield ""
        yield section["heading"]
        for line in section["lines"]:
            deeper = len(line) - len(line.lstrip())
            yield from paragraph(line.strip(), "  " + " " * deeper)
    if explanation.get("next"):
        yield ""
        yield f"Next: {explanation['next']}"
