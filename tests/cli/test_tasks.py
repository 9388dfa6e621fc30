"""`moor tasks` against a server that has only Moorage's own doors."""

from __future__ import annotations

import json
from typing import Any

DOOR = "GET /_moorage/people/tasks"


def a_task(id: str = "0123456789abcdef", **changes: Any) -> dict[str, Any]:
    return {
        "id": id, "cluster": "c1", "service": "web", "group": "service:web", "task_definition": "web:1",
        "last_status": "RUNNING", "address": "10.0.0.1", "created_at": 800.0, "started_at": 810.0, "stopped_at": None,
        "said": "is healthy: 1 of 1 health checks passed",
    } | changes  # fmt: skip


def test_none(moor, served):
    served.answers[DOOR] = (200, {"now": 1000, "tasks": []})
    served.answers[f"{DOOR}?stopped=1"] = (200, {"now": 1000, "tasks": []})
    assert moor("tasks")[1] == "No tasks run.\n"
    assert moor("tasks", "--stopped")[1] == "No task has stopped.\n"


def test_what_runs(moor, served):
    alone = a_task("ff", service=None, group="family:job", address=None, last_status="PENDING", said="waits\x1b[2J")
    served.answers[DOOR] = (200, {"now": 1000, "tasks": [a_task(), alone]})
    assert moor("tasks")[1].splitlines() == [
        "TASK      OF             REVISION  STATUS   AGE    ADDRESS   NOW",
        "01234567  c1/web         web:1     RUNNING  3m20s  10.0.0.1  is healthy: 1 of 1 health checks passed",
        "ff        c1/family:job  web:1     PENDING  3m20s            waits [2J",
    ]


def test_what_stopped_and_why(moor, served):
    why = "EssentialContainerExited: Essential container in task exited (web: exit code 3)"
    tasks = [
        a_task(said=why, stopped_at=940.0),
        a_task("ab", said="TaskFailedToStart: x", stopped_at=900, started_at=None),
    ]
    served.answers[f"{DOOR}?service=c1%2Fweb&stopped=1"] = (200, {"now": 1000, "tasks": tasks})
    assert moor("tasks", "--service", "c1/web", "--stopped")[1].splitlines() == [
        "TASK      OF      REVISION  STOPPED    RAN    WHY",
        "01234567  c1/web  web:1     1m00s ago  2m10s  EssentialContainerExited: Essential container in task",
        "                                              exited (web: exit code 3)",
        "ab        c1/web  web:1     1m40s ago  -      TaskFailedToStart: x",
    ]


def test_more_of_what_stopped(moor, served):
    served.answers[f"{DOOR}?stopped=1&limit=5000"] = (200, {"now": 1000, "tasks": []})
    assert moor("tasks", "--stopped", "--limit", "5000") == (0, "No task has stopped.\n", "")


def test_a_service_that_does_not_exist(moor, served):
    refusal = {
        "message": "There is no service 'x'",
        "why": "there are services c1/web",
        "next": "See them: moor services",
    }
    served.answers[f"{DOOR}?service=x"] = (404, refusal)
    code, out, err = moor("tasks", "--service", "x")
    assert (code, out) == (1, "")
    assert err == "moor: There is no service 'x'. There are services c1/web. See them: moor services\n"


def test_for_programs(moor, served):
    served.answers[DOOR] = (200, {"now": 1000, "tasks": [a_task()]})
    assert json.loads(moor("tasks", "--json")[1])["tasks"] == [a_task()]
