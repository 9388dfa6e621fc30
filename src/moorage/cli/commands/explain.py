"""Explain what Moorage is doing about something, why it waits and for how long, and how it ended.

moor explain web                     a service, load balancer or target group of that name
moor explain task 3f9a               a task, by the beginning of its id; also one that stopped long ago
moor explain service c1/web          of the service web in cluster c1
moor explain ecs-svc/1234…           a deployment, and which failures its circuit breaker counted
moor explain 172.31.0.9:8000         a target: why it is not in rotation
An ARN of any of them works too."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from moorage.cli.instance import add_data_dir, need_running
from moorage.cli.people import add_scope, ask_people
from moorage.cli.text import paragraph
from moorage.domain.errors import Permanent

KINDS = {
    "service": "service", "task": "task", "deployment": "deployment", "target": "target",
    "load-balancer": "load-balancer", "loadbalancer": "load-balancer", "lb": "load-balancer", "alb": "load-balancer",
    "target-group": "target-group", "targetgroup": "target-group", "tg": "target-group",
}  # fmt: skip


def arguments(parser: argparse.ArgumentParser) -> None:
    kinds = "service, task, deployment, load-balancer (lb), target-group (tg) or target"
    parser.add_argument("words", nargs="+", metavar="[KIND] NAME", help=f"a name or ARN; KIND is {kinds}")
    parser.add_argument("--json", action="store_true", help="the server's own answer, for programs")
    add_scope(parser)
    add_data_dir(parser)


def run(options: argparse.Namespace) -> int:
    kind, name = meant(options.words)
    instance = need_running(options.data_dir)
    answer = ask_people(instance, "explain", of=name, kind=kind, account=options.account, region=options.region)
    if options.json:
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    else:
        sys.stdout.writelines(line + "\n" for line in render(answer))
    return 0


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
