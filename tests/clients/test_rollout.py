"""Rolling updates with real containers: good ones lose no request, broken ones are rolled back."""

from __future__ import annotations

import pytest

from .stack import Stack
from .waiting import until

pytestmark = pytest.mark.docker
BROKEN = {
    "exits 4 s after its start": {"EXIT_AFTER": 4},
    "never listens": {"NEVER_LISTEN": 1},
}


@pytest.mark.parametrize("delay", [0, 3], ids=["listens at once", "needs 3 s before it listens"])
def test_a_rolling_update_under_load_fails_no_request(stack: Stack, delay: int):
    stack.create_service(stack.register(VERSION="old"))
    stack.wait_stable()
    with stack.load(50) as load:
        new = stack.register(VERSION="new", START_DELAY=delay)
        stack.update(taskDefinition=new)
        stack.wait_stable()
        until(lambda: load.answers[-1].status == 200 and load.answers[-1].json()["version"] == "new", "the new one")
    assert load.failures() == []
    assert {stack.get().json()["version"] for _ in range(10)} == {"new"}
    assert {task["taskDefinitionArn"] for task in stack.tasks()} == {new}
    events = stack.events()
    assert events[-1].endswith("has reached a steady state."), events
    assert any("deployment completed." in event for event in events), events
    assert any("has begun draining connections on" in event for event in events), events


@pytest.mark.parametrize("environment", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_revision_is_rolled_back_while_the_old_tasks_serve(stack: Stack, environment: dict[str, int]):
    good = stack.register(VERSION="good")
    stack.create_service(good)
    stack.wait_stable()
    before = {task["taskArn"] for task in stack.tasks()}
    with stack.load(20) as load:
        stack.update(taskDefinition=stack.register(VERSION="broken", **environment))
        until(
            lambda: any("rolling back to deployment ecs-svc/" in event for event in stack.events()),
            "the circuit breaker", 150,
        )  # fmt: skip
        stack.wait_stable()
    assert load.failures() == []
    assert load.answers[-1].json()["version"] == "good"
    assert stack.service()["taskDefinition"] == good
    assert {task["taskArn"] for task in stack.tasks()} == before
    assert any("deployment failed: tasks failed to start." in event for event in stack.events()), stack.events()


def test_an_image_that_nobody_has_is_rolled_back(stack: Stack):
    good = stack.register()
    stack.create_service(good)
    stack.wait_stable()
    stack.update(taskDefinition=stack.register({**stack.container(), "image": "moorage-no-such/image:1"}))
    until(lambda: any("rolling back to" in event for event in stack.events()), "the circuit breaker", 150)
    stack.wait_stable()
    assert stack.service()["taskDefinition"] == good
    reasons = {task["stoppedReason"] for task in stack.tasks("STOPPED")}
    assert all(reason.startswith("CannotPullContainerError: ") for reason in reasons), reasons


def test_a_first_deployment_that_crash_loops_backs_off(stack: Stack):
    """Not 37 tasks in 20 seconds: the starts come further and further apart."""
    stack.create_service(
        stack.register(EXIT_AFTER="0.1"), 1, loadBalancers=[],
        deploymentConfiguration={"maximumPercent": 200, "minimumHealthyPercent": 100},
    )  # fmt: skip

    def starts() -> list[float]:
        return sorted(task["createdAt"].timestamp() for task in stack.tasks("STOPPED"))

    until(lambda: len(starts()) >= 5, "five starts", 120)
    five = starts()[:5]
    assert five[4] - five[0] >= 2.2, five  # 37 in 20 s would be 2.2 s
    assert five[4] - five[3] > five[1] - five[0], five


def test_force_new_deployment_replaces_every_task(stack: Stack):
    stack.create_service(stack.register())
    stack.wait_stable()
    before = {task["taskArn"] for task in stack.tasks()}
    stack.update(forceNewDeployment=True)
    stack.wait_stable()
    after = {task["taskArn"] for task in stack.tasks()}
    assert len(after) == 2
    assert not before & after
