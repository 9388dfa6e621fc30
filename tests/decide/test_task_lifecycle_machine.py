"""Tasks of any shape, brought up and down by what `decide_task` says while their containers do as they like: what never
happens, and that it ends."""

from __future__ import annotations

from random import Random
from typing import Any

import hypothesis.strategies as st
from hypothesis import given, settings
from msgspec.structs import replace

from decide.builders import NOW, a_container, a_document, a_fresh_task
from moorage.decide.task_lifecycle import STOP_TIMEOUT, Step, decide_task, is_restarted, stop_grace
from moorage.domain.task import ORDER, Container, Task
from moorage.domain.task_definition import ContainerDefinition, Dependency, Document

CONDITIONS = ("START", "COMPLETE", "SUCCESS", "HEALTHY")
LIFE = ("exit", "time", "health") * 5 + ("refusal", "stop")
PASSES = 400


def any_document(chance: Random) -> Document:
    """One to four containers; each may wait for earlier ones, for an essential one only to START or be HEALTHY."""
    containers: list[dict[str, Any]] = []
    count = chance.randint(1, 4)
    for number in range(count):
        needs = []
        for other in containers:
            if chance.random() < 0.5:
                condition = chance.choice(("START", "HEALTHY") if other["essential"] else CONDITIONS)
                if condition == "HEALTHY":
                    other["healthCheck"] = {"command": ["CMD", "x"]}
                needs.append({"containerName": other["name"], "condition": condition})
        containers.append(
            {
                "name": f"c{number}",
                "image": "i",
                "essential": number == count - 1 or chance.random() < 0.3,
                "dependsOn": needs,
                "startTimeout": chance.choice((None, 5)),
                "stopTimeout": chance.choice((None, 2)),
                "restartPolicy": {"enabled": chance.random() < 0.3, "restartAttemptPeriod": 60},
            }
        )
    return a_document(*containers)


