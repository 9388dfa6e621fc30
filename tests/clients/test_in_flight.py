"""A request of 12 seconds that is being answered when its task has to go is answered to the end."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import pytest

from .load import Answer
from .server import Server
from .stack import Stack
from .waiting import until

pytestmark = pytest.mark.docker
SECONDS = 12


@pytest.mark.parametrize("change", ["scale-in", "deployment"])
def test_a_long_request_in_flight_finishes(server: Server, stack_of: Callable[..., Stack], change: str):
    stack = stack_of(server, deregistration_delay=SECONDS + 8)
    stack.create_service(stack.register())
    stack.wait_stable()
    before = {task["taskArn"] for task in stack.tasks()}
    with ThreadPoolExecutor(8) as pool:
        slow: list[Future[Answer]] = [
            pool.submit(stack.get, f"/slow?seconds={SECONDS}", timeout=SECONDS + 20) for _ in range(8)
        ]
        # Both tasks are busy when the change comes: eight requests are spread over two.
        until(lambda: all(future.running() for future in slow), "the requests are on their way")
        until(lambda: stack.get().status == 200, "the load balancer answers")
        if change == "scale-in":
            stack.update(desiredCount=1)
        else:
            stack.update(forceNewDeployment=True)
        gone = until(
            lambda: before - {task["taskArn"] for task in stack.tasks()}, "a task has to go", 60
        )  # fmt: skip
        answers = [future.result() for future in slow]
    assert [answer.status for answer in answers] == [200] * 8, answers
    assert len({answer.json()["address"] for answer in answers}) == 2
    for task in gone:
        assert stack.wait_stopped(task)["containers"][0]["exitCode"] == 0
