from __future__ import annotations

import json

from moorage.cli.commands.interrupt import render

HOME = {"account": "000000000000", "region": "us-east-1", "no_capacity": None, "interrupted": [], "left": []}


def task(**members: object) -> dict[str, object]:
    return {
        "id": "3f9a",
        "group": "service:web",
        "capacity_provider": "FARGATE_SPOT",
        "last_status": "RUNNING",
    } | members


def shown(**members: object) -> list[str]:
    return list(render(json.loads(json.dumps(HOME | members))))


def test_what_is_said() -> None:
    assert shown(interrupted=[task()], no_capacity=90.0) == [
        "No Fargate Spot capacity for 90 s in account 000000000000, us-east-1",
        "Interrupted 3f9a (service:web, was RUNNING)",
    ]
    assert shown(left=[task(capacity_provider=None)]) == [
        "Left alone 3f9a (service:web): it is RUNNING on no capacity provider, not on Fargate Spot"
    ]
    assert shown(no_capacity=0.0) == ["There is Fargate Spot capacity in account 000000000000, us-east-1"]
    assert shown() == ["Nothing runs on Fargate Spot"]
