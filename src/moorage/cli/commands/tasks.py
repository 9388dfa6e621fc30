"""Show the tasks with what each is doing; with --stopped those that ended, newest first, and how (also those that the
ECS API has forgotten after an hour).

moor explain TASK tells the whole story of one."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from moorage.cli.instance import add_data_dir, need_running
from moorage.cli.people import add_cluster, add_scope, ask_people
from moorage.cli.text import age, table


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--service", metavar="NAME", help="only of this service: name, cluster/name or ARN")
    parser.add_argument("--stopped", action="store_true", help="those that stopped, and why")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="with --stopped: the N that stopped last, however long ago (200)"
    )
    parser.add_argument("--json", action="store_true", help="the server's own answer, for programs")
    add_cluster(parser)
    add_scope(parser)
    add_data_dir(parser)


def run(options: argparse.Namespace) -> int:
    instance = need_running(options.data_dir)
    answer = ask_people(
        instance,
        "people/tasks",
        service=options.service,
        stopped="1" if options.stopped else None,
        limit=None if options.limit is None else str(options.limit),
        cluster=options.cluster,
        account=options.account,
        region=options.region,
    )
    if options.json:
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    else:
        show = stopped if options.stopped else living
        sys.stdout.writelines(line + "\n" for line in show(answer["tasks"], answer["now"]))
    return 0


def living(tasks: Sequence[Mapping[str, Any]], now: float) -> Iterator[str]:
    if not tasks:
        yield "No tasks run."
        return
    yield from table(
        ("TASK", "OF", "REVISION", "STATUS", "AGE", "ADDRESS", "NOW"),
        [
            (
                one["id"][:8],
                _of(one),
                one["task_definition"],
                one["last_status"],
                age(now - one["created_at"]),
                one.get("address") or "",
                one.get("said") or "",
            )
            for one in tasks
        ],
    )


def stopped(tasks: Sequence[Mapping[str, Any]], now: float) -> Iterator[str]:
    if not tasks:
        yield "No task has stopped."
        return
    yield from table(
        ("TASK", "OF", "REVISION", "STOPPED", "RAN", "WHY"),
        [
            (
                one["id"][:8],
                _of(one),
                one["task_definition"],
                f"{age(now - one['stopped_at'])} ago" if one.get("stopped_at") else "",
                age(one["stopped_at"] - one["started_at"]) if one.get("started_at") and one.get("stopped_at") else "-",
                one.get("said") or "",
            )
            for one in tasks
        ],
    )


def _of(task: Mapping[str, Any]) -> str:
    """`cluster/service`, or the group of a task that no service started."""
    return f"{task['cluster']}/{task.get('service') or task['group']}"
