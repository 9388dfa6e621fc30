"""`moor services` against a server that has only Moorage's own doors."""

from __future__ import annotations

import json
from typing import Any

from moorage.cli.commands.services import render

DOOR = "GET /_moorage/people/services"


def a_service(name: str = "web", **changes: Any) -> dict[str, Any]:
    return {
        "name": name, "cluster": "c1", "account": "000000000000", "region": "us-east-1", "status": "ACTIVE",
        "desired": 2, "running": 2, "pending": 0, "stopping": 0, "rollout": "COMPLETED", "deployments": 1,
        "task_definition": f"{name}:1", "created_at": 800.0,
        "said": "no action. Deployment ecs-svc/1 is COMPLETED: 2 desired",
    } | changes  # fmt: skip


def test_none(moor, served):
    served.answers[DOOR] = (200, {"now": 1000.0, "services": []})
    assert moor("services") == (0, "There are no services.\n", "")


def test_a_table_with_what_is_done_now(moor, served):
    said = "waits: a task passes its checks, counts as healthy in 6 s. Deployment x is IN_PROGRESS"
    rolling = a_service("api", running=1, pending=2, stopping=1, rollout="IN_PROGRESS", said=said)
    gone = a_service("old", status="DRAINING", desired=0, running=0, task_definition=None)
    served.answers[DOOR] = (200, {"now": 1000.0, "services": [a_service(), rolling, gone]})
    assert moor("services")[1].splitlines() == [
        "SERVICE  RUNNING    ROLLOUT      REVISION  AGE    NOW",
        "c1/web   2/2        COMPLETED    web:1     3m20s  no action",
        "c1/api   1/2 +2 -1  IN_PROGRESS  api:1     3m20s  waits: a task passes its checks, counts as healthy",
        "                                                  in 6 s",
        "c1/old   0/0        DRAINING               3m20s  no action",
    ]


def test_how_long_targets_still_drain():
    rolling = a_service(said="waits: 2 tasks of older deployments still stopping. Deployment x is …", drain_left=53.6)
    line = " ".join(list(render([rolling], 1000.0))[1].split()) + " " + list(render([rolling], 1000.0))[2].strip()
    assert line.endswith("waits: 2 tasks of older deployments still stopping, 54s drain left")


def test_several_accounts_are_told_apart_and_long_names_fit():
    services = [a_service("a" * 60, said="word " * 60), a_service(region="eu-west-1", task_definition="t" * 50)]
    lines = list(render(services, 1000.0))
    assert max(len(line) for line in lines) <= 100
    assert "000000000000" in lines[1]


def test_only_of_one_account(moor, served):
    served.answers[f"{DOOR}?account=111111111111&region=eu-west-1"] = (200, {"now": 1000.0, "services": [a_service()]})
    code, out, _ = moor("services", "--account", "111111111111", "--region", "eu-west-1", "--json")
    assert (code, json.loads(out)["services"][0]["name"]) == (0, "web")


def test_only_of_one_cluster_and_one_that_does_not_exist(moor, served):
    served.answers[f"{DOOR}?cluster=c1"] = (200, {"now": 1000.0, "services": [a_service()]})
    assert moor("services", "--cluster", "c1")[1].splitlines()[1].startswith("c1/web")
    refusal = {"message": "There is no cluster 'x'", "why": "there are c1", "next": "See what runs: moor status"}
    served.answers[f"{DOOR}?cluster=x"] = (404, refusal)
    code, out, err = moor("services", "--cluster", "x")
    assert (code, out, err) == (1, "", "moor: There is no cluster 'x'. There are c1. See what runs: moor status\n")
