"""Task scale-in protection (semantics ecs-tasks §12)."""

from __future__ import annotations

from typing import Any

from .rig import BASE, Rig

TASK = BASE + "task/main/"
INVALID = "InvalidParameterException"


async def test_protection(main: Rig) -> None:
    service = await main.service()
    protected = (await main.task())["taskArn"]
    alone = (await main.task())["taskArn"]
    stopped = (await main.task())["taskArn"]
    await main.write_task(protected, service_arn=service["serviceArn"])
    await main.write_task(stopped, service_arn=service["serviceArn"], last_status="STOPPED", desired_status="STOPPED")
    everything = [protected, alone, stopped, "0" * 32]
    failures = [
        {"arn": alone, "reason": "TASK_NOT_VALID"},
        {"arn": stopped, "reason": "MISSING"},
        {"arn": TASK + "0" * 32, "reason": "MISSING"},
    ]
    unprotected = await main.call("GetTaskProtection", cluster="main", tasks=[protected])
    assert unprotected["protectedTasks"] == [{"taskArn": protected, "protectionEnabled": False}]
    answer = await main.call("UpdateTaskProtection", cluster="main", tasks=everything, protectionEnabled=True)
    until = {"taskArn": protected, "protectionEnabled": True, "expirationDate": 1_700_007_200.0}
    assert answer == {"protectedTasks": [until], "failures": failures}
    assert await main.call("GetTaskProtection", cluster="main", tasks=everything) == answer
    assert (await main.call("GetTaskProtection", cluster="main"))["protectedTasks"] == [until]
    answer = await main.call(
        "UpdateTaskProtection", cluster="main", tasks=[protected], protectionEnabled=True, expiresInMinutes=1
    )
    assert answer["protectedTasks"][0]["expirationDate"] == 1_700_000_060.0
    main.clock.time += 61
    shown = await main.call("GetTaskProtection", cluster="main", tasks=[protected])
    assert shown["protectedTasks"] == [{"taskArn": protected, "protectionEnabled": False}]
    for bad in ({"expiresInMinutes": 0}, {"expiresInMinutes": 2881}, {"tasks": ["0" * 32] * 11}):
        params: dict[str, Any] = {"tasks": [protected], "protectionEnabled": True} | bad
        assert (await main.refused("UpdateTaskProtection", cluster="main", **params)).code == INVALID
    assert (await main.refused("GetTaskProtection", cluster="main", tasks=["0" * 32] * 101)).code == INVALID


async def test_nothing_is_protected_when_no_task_is_named(main: Rig) -> None:
    refusal = await main.refused("UpdateTaskProtection", cluster="main", tasks=[], protectionEnabled=True)
    assert (refusal.code, refusal.message) == (INVALID, "Tasks cannot be empty.")