class World:
    """A task on an engine where anything may happen, as `chance` has it."""

    def __init__(self, chance: Random) -> None:
        self.chance = chance
        self.document = document = any_document(chance)
        self.now = NOW
        containers = tuple(a_container(c.name or "", known="NONE", pulled=None) for c in document.container_definitions)
        self.task: Task = a_fresh_task("t", containers=containers, interface=None, last_status="PENDING")

    def container(self, name: str | None) -> Container:
        found = self.task.container(name or "")
        assert found is not None
        return found

    def definition(self, name: str | None) -> ContainerDefinition:
        found = self.document.container(name or "")
        assert found is not None
        return found

    def write(self, container: Container) -> None:
        others = tuple(container if c.name == container.name else c for c in self.task.containers)
        self.task = replace(self.task, containers=others)

    # --- the control plane -------------------------------------------------------------------------------------------
    def pass_over(self) -> tuple[Step, ...]:
        """Writes what is due; the steps that should be under way afterwards."""
        while True:
            plan = decide_task(self.task, self.document, 0, self.now)
            if plan.failure is not None:
                assert self.task.desired_status == "RUNNING"
                self.stop(plan.failure.stop_code)
            elif plan.enter is not None:
                assert ORDER[plan.enter] > self.task.rank, "a status never goes back"
                started = self.now if plan.enter == "RUNNING" else self.task.started_at
                self.task = replace(self.task, last_status=plan.enter, started_at=started)
            else:
                return plan.steps

    def stop(self, code: Any = "UserInitiated") -> None:
        if self.task.desired_status == "RUNNING":
            self.task = replace(self.task, desired_status="STOPPED", stop_code=code, stopping_at=self.now)

    def do(self, step: Step) -> None:
        match step.verb:
            case "sandbox":
                self.task = replace(self.task, sandbox_id="s")
            case "pull":
                self.write(replace(self.container(step.container), known="PULLED", pulled="i"))
            case "launch":
                self.may_start(step.container)
                one = self.container(step.container)
                self.write(replace(one, known="RUNNING", runtime_id=f"r-{one.name}", started_at=self.now))
            case "stop":
                self.may_stop(step.container)
                self.now += stop_grace(self.task, self.definition(step.container), self.now)
                self.end(step.container, 137)
            case "release":
                self.task = replace(self.task, last_status="STOPPED")
            case _:
                raise AssertionError(step.verb)

    # --- what never happens ------------------------------------------------------------------------------------------
    def is_met(self, need: Dependency) -> bool:
        other = self.container(need.container_name)
        return {
            "START": other.known in ("RUNNING", "STOPPED"),
            "COMPLETE": other.known == "STOPPED",
            "SUCCESS": other.known == "STOPPED" and other.exit_code == 0,
            "HEALTHY": other.known == "RUNNING" and other.health == "HEALTHY",
        }[need.condition]

    def may_start(self, name: str | None) -> None:
        assert self.task.desired_status == "RUNNING", "nothing is started for a task that should stop"
        assert self.container(name).pulled is not None
        assert self.task.sandbox_id is not None
        for need in self.definition(name).depends_on or () if not self.container(name).restarts else ():
            assert self.is_met(need), f"{name} needs {need.container_name} to be {need.condition}"

    def may_wait(self) -> None:
        """It has nothing to do, and is not RUNNING: for the sake of a container that may still do what is waited for."""
        assert " waits for " in decide_task(self.task, self.document, 0, self.now).said
        for one in self.task.containers:
            unmet = [need for need in self.definition(one.name).depends_on or () if not self.is_met(need)]
            for need in unmet if one.known in ("PULLED", "CREATED") and not one.restarts else ():
                other, timeout = self.container(need.container_name), self.definition(need.container_name).start_timeout
                assert other.known != "STOPPED", f"{one.name} waits for {other.name}, which has ended"
                if timeout is not None and other.started_at is not None and need.condition != "START":
                    assert self.now < other.started_at + timeout, f"the startTimeout of {other.name} is over"

    def may_stop(self, name: str | None) -> None:
        assert self.task.desired_status == "STOPPED"
        for one in self.document.container_definitions:
            if self.container(one.name).known == "RUNNING":
                assert name not in [need.container_name for need in one.depends_on or ()], f"{one.name} needs {name}"

    # --- the containers ----------------------------------------------------------------------------------------------
    def end(self, name: str | None, code: int) -> None:
        one = self.container(name)
        if is_restarted(self.task, self.definition(name), one, code, self.now):
            assert self.task.desired_status == "RUNNING"
            assert one.started_at is not None
            assert self.now - one.started_at >= 60
            again = replace(one, known="CREATED", started_at=None, health="UNKNOWN", restarts=one.restarts + 1)
            self.write(replace(again, finished_at=self.now))
        else:
            self.write(replace(one, known="STOPPED", exit_code=code, finished_at=self.now))

    def live(self) -> None:
        """Something happens that nobody asked for."""
        match self.chance.choice(LIFE):
            case "time":
                self.now += self.chance.choice((1, 10, 100))
            case "exit":
                for one in self.some("RUNNING"):
                    self.end(one.name, self.chance.choice((0, 1, 137)))
            case "health":
                for one in self.some("RUNNING"):
                    if self.definition(one.name).health_check is not None:
                        self.write(replace(one, health=self.chance.choice(("HEALTHY", "UNHEALTHY"))))
            case "refusal":
                for one in self.some("NONE", "PULLED"):
                    self.write(replace(one, known="STOPPED", reason="CannotStartContainerError: x"))
            case "stop":
                self.stop()

    def some(self, *known: str) -> list[Container]:
        found = [one for one in self.task.containers if one.known in known]
        return [self.chance.choice(found)] if found else []


@settings(max_examples=600, deadline=None)
@given(chance=st.randoms(use_true_random=True))
def test_a_task_of_any_shape(chance: Random) -> None:
    world = World(chance)
    for _ in range(chance.randint(0, 40)):
        steps = world.pass_over()
        if world.task.last_status == "STOPPED":
            break
        if steps and chance.random() < 0.75:
            world.do(chance.choice(steps))
        else:
            world.live()
    world.now += chance.choice((0, 10))
    # Left alone, it comes to rest: it runs, or it waits for what only a container can do.
    for _ in range(PASSES):
        steps = world.pass_over()
        if not steps:
            break
        world.do(steps[0])
    else:
        raise AssertionError("it never comes to rest")
    if world.task.desired_status == "RUNNING":
        assert all(one.known in ("RUNNING", "STOPPED") for one in world.task.containers if one.restarts), (
            "started again"
        )
        if world.task.last_status != "RUNNING":
            world.may_wait()
    # Asked to stop, it stops, and takes no longer than the timeouts of all its containers together.
    asked = world.now
    world.stop()
    while (steps := world.pass_over()) and world.now - asked <= len(world.task.containers) * STOP_TIMEOUT:
        world.do(steps[0])
    assert world.task.last_status == "STOPPED"
    assert all(one.known != "RUNNING" for one in world.task.containers)
