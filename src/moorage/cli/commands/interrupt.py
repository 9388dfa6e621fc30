"""Take Fargate Spot capacity away, as AWS does at times: a task gets its two-minute warning and the stop signal, its
service asks for another. `--no-capacity` lets new Spot tasks find no place for a while.

moor interrupt 3f9a                          one task, by the beginning of its id
moor interrupt --service web                 all Spot tasks of a service
moor interrupt --all-spot --no-capacity 120  everything on Spot, and no Spot for two minutes
moor interrupt --no-capacity 0               there is Spot capacity again"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import urlencode

from moorage.cli.client import call
from moorage.cli.instance import add_data_dir, need_running
from moorage.cli.people import add_scope
from moorage.domain.errors import Permanent


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("tasks", nargs="*", metavar="TASK", help="a task's id, the beginning of it, or its ARN")
    parser.add_argument("--service", action="append", metavar="NAME", help="the Spot tasks of this service")
    parser.add_argument("--all-spot", action="store_true", help="every task on Fargate Spot")
    parser.add_argument("--no-capacity", metavar="SECONDS", help="new Spot tasks find no place for so long; 0 ends it")
    add_scope(parser)
    add_data_dir(parser)


def run(options: argparse.Namespace) -> int:
    asked: list[tuple[str, str]] = [("task", words) for words in options.tasks]
    asked += [("service", words) for words in options.service or ()]
    asked += [("all_spot", "1")] if options.all_spot else []
    for name in ("no_capacity", "account", "region"):
        if getattr(options, name) is not None:
            asked.append((name, getattr(options, name)))
    instance = need_running(options.data_dir)
    status, answer = call(instance, "POST", f"/_moorage/interrupt?{urlencode(asked)}")
    if status >= 400:
        raise Permanent(str(answer.get("message") or f"HTTP {status}"), next=str(answer.get("next") or ""))
    sys.stdout.writelines(line + "\n" for line in render(answer))
    return 1 if answer["left"] and not answer["interrupted"] else 0


def render(answer: Mapping[str, Any]) -> Iterator[str]:
    """What was done, and to what not."""
    where = f"in account {answer['account']}, {answer['region']}"
    if answer.get("no_capacity"):
        yield f"No Fargate Spot capacity for {answer['no_capacity']:g} s {where}"
    elif answer.get("no_capacity") is not None:
        yield f"There is Fargate Spot capacity {where}"
    for task in answer["interrupted"]:
        yield f"Interrupted {task['id']} ({task['group']}, was {task['last_status']})"
    for task in answer["left"]:
        on = task["capacity_provider"] or "no capacity provider"
        yield f"Left alone {task['id']} ({task['group']}): it is {task['last_status']} on {on}, not on Fargate Spot"
    if not answer["interrupted"] and not answer["left"] and answer.get("no_capacity") is None:
        yield "Nothing runs on Fargate Spot"
