"""Show the ECS services: how many tasks run, how far the rollout is, and what Moorage does about each at this moment.

RUNNING is running of desired; +2 are being started, -1 is being stopped."""

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
    parser.add_argument("--json", action="store_true", help="the server's own answer, for programs")
    add_cluster(parser)
    add_scope(parser)
    add_data_dir(parser)


def run(options: argparse.Namespace) -> int:
    instance = need_running(options.data_dir)
    answer = ask_people(
        instance, "people/services", cluster=options.cluster, account=options.account, region=options.region
    )
    if options.json:
        sys.stdout.write(json.dumps(answer, indent=2) + "\n")
    else:
        sys.stdout.writelines(line + "\n" for line in render(answer["services"], answer["now"]))
    return 0


def render(services: Sequence[Mapping[str, Any]], now: float) -> Iterator[str]:
    if not services:
        yield "There are no services."
        return
    several = len({(one["account"], one["region"]) for one in services}) > 1
    yield from table(
        ("SERVICE", "RUNNING", "ROLLOUT", "REVISION", "AGE", "NOW"),
        [
            (
                (f"{one['account']}/{one['region']}/" if several else "") + f"{one['cluster']}/{one['name']}",
                counts(one),
                rollout(one),
                one.get("task_definition") or "",
                age(now - one["created_at"]),
                doing(one),
            )
            for one in services
        ],
    )


def doing(service: Mapping[str, Any]) -> str:
    """Without what the other columns say; with the time that targets still drain."""
    said, left = str(service.get("said") or "").partition(". Deployment ")[0], service.get("drain_left")
    return f"{said}, {age(left)} drain left" if left is not None else said


def counts(service: Mapping[str, Any]) -> str:
    more = f" +{service['pending']}" if service["pending"] else ""
    less = f" -{service['stopping']}" if service["stopping"] else ""
    return f"{service['running']}/{service['desired']}{more}{less}"


def rollout(service: Mapping[str, Any]) -> str:
    """A service that is being deleted rolls nothing out."""
    return service["status"] if service["status"] != "ACTIVE" else service.get("rollout") or ""
