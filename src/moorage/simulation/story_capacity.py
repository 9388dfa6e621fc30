"""Random stories of capacity that comes and goes: machines of an Auto Scaling group with managed scaling, Fargate Spot that
is taken away, tasks that are moved back to an availability zone that was empty. In the end there is just the capacity that
is needed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from moorage.control.interruptions import all_spot
from moorage.domain.capacity_provider import GroupInstance
from moorage.simulation.calls import CLUSTER
from moorage.simulation.network import SCOPE
from moorage.simulation.player import Player
from moorage.simulation.story import GOOD, Step, pause, written
from moorage.store.tables.ecs import CAPACITY_PROVIDERS, CONTAINER_INSTANCES

GROUP, MACHINES, SPOT = "hosts", "a", "b"
WARMUP = 60
LARGEST = 8
FAULTS = (
    "stop_task",
    "kill_container",
    "kill_sandbox",
    "remove_container",
    "lose_answer",
    "slow_disk",
    "engine_outage",
    "engine_freeze",
    "lose_events",
    "disk_full",
    "crash",
    "crash",
    "restart_control_plane",
)


def write_capacity(seed: int, length: int = 14) -> list[Step]:
    dice = random.Random(seed)
    machines = {
        "target": dice.choice((100, 100, 70)),
        "draining": dice.random() < 0.7,
        "desired": dice.randint(0, 4),
        "cpu": dice.choice((512, 1024, 2048)),
        "host_port": dice.choice((0, 8080)),
    }
    spot = {"desired": dice.randint(1, 4), "base": dice.choice((0, 1)), "balanced": dice.random() < 0.6}
    steps = [Step(0.0, "serve_on_machines", machines), Step(0.0, "serve_on_spot", spot), Step(120.0, "nothing")]
    for _ in range(length):
        chance = dice.random()
        if chance < 0.35:
            steps.append(written(dice, FAULTS))
            continue
        verb, arguments = _happening(dice)
        steps.append(Step(pause(dice), verb, arguments))
    return steps


def _happening(dice: random.Random) -> tuple[str, dict[str, Any]]:
    which, name = dice.randrange(100), dice.choice((MACHINES, SPOT))
    happenings: tuple[tuple[str, dict[str, Any]], ...] = (
        ("scale", {"name": name, "desired": dice.randint(0, 5)}),
        ("redeploy", {"name": name}),
        ("deploy", {"name": name, "image": dice.choice(list(GOOD)), "checked": False}),
        ("run_on_machines", {"count": dice.randint(1, 4)}),
        ("vanish", {"which": which}),
        ("set_group", {"desired": dice.randint(0, 5)}),
        ("break_group", {"seconds": dice.choice((1.0, 30.0, 200.0))}),
        ("interrupt", {"which": None if dice.random() < 0.5 else which}),
        ("lack_spot", {"seconds": dice.choice((0.0, 20.0, 200.0))}),
        ("empty_zone", {"zone": dice.choice(("us-east-1a", "us-east-1b"))}),
    )
    return dice.choice(happenings)


class CapacityPlayer(Player):
    patience = 2000.0
    _machines: dict[str, Any] = {"cpu": 512, "host_port": 0}  # noqa: RUF012 replaced, never changed

    async def nothing(self) -> None:
        """Time goes on."""

    async def serve_on_machines(self, target: int, draining: bool, desired: int, cpu: int, host_port: int) -> None:
        self._machines = {"cpu": cpu, "host_port": host_port}
        group = self.world.groups.create(SCOPE, GROUP, maximum=LARGEST)
        await self.world.ecs(
            "CreateCapacityProvider",
            name=GROUP,
            autoScalingGroupProvider={
                "autoScalingGroupArn": group,
                "managedScaling": {"status": "ENABLED", "targetCapacity": target, "instanceWarmupPeriod": WARMUP},
                "managedDraining": "ENABLED" if draining else "DISABLED",
            },
        )
        await self.world.ecs(
            "PutClusterCapacityProviders",
            cluster=CLUSTER,
            capacityProviders=[GROUP, "FARGATE", "FARGATE_SPOT"],
            defaultCapacityProviderStrategy=[{"capacityProvider": GROUP, "weight": 1}],
        )
        await self.world.ecs(
            "CreateService",
            cluster=CLUSTER,
            serviceName=MACHINES,
            taskDefinition=await self.revision(MACHINES, "good", False),
            desiredCount=desired,
        )

    async def serve_on_spot(self, desired: int, base: int, balanced: bool) -> None:
        """Also rebalanced between the zones."""
        if balanced:
            self._fronts[SPOT] = await self.world.create_load_balancer(SPOT)
        front = self._fronts.get(SPOT)
        balancer = (
            {"targetGroupArn": front.target_group, "containerName": "app", "containerPort": 80} if front else None
        )
        await self.world.ecs(
            "CreateService",
            cluster=CLUSTER,
            serviceName=SPOT,
            taskDefinition=await self.revision(SPOT, "good", False),
            desiredCount=desired,
            networkConfiguration=self.world.network_configuration(),
            loadBalancers=[balancer] if balancer else None,
            availabilityZoneRebalancing="ENABLED",
            capacityProviderStrategy=[
                {"capacityProvider": "FARGATE", "base": base},
                {"capacityProvider": "FARGATE_SPOT", "weight": 1},
            ],
        )

    async def revision(self, name: str, image: str, checked: bool) -> str:
        if name != MACHINES:
            return await super().revision(name, image, checked)
        app = {
            "name": "app",
            "image": image,
            "cpu": self._machines["cpu"],
            "memory": 256,
            "essential": True,
            "portMappings": [{"containerPort": 80, "hostPort": self._machines["host_port"]}],
        }
        answer = await self.world.ecs(
            "RegisterTaskDefinition", family=name, networkMode="bridge", containerDefinitions=[app]
        )
        return str(answer["taskDefinition"]["taskDefinitionArn"])

    async def run_on_machines(self, count: int) -> None:
        await self.world.ecs("RunTask", cluster=CLUSTER, taskDefinition=MACHINES, count=count)

    def _group(self) -> Sequence[GroupInstance]:
        return self.world.groups.get(GROUP).instances if self.world.groups.has(GROUP) else ()

    # --- capacity goes -----------------------------------------------------------------------------------------------
    async def vanish(self, which: int) -> None:
        """A machine is gone, with everything on it."""
        machines = self._group()
        if machines:
            self.world.groups.vanish(machines[which % len(machines)].id)

    async def set_group(self, desired: int) -> None:
        """Somebody scales the group by hand."""
        if self.world.groups.has(GROUP):
            self.world.groups.scale(GROUP, desired)

    async def break_group(self, seconds: float) -> None:
        """Auto Scaling refuses whatever is asked."""
        self.world.groups.fail = True
        self._later(self._mend_group(seconds))

    async def _mend_group(self, seconds: float) -> None:
        await self.world.run_for(seconds)
        self.world.groups.fail = False

    async def interrupt(self, which: int | None) -> None:
        """One Spot task, or all of them."""
        found = [task.arn for task in all_spot(self.world.store, SCOPE)]
        if found:
            await self.world.interrupt(found if which is None else [found[which % len(found)]])

    async def lack_spot(self, seconds: float) -> None:
        await self.world.lack_spot(seconds)

    async def empty_zone(self, zone: str) -> None:
        """Everything that runs in a zone is stopped there."""
        for task in self.world.living_tasks():
            if task.availability_zone == zone:
                await self.world.stop_task(task.arn)

    # --- the end -----------------------------------------------------------------------------------------------------
    async def end_faults(self) -> None:
        await super().end_faults()
        self.world.groups.fail = False
        await self.world.lack_spot(0)

    async def rest(self) -> None:
        """Every service has its tasks; then machines that nobody needs go, and those that are there are known."""
        await super().rest()
        await self.world.until(self._fits, within=20 * WARMUP, what="the capacity that is needed")
        # A machine that was to go may have had tasks, and a minute after all is well they are moved between the zones.
        await self.world.run_for(200)
        await super().rest()

    def _fits(self) -> bool:
        if not self.world.store.all(CAPACITY_PROVIDERS):
            return True  # making it was refused: nobody looks after the group
        known = [one for one in self.world.store.all(CONTAINER_INSTANCES) if one.status != "INACTIVE"]
        machines = {one.id for one in self._group()}
        used = {task.instance.arn for task in self.world.living_tasks() if task.instance is not None}
        spare = len(known) - len(used)
        return {one.ec2_instance_id for one in known} == machines and spare <= max(0, -(-len(used) * 3 // 7))
