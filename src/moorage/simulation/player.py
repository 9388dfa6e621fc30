"""Who plays a story: each verb of a step is a method that does it to a world."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from moorage.domain.errors import AwsError
from moorage.domain.service import Service
from moorage.engine.simulated_container import SimulatedContainer
from moorage.simulation.calls import CLUSTER, Front
from moorage.simulation.network import Traffic
from moorage.simulation.story import BELL, GOOD, IMAGES, Step
from moorage.simulation.world import World
from moorage.store.api import StoreUnavailable
from moorage.store.tables.ecs import REVISIONS, SERVICES, TASK_DEFINITIONS, TASKS

# Seconds in which everything that is under way ends, once nothing breaks any more.
QUIET = 300.0


class Player:
    """Plays steps in a world. What a user would be refused is refused; everything else must work."""

    patience = 900.0
    """Seconds within which the mended world must come to rest."""

    def __init__(self, world: World) -> None:
        self.world = world
        self._fronts: dict[str, Front] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._traffic: Traffic | None = None
        self._flapping: set[str] = set()
        self.bell = "OK"
        self._taken_out: set[str] = set()
        """Services of which a target was deregistered by hand."""

    async def play(self, steps: Sequence[Step]) -> None:
        await self.world.create_cluster()
        for step in steps:
            await self.world.run_for(step.after)
            perform: Callable[..., Awaitable[None]] = getattr(self, step.verb)
            try:
                await perform(**step.arguments)
            except (AwsError, ConnectionError, StoreUnavailable):
                continue  # refused: a user may be wrong, a disk full, a control plane away
        await self.mend()
        await self.rest()
        self.world.invariants.ended()
        await self._shown_as_it_is()

    async def rest(self) -> None:
        """The mended world comes to rest by itself."""
        await self.world.settled(within=self.patience)

    async def _shown_as_it_is(self) -> None:
        """What the API counts is what there is."""
        for service in self.world.store.all(SERVICES):
            if service.status != "ACTIVE":
                continue
            shown = await self.world.describe_service(service.name)
            tasks = self.world.tasks(service.name)
            counts = (shown["desiredCount"], shown["runningCount"], shown["pendingCount"])
            if counts != (service.desired_count, len(tasks), 0):
                self.world.invariants.note(f"{service.name} is shown with {counts}, it has {len(tasks)} running tasks")
            listed = await self.world.ecs("ListTasks", cluster=CLUSTER, serviceName=service.name)
            if sorted(listed["taskArns"]) != sorted(task.arn for task in tasks):
                self.world.invariants.note(f"{service.name}: ListTasks shows other tasks than there are")
        self.world.check()

    async def revision(self, name: str, image: str, checked: bool) -> str:
        """A task definition for the service of this name; its ARN."""
        return await self.world.register(name, image=image, health_check=checked)

    async def mend(self) -> None:
        """The faults end; what is under way ends by itself; then every service gets an image that works."""
        await self.end_faults()
        await self.left_alone()
        services: Sequence[Service] = self.world.store.all(SERVICES)
        for service in services:
            if service.status == "ACTIVE":
                revision = await self.revision(service.name, "good", False)
                # Percentages that allow neither a start nor a stop are the user's own doing.
                percents = {"minimumHealthyPercent": 50, "maximumPercent": 200}
                await self.world.update_service(service.name, taskDefinition=revision, deploymentConfiguration=percents)
        for task in self.world.standalone():
            await self.world.stop_task(task.arn)
        self.world.invariants.passes.mended(self.world.store)

    async def end_faults(self) -> None:
        self.world.note_mended()
        await asyncio.gather(*self._background)
        await self.world.recovered()
        self.world.log.refuse(None)
        self.world.engine.lose_answer(None)
        self._flapping.clear()
        await self._restore_fronts()
        self.world.alarms.set(BELL, "OK")

    async def left_alone(self) -> None:
        """Nothing breaks any more and nobody does anything: no task stays where it is on its way, and deployments end,
        with COMPLETED where the image works, FAILED or rolled back where it never starts and a circuit breaker watches."""
        since, store = self.world.clock.now(), self.world.store
        there = {task.arn: task for task in self.world.living_tasks() if task.waiting is None}
        await self.world.run_for(QUIET)
        for arn, before in there.items():
            task = store.get(TASKS, arn)
            if task is not None and before.last_status == task.last_status != "RUNNING":
                self.world.invariants.note(f"{task.id} has been {task.last_status} for {QUIET:g} s")
            runs_on = task is not None and before.last_status == task.last_status == "RUNNING"
            if runs_on and task.sandbox_id is not None and not self.world.engine.has_network(arn):
                self.world.invariants.note(f"{task.id} has been RUNNING for {QUIET:g} s, its sandbox is not")
        for service in store.all(SERVICES):
            if service.status == "ACTIVE" and self.must_have_ended(service, since):
                said = self.world.situation()
                self.world.invariants.note(f"{service.name} is still IN_PROGRESS after {QUIET:g} s in peace: {said}")
        self.world.invariants.ended(rest=False)
        self.world.check()

    def must_have_ended(self, service: Service, since: float) -> bool:
        """Is its deployment wrongly IN_PROGRESS? Waiting may be right: for launches that are throttled after failures, for
        protected tasks, for room, and for ever where the percentages block, where a user took out a target by hand, or with
        an image that breaks and nobody who watches."""
        primary, configuration = service.deployments[0], service.deployment_configuration
        if primary.rollout_state != "IN_PROGRESS" or service.shift is not None or service.controller != "ECS":
            return False
        least = -(-service.desired_count * configuration.minimum_healthy_percent // 100)
        most = service.desired_count * configuration.maximum_percent // 100
        if (primary.launches_blocked_until or 0.0) > since or least >= service.desired_count >= most:
            return False
        tasks = self.world.tasks(service.name, all=True)
        if any(t.waiting is not None or (t.protected_until or 0.0) > since for t in tasks):
            return False
        if service.name in self._taken_out:
            return False
        images = self._images(primary.revision_arn)
        watched = configuration.circuit_breaker.enable
        return images <= {*GOOD} or (watched and bool(images & {"lost", "unstartable"}))

    def _images(self, revision_arn: str) -> set[str]:
        revision = self.world.store.get(REVISIONS, revision_arn)
        definition = self.world.store.get(TASK_DEFINITIONS, revision.task_definition_arn)
        return {str(container.image) for container in definition.document.container_definitions}

    async def _restore_fronts(self) -> None:
        """A listener that was deleted is made again, and what a user deregistered is replaced with its task."""
        for front in self._fronts.values():
            with contextlib.suppress(AwsError):  # there is one
                protocol = "TCP" if "/net/" in front.load_balancer else "HTTP"
                await self.world.create_listener(front.load_balancer, front.target_group, protocol=protocol)

    # --- users -------------------------------------------------------------------------------------------------------
    async def create_service(
        self,
        name: str,
        image: str,
        desired: int,
        balanced: bool,
        checked: bool,
        minimum: int,
        maximum: int,
        breaker: bool,
        rollback: bool | None = None,
    ) -> None:
        """`rollback`: what the circuit breaker does; None: it rolls back if there is one."""
        if balanced and name not in self._fronts:
            self._fronts[name] = await self.world.create_load_balancer(name)
        await self.world.create_service(
            name,
            task_definition=await self.revision(name, image, checked),
            desired=desired,
            front=self._fronts.get(name) if balanced else None,
            minimum=minimum,
            maximum=maximum,
            breaker=breaker,
            rollback=breaker if rollback is None else rollback,
        )

    async def users_come(self) -> None:
        """From now on every failed request is remembered."""
        front = self._fronts.get("a")
        if front is not None:
            self._traffic = self.world.users.traffic(front.load_balancer, rate=20, seconds=0.3)

    async def users_go(self) -> None:
        if self._traffic is not None and (failures := await self._traffic.stop()):
            first = failures[0]
            self.world.invariants.note(
                f"{len(failures)} failed requests; the first at t={first.at:.3f}: status {first.status}"
            )

    async def scale(self, name: str, desired: int) -> None:
        await self.world.update_service(name, desiredCount=desired)

    async def deploy(self, name: str, image: str, checked: bool) -> None:
        revision = await self.revision(name, image, checked)
        await self.world.update_service(name, taskDefinition=revision)

    async def redeploy(self, name: str) -> None:
        await self.world.update_service(name, forceNewDeployment=True)

    async def watch(self, name: str, rollback: bool, bake: int | None, early: str | None, percent: int) -> None:
        """A deployment that an alarm watches over, perhaps one that is content with less than all of its tasks."""
        self.world.alarms.set(BELL, self.bell)
        configuration: dict[str, Any] = {"alarms": {"alarmNames": [BELL], "enable": True, "rollback": rollback}}
        if bake is not None:
            configuration["bakeTimeInMinutes"] = bake
        criteria: dict[str, Any] = {"enable": early is not None}
        if early is not None:
            criteria |= {"healthyPercent": percent, "sourceServiceRevisionCleanup": early}
        configuration["earlySuccessCriteria"] = criteria
        await self.world.update_service(name, deploymentConfiguration=configuration, forceNewDeployment=True)

    async def ring(self, state: str) -> None:
        self.bell = state
        self.world.alarms.set(BELL, state)

    async def move_tag(self, image: str, start: float) -> None:
        """The name of an image means another one from now on, as good as the one before."""
        self.world.engine.images[image] = msgspec.structs.replace(IMAGES[image], start=start)

    async def delete_service(self, name: str) -> None:
        await self.world.delete_service(name)

    async def run_task(self, image: str) -> None:
        await self.world.register("single", image=image)
        await self.world.run_task("single")

    async def set_percents(self, name: str, percents: tuple[int, int]) -> None:
        await self.world.update_service(
            name, deploymentConfiguration={"minimumHealthyPercent": percents[0], "maximumPercent": percents[1]}
        )

    async def run_group(self, image: str, condition: str) -> None:
        """A task of two containers, the second of which waits for the first."""
        first = {
            "name": "first",
            "image": image,
            "essential": condition in ("START", "HEALTHY"),
            "healthCheck": {"command": ["CMD-SHELL", "true"]},
            "startTimeout": 20,
        }
        then = {
            "name": "then",
            "image": "good",
            "essential": True,
            "dependsOn": [{"containerName": "first", "condition": condition}],
        }
        await self.world.register("group", containers=[first, then])
        await self.world.run_task("group")

    async def cut_off(self, name: str) -> None:
        """The listener goes; whatever belonged to the target group is unused from now on."""
        front = self._fronts.get(name)
        if front is not None:
            await self.world.elbv2("DeleteListener", ListenerArn=front.listener)

    async def deregister_target(self, name: str) -> None:
        """A user takes a task out of the target group behind the service's back."""
        front = self._fronts.get(name)
        if front is None:
            return
        self._taken_out.add(name)
        for address in list(await self.world.target_health(front))[:1]:
            await self.world.elbv2(
                "DeregisterTargets", TargetGroupArn=front.target_group, Targets=[{"Id": address, "Port": 80}]
            )

    async def stop_task(self, which: int) -> None:
        tasks = self.world.living_tasks()
        if tasks:
            await self.world.stop_task(tasks[which % len(tasks)].arn)

    # --- accidents ---------------------------------------------------------------------------------------------------
    def _container(self, which: int) -> SimulatedContainer | None:
        running = self.world.engine.containers(running=True)
        return running[which % len(running)] if running else None

    async def kill_container(self, which: int) -> None:
        if (container := self._container(which)) is not None:
            self.world.engine.kill(container.id)

    async def freeze_container(self, which: int) -> None:
        if (container := self._container(which)) is not None:
            container.freeze()
            if container.spec.health_check is not None:
                container.turn("UNHEALTHY")

    async def sicken_container(self, which: int) -> None:
        if (container := self._container(which)) is not None:
            container.status = 500

    async def flap_container(self, which: int, every: float) -> None:
        """Ill and well again, over and over."""
        if (container := self._container(which)) is not None and container.id not in self._flapping:
            self._flapping.add(container.id)
            self._flap(container, every)

    def _flap(self, container: SimulatedContainer, every: float) -> None:
        ill = container.status != 500 and container.id in self._flapping
        container.status = 500 if ill else None
        if container.spec.health_check is not None:
            container.turn("UNHEALTHY" if ill else "HEALTHY")
        if container.id in self._flapping and container.state == "running":
            asyncio.get_running_loop().call_later(every, self._flap, container, every)

    async def engine_freeze(self, seconds: float) -> None:
        self.world.engine.freeze(seconds)

    async def remove_container(self, which: int) -> None:
        if (container := self._container(which)) is not None:
            self.world.engine.remove_by_hand(container.id)

    async def kill_sandbox(self, which: int) -> None:
        if (container := self._container(which)) is not None:
            self.world.engine.kill_sandbox(container.spec.task_arn)

    async def engine_outage(self, seconds: float, containers_die: bool) -> None:
        self._later(self.world.engine.outage(seconds, containers_die=containers_die))

    async def lose_events(self, seconds: float) -> None:
        self.world.engine.deafen(seconds)

    async def lose_host(self) -> None:
        self.world.engine.lose_host()

    async def reset(self) -> None:
        """Somebody empties the whole state, whatever runs."""
        await self.world.reset()
        self._fronts.clear()
        await self.world.create_cluster()

    async def lose_answer(self, verb: str) -> None:
        self.world.engine.lose_answer(verb)

    async def slow_disk(self, seconds: float) -> None:
        self.world.log.latency = seconds

    async def proxy_outage(self, seconds: float) -> None:
        self._later(self.world.proxy.outage(seconds))

    async def disk_full(self, seconds: float) -> None:
        log = self.world.log
        log.refuse(OSError("No space left on device"))
        asyncio.get_running_loop().call_later(seconds, log.refuse, None)

    async def crash(self, steps: int, away: float) -> None:
        self.world.crash_after(steps, away=away)

    async def restart_control_plane(self, away: float) -> None:
        await self.world.restart_control_plane(away)

    def _later(self, fault: Any) -> None:
        task: asyncio.Task[None] = asyncio.ensure_future(fault)
        self._background.add(task)
        task.add_done_callback(self._background.discard)


async def play(seed: int, steps: Sequence[Step], tolerate: Sequence[str] = (), player: type[Player] = Player) -> World:
    """Plays a story in a fresh world. Raises what went wrong, unless it contains words that are tolerated."""
    async with World(seed, images=IMAGES, tolerate=tolerate) as world:
        await player(world).play(steps)
    return world
