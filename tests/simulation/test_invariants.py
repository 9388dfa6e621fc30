"""The invariants notice: a control plane that is broken on purpose, in one place each, is caught."""

import asyncio

import pytest

from moorage.control import task_writes
from moorage.decide import service as decide_service
from moorage.decide.rollout.rolling import Candidate, next_step
from moorage.engine.simulated_container import SimulatedImage
from moorage.simulation.invariants import Violated
from moorage.simulation.world import NeverHappened, World
from moorage.store.memory import Store, _Pending
from moorage.store.tables.ecs import TASKS


@pytest.fixture
async def world():
    """As the usual one, but nothing is expected of its end."""
    world = World(seed=1, images={"web": SimulatedImage()})
    async with world:
        await world.create_cluster()
        await world.register("web")
        yield world
        world.invariants.broken.clear()
        world.engine.violations.clear()


async def rolled(world: World, **percents: int) -> None:
    front = await world.create_load_balancer()
    await world.create_service(desired=4, front=front, **percents)
    await world.stable()
    await world.update_service(forceNewDeployment=True)
    await world.stable()
    await world.settled(within=60)


async def test_too_few_healthy_tasks_are_noticed(world, monkeypatch):
    monkeypatch.setattr(decide_service, "next_step", lambda c, **given: next_step(c, **given | {"minimum": 0}))
    with pytest.raises(Violated, match=r"web: stopping the serving \w+ leaves \d, at least 4 must stay \(100 % of 4\)"):
        await rolled(world)


async def test_too_many_tasks_are_noticed(world, monkeypatch):
    monkeypatch.setattr(decide_service, "next_step", lambda c, **given: next_step(c, **given | {"maximum": 99}))
    with pytest.raises(Violated, match=r"web: 5 tasks, at most 4 \(100 % of 4\)"):
        await rolled(world, minimum=50, maximum=100)


async def test_a_task_that_is_told_to_end_while_registered_is_noticed(world, monkeypatch):
    def forgets(tx, task, now):
        return task_writes.replace(task, targets_registered=False)

    for module in ("task_writes", "task_steps"):
        monkeypatch.setattr(f"moorage.control.{module}.deregister_targets", forgets)
    monkeypatch.setattr("moorage.control.task.TaskController._draining", lambda self, task: 0)
    with pytest.raises(Violated, match=r"SIGTERM to .* while it is registered"):
        await rolled(world)


async def test_a_task_that_is_told_to_end_while_it_drains_is_noticed(world, monkeypatch):
    monkeypatch.setattr("moorage.control.task.TaskController._draining", lambda self, task: 0)
    with pytest.raises(Violated, match=r"SIGTERM to .* while it drains"):
        await rolled(world)


async def test_what_is_left_behind_is_noticed(world, monkeypatch):
    async def lazy(container_id):
        return None

    monkeypatch.setattr(world.engine, "remove", lazy)
    with pytest.raises((NeverHappened, Violated), match=r"leaked: ecs-web-1-app-|was removed under running"):
        await rolled(world)


async def test_a_task_that_goes_back_is_noticed(world):
    [arn] = await world.run_task()
    await world.until(lambda: world.task(arn).last_status == "RUNNING")
    await world.store.update(
        lambda tx: tx.put(TASKS, task_writes.replace(tx.get(TASKS, arn), last_status="PENDING", stopped_reason="x"))
    )
    with pytest.raises(Violated, match="went back from RUNNING to PENDING"):
        world.check()


async def test_one_address_for_two_tasks_is_noticed(world, monkeypatch):
    monkeypatch.setattr("moorage.control.addresses.next_address", lambda *given: "172.31.0.9")
    await world.run_task(count=2)
    with pytest.raises(Violated, match=r"two network interfaces have the address 172\.31\.0\.9"):
        await world.run_for(10)


async def test_an_unexpected_error_of_a_loop_is_noticed(world, monkeypatch):
    monkeypatch.setattr("moorage.control.task.decide_task", lambda *given: 1 / 0)
    await world.create_service(desired=1)
    with pytest.raises(Violated, match="ZeroDivisionError"):
        await world.run_for(1)


async def test_a_control_plane_that_looks_at_a_service_again_and_again_is_noticed(world, monkeypatch):
    """Nothing else is wrong: the deployment ends as it should, in its time."""
    passes = decide_service.SchedulerPass.plan

    def restless(self):
        return decide_service.replace(passes(self), again_after=0.01)

    monkeypatch.setattr(decide_service.SchedulerPass, "plan", restless)
    world.engine.images["slow"] = SimulatedImage(pull=20)
    await world.create_service(task_definition=await world.register("slow", image="slow"))
    with pytest.raises(Violated, match=r"web was looked at \d+ times, and ecs-svc/\d+ is still IN_PROGRESS"):
        await world.stable()


async def test_a_service_that_is_not_at_rest_after_so_many_passes_is_noticed(world, monkeypatch):
    await world.create_service()
    await world.stable()
    world.invariants.passes.mended(world.store)
    monkeypatch.setattr(
        decide_service.SchedulerPass,
        "note_steady",
        lambda self, *, steady: self.again.append(0.5),
    )
    await world.update_service(desiredCount=2)
    with pytest.raises(Violated, match=r"web is not at rest after \d+ passes in a mended world"):
        await world.run_for(120)


async def test_an_answer_before_the_disk_has_it_is_noticed(world, monkeypatch):
    async def at_once(self, undo, changes, commit):
        self._pending.append(_Pending(undo, changes, asyncio.get_running_loop().create_future()))
        self._log.append(commit)

    monkeypatch.setattr(Store, "_commit", at_once)
    with pytest.raises(AssertionError, match="CreateCluster was answered before it was durable"):
        await world.create_cluster("other")


