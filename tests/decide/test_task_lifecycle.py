"""The life of one task, asked of the pure decision at every stage."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from decide.builders import NOW, a_container, a_document, a_fresh_task, a_task, balanced
from moorage.decide.task_lifecycle import Step, decide_task, stop_grace
from moorage.domain.task import Container, Interface, Task, Waiting
from moorage.domain.task_definition import Document

ADDRESS = Interface("att", "subnet-1", "vpc-1", (), interface_id="eni-1", ipv4="10.0.0.4", mac="02:42:0a:00:00:04")
APP = a_document()


def at(status: str, *containers: Container, **changes: object) -> Task:
    fields: dict[str, object] = {
        "interface": ADDRESS,
        "last_status": status,
        "containers": containers or (a_container(),),
    }
    return a_fresh_task("t", **(fields | changes))  # type: ignore[arg-type]


def test_first_the_address() -> None:
    plan = decide_task(a_fresh_task("t"), APP, 0, NOW)
    assert plan.steps == (Step("allocate"),)
    assert decide_task(at("PROVISIONING"), APP, 0, NOW).enter == "PENDING"


def test_sandbox_and_images_are_fetched_together() -> None:
    plan = decide_task(at("PENDING"), APP, 0, NOW)
    assert set(plan.steps) == {Step("sandbox"), Step("pull", "app")}
    ready = at("PENDING", a_container(known="PULLED", pulled="app:1"), sandbox_id="s")
    assert decide_task(ready, APP, 0, NOW).enter == "ACTIVATING"


def test_then_containers_then_running() -> None:
    plan = decide_task(at("ACTIVATING", a_container(known="PULLED", pulled="x"), sandbox_id="s"), APP, 0, NOW)
    assert plan.steps == (Step("launch", "app"),)
    started = at("ACTIVATING", a_container(known="RUNNING"), sandbox_id="s")
    assert decide_task(started, APP, 0, NOW).enter == "RUNNING"


def two(condition: str, **db: object) -> Document:
    first = {"name": "db", "image": "db:1", "essential": False, "healthCheck": {"command": ["CMD", "x"]}} | db
    second = {"name": "app", "image": "app:1", "dependsOn": [{"containerName": "db", "condition": condition}]}
    return a_document(first, second)


@pytest.mark.parametrize(
    ("condition", "db", "launches"),
    [
        ("START", {"known": "PULLED"}, {"db"}),
        ("START", {"known": "RUNNING"}, {"app"}),
        ("START", {"known": "STOPPED", "exit_code": 1, "runtime_id": "r"}, {"app"}),
        ("COMPLETE", {"known": "RUNNING"}, set()),
        ("COMPLETE", {"known": "STOPPED", "exit_code": 7, "runtime_id": "r"}, {"app"}),
        ("SUCCESS", {"known": "RUNNING"}, set()),
        ("SUCCESS", {"known": "STOPPED", "exit_code": 0, "runtime_id": "r"}, {"app"}),
        ("HEALTHY", {"known": "RUNNING", "health": "UNKNOWN"}, set()),
        ("HEALTHY", {"known": "RUNNING", "health": "HEALTHY"}, {"app"}),
    ],
)
def test_a_container_waits_for_its_dependencies(condition: str, db: dict[str, object], launches: set[str]) -> None:
    task = at("ACTIVATING", a_container("db", **db), a_container("app", known="PULLED"), sandbox_id="s")
    plan = decide_task(task, two(condition), 0, NOW)
    assert {step.container for step in plan.steps if step.verb == "launch"} == launches


def test_a_dependency_that_can_never_be_met_fails_the_task() -> None:
    db = a_container("db", known="STOPPED", exit_code=3, runtime_id="r")
    task = at("ACTIVATING", db, a_container("app", known="PULLED"), sandbox_id="s")
    failure = decide_task(task, two("SUCCESS"), 0, NOW).failure
    assert failure is not None
    assert failure.stop_code == "TaskFailedToStart"
    assert "it exited with 3" in failure.reason


def test_a_start_timeout_ends_the_waiting() -> None:
    db = a_container("db", known="RUNNING", started_at=NOW - 5)
    task = at("ACTIVATING", db, a_container("app", known="PULLED"), sandbox_id="s")
    document = two("HEALTHY", startTimeout=10)
    assert decide_task(task, document, 0, NOW).again_after == 5
    assert decide_task(task, document, 0, NOW + 5).failure is not None


@pytest.mark.parametrize(
    ("container", "status", "stop_code", "reason"),
    [
        (
            a_container(known="STOPPED", reason="CannotPullContainerError: x"),
            "PENDING",
            "TaskFailedToStart",
            "CannotPullContainerError: x",
        ),
        (
            a_container(known="STOPPED", pulled="app:1", runtime_id="r", reason="CannotStartContainerError: x"),
            "ACTIVATING",
            "TaskFailedToStart",
            "Task failed to start",
        ),
        (
            a_container(known="STOPPED", pulled="app:1", reason="CannotCreateContainerError: x"),
            "ACTIVATING",
            "TaskFailedToStart",
            "Task failed to start",
        ),
        (
            a_container(known="STOPPED", runtime_id="r", exit_code=0),
            "RUNNING",
            "EssentialContainerExited",
            "Essential container in task exited",
        ),
        (
            a_container(known="STOPPED", runtime_id="r", exit_code=1),
            "ACTIVATING",
            "EssentialContainerExited",
            "Essential container in task exited",
        ),
    ],
)
def test_how_a_task_ends_by_itself(container: Container, status: str, stop_code: str, reason: str) -> None:
    failure = decide_task(at(status, container, sandbox_id="s"), APP, 0, NOW).failure
    assert failure is not None
    assert (failure.stop_code, failure.reason) == (stop_code, reason)


def test_a_sidecar_that_exits_changes_nothing() -> None:
    document = a_document({"name": "app", "image": "a"}, {"name": "job", "image": "b", "essential": False})
    containers = (a_container(known="RUNNING"), a_container("job", known="STOPPED", exit_code=1, runtime_id="r"))
    plan = decide_task(at("RUNNING", *containers, started_at=NOW), document, 0, NOW)
    assert (plan.failure, plan.enter, plan.steps) == (None, None, ())


STOPPING = {"desired_status": "STOPPED"}


def test_a_stop_drains_before_it_signals() -> None:
    task = balanced(a_task("t", **STOPPING, interface=ADDRESS))
    assert decide_task(task, APP, 1, NOW).enter == "DEACTIVATING"
    leaving = replace(task, last_status="DEACTIVATING")
    assert decide_task(leaving, APP, 1, NOW).steps == (Step("deregister"),)
    drained = replace(leaving, targets_registered=False)
    assert decide_task(drained, APP, 1, NOW).enter is None
    assert decide_task(drained, APP, 0, NOW).enter == "STOPPING"


def test_fargate_spot_deregisters_and_does_not_drain() -> None:
    task = balanced(a_task("t", **STOPPING, interface=ADDRESS, stop_code="SpotInterruption"))
    leaving = replace(task, last_status="DEACTIVATING")
    assert decide_task(leaving, APP, 1, NOW).steps == (Step("deregister"),)
    assert decide_task(replace(leaving, targets_registered=False), APP, 1, NOW).enter == "STOPPING"


@pytest.mark.parametrize(
    ("stop_code", "asked", "elapsed", "grace"),
    [
        ("UserInitiated", None, 500, 30),
        ("UserInitiated", 120, 500, 120),
        ("SpotInterruption", None, 0, 30),
        ("SpotInterruption", 90, 60, 60),
        ("SpotInterruption", 90, 500, 1),
    ],
)
def test_the_time_between_the_stop_signal_and_sigkill(
    stop_code: str, asked: int | None, elapsed: float, grace: float
) -> None:
    task = replace(a_task("t", stop_code=stop_code), stopping_at=NOW)
    definition = replace(APP.container_definitions[0], stop_timeout=asked)
    assert stop_grace(task, definition, NOW + elapsed) == grace


def test_a_task_without_an_instance_waits() -> None:
    waiting = replace(a_fresh_task("t"), last_status="PROVISIONING", capacity_provider="hosts", waiting=Waiting())
    plan = decide_task(waiting, APP, 0, NOW)
    assert (plan.enter, plan.steps) == (None, ())
    assert plan.said == "waits for an instance of the capacity provider hosts"


def test_a_task_whose_essential_container_is_gone_has_nothing_to_drain() -> None:
    dead = a_container(known="STOPPED", exit_code=137, runtime_id="r")
    task = a_task("t", **STOPPING, interface=ADDRESS, last_status="DEACTIVATING", containers=(dead,))
    assert decide_task(task, APP, 1, NOW).enter == "STOPPING"


def test_containers_stop_in_reverse_order_of_their_dependencies() -> None:
    document = two("START")
    both = (a_container("db", known="RUNNING", runtime_id="1"), a_container("app", known="RUNNING", runtime_id="2"))
    task = a_task("t", **STOPPING, last_status="STOPPING", containers=both)
    assert decide_task(task, document, 0, NOW).steps == (Step("stop", "app"),)
    one_left = (both[0], a_container("app", known="STOPPED", exit_code=0, runtime_id="2"))
    assert decide_task(replace(task, containers=one_left), document, 0, NOW).steps == (Step("stop", "db"),)


def test_then_everything_is_released() -> None:
    dead = (a_container(known="STOPPED", exit_code=0, runtime_id="r"),)
    task = a_task("t", **STOPPING, last_status="STOPPING", containers=dead)
    assert decide_task(task, APP, 0, NOW).enter == "DEPROVISIONING"
    assert decide_task(replace(task, last_status="DEPROVISIONING"), APP, 0, NOW).steps == (Step("release"),)


@pytest.mark.parametrize("status", ["PROVISIONING", "PENDING", "ACTIVATING"])
def test_a_task_that_never_ran_is_released_at_once(status: str) -> None:
    assert decide_task(at(status, **STOPPING), APP, 0, NOW).enter == "DEPROVISIONING"