async def test_a_container_that_does_not_wait_for_another_is_noticed(world, monkeypatch):
    monkeypatch.setattr("moorage.decide.task_lifecycle._met", lambda *given: True)
    world.engine.images["init"] = SimulatedImage(exits_after=5)
    init = {"name": "init", "image": "init", "essential": False}
    app = {"name": "app", "image": "web", "dependsOn": [{"containerName": "init", "condition": "SUCCESS"}]}
    await world.register("pair", containers=[app, init])
    await world.run_task("pair")
    with pytest.raises(Violated, match=r"ecs-pair-1-app-\w+ is started, but init is not SUCCESS"):
        await world.run_for(10)


async def test_a_container_that_ends_before_those_that_depend_on_it_is_noticed(world, monkeypatch):
    monkeypatch.setattr(
        "moorage.decide.task_lifecycle._stoppable",
        lambda task, document: [c.name for c in task.containers if c.known == "RUNNING"],
    )
    log = {"name": "log", "image": "web"}
    app = {"name": "app", "image": "web", "dependsOn": [{"containerName": "log", "condition": "START"}]}
    await world.register("pair", containers=[log, app])
    [arn] = await world.run_task("pair")
    await world.until(lambda: world.task(arn).last_status == "RUNNING")
    await world.stop_task(arn)
    with pytest.raises(Violated, match=r"SIGTERM to ecs-pair-1-log-\w+, but app depends on it and runs"):
        await world.run_for(10)


async def test_a_deployment_that_is_completed_too_early_is_noticed(world, monkeypatch):
    """It says so itself; nobody serves yet."""
    monkeypatch.setattr(decide_service.SchedulerPass, "is_early_success", lambda self, healthy: True)
    with pytest.raises(Violated, match=r"ecs-svc/\d+ is COMPLETED with 0 tasks that serve, of 4"):
        await rolled(world)


async def test_a_circuit_breaker_that_does_not_trip_is_noticed(world, monkeypatch):
    monkeypatch.setattr("moorage.decide.failing.FailingPass.failure", lambda self: None)
    world.engine.images["broken"] = SimulatedImage(start_failure="not found")
    await world.create_service(task_definition=await world.register("broken", image="broken"), breaker=True)
    with pytest.raises(Violated, match=r"goes on after 3 failures, the circuit breaker allows 2"):
        await world.run_for(60)


async def test_an_alarm_that_nobody_heard_is_noticed(world, monkeypatch):
    monkeypatch.setattr("moorage.control.alarms.watched", lambda service: ())
    world.alarms.set("errors", "OK")
    await world.create_service()
    await world.stable()
    alarms = {"alarmNames": ["errors"], "enable": True, "rollback": True}
    await world.update_service(forceNewDeployment=True, deploymentConfiguration={"alarms": alarms})
    world.alarms.set("errors", "ALARM")
    with pytest.raises(Violated, match=r"is COMPLETED, errors has been in ALARM for \d+ s"):
        await world.stable()


async def test_a_protected_task_that_is_scaled_in_is_noticed(world, monkeypatch):
    await world.create_service(desired=2)
    await world.stable()
    arns = [task.arn for task in world.tasks()]
    await world.ecs("UpdateTaskProtection", cluster="main", tasks=arns, protectionEnabled=True, expiresInMinutes=5)
    monkeypatch.setattr(
        decide_service, "Candidate", lambda task, verdict, **given: Candidate(task, verdict, new=given["new"])
    )
    await world.update_service(desiredCount=1)
    with pytest.raises(Violated, match=r"is protected and was stopped: Scaling activity"):
        await world.run_for(10)


async def test_an_event_that_is_written_over_is_noticed(world, monkeypatch):
    monkeypatch.setattr("moorage.control.service_events.replace", lambda record, **given: record)
    with pytest.raises(Violated, match=r"event 0 was told anew"):
        await rolled(world)


async def broken_after_good(world: World, *, rollback: bool) -> None:
    """A deployment that works, and one that never starts."""
    world.engine.images["broken"] = SimulatedImage(start_failure="not found")
    await world.create_service(breaker=True, rollback=rollback)
    await world.stable()
    await world.update_service(taskDefinition=await world.register("web", image="broken"))
    await world.run_for(120)


async def test_a_rollback_that_does_not_come_is_noticed(world, monkeypatch):
    roll_back = decide_service.SchedulerPass.trip

    def forgets(self):
        self.service = decide_service.replace(self.service, last_good_revision=None)
        roll_back(self)

    monkeypatch.setattr(decide_service.SchedulerPass, "trip", forgets)
    with pytest.raises(Violated, match=r"ecs-svc/\d+ has FAILED and is not rolled back to"):
        await broken_after_good(world, rollback=True)


async def test_a_rollback_that_nobody_asked_for_is_noticed(world, monkeypatch):
    failure = decide_service.SchedulerPass.failure

    def always(self):
        found = failure(self)
        return decide_service.replace(found, rollback=True) if found is not None else None

    monkeypatch.setattr(decide_service.SchedulerPass, "failure", always)
    with pytest.raises(Violated, match="web is rolled back, and nobody asked for that"):
        await broken_after_good(world, rollback=False)


async def test_a_failed_deployment_that_goes_on_is_noticed(world, monkeypatch):
    monkeypatch.setattr(decide_service, "hold", lambda candidates, *, desired: decide_service.Step(1, ()))
    with pytest.raises(Violated, match=r"is started for ecs-svc/\d+, which has FAILED"):
        await broken_after_good(world, rollback=False)
