"""Tasks whose containers have networks of their own, in the simulated world (semantics ecs-tasks §6, §16)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from moorage.engine.simulated_container import SimulatedImage
from moorage.simulation.calls import CLUSTER

from .virtual_world import VIRTUAL, PortsWorld, a_world, quiet_log, virtual_time  # noqa: F401

pytestmark = VIRTUAL
FREE = [{"containerPort": 80, "hostPort": 0}]


async def run(world: PortsWorld, *containers: dict[str, Any], **document: Any) -> str:
    await world.ecs("RegisterContainerInstance", cluster=CLUSTER)
    definitions = [
        {"name": name, "image": "web", "memory": 64, "essential": True, **members}
        for name, members in zip("ab", containers, strict=False)
    ]
    await world.ecs("RegisterTaskDefinition", family="own", containerDefinitions=definitions, **document)
    answer = await world.ecs("RunTask", cluster=CLUSTER, taskDefinition="own", launchType="EC2")
    assert not answer["failures"]
    return str(answer["tasks"][0]["taskArn"])


async def bindings(world: PortsWorld, arn: str) -> dict[str, list[dict[str, Any]]]:
    answer = await world.ecs("DescribeTasks", cluster=CLUSTER, tasks=[arn])
    [task] = msgspec.json.decode(msgspec.json.encode(answer))["tasks"]
    return {container["name"]: container["networkBindings"] for container in task["containers"]}


async def test_two_containers_may_listen_on_one_port(world: PortsWorld) -> None:
    world.engine.images["other"] = SimulatedImage(status=201)
    arn = await run(world, {"portMappings": FREE}, {"portMappings": FREE, "image": "other"})
    await world.status(arn, "RUNNING")
    await world.run_for(1)
    shown = await bindings(world, arn)
    [one], [two] = shown["a"], shown["b"]
    assert (one["containerPort"], two["containerPort"]) == (80, 80)
    assert await world.engine.request(one["bindIP"], one["hostPort"]) == 200
    assert await world.engine.request(two["bindIP"], two["hostPort"]) == 201


async def test_a_port_range_gets_host_ports_in_a_row(world: PortsWorld) -> None:
    arn = await run(world, {"portMappings": [{"containerPortRange": "79-83", "protocol": "tcp"}]})
    await world.status(arn, "RUNNING")
    await world.run_for(1)
    [binding] = (await bindings(world, arn))["a"]
    first, last = map(int, binding.pop("hostPortRange").split("-"))
    assert last - first == 4
    where = binding.pop("bindIP")
    assert binding == {"containerPortRange": "79-83", "protocol": "tcp"}
    assert await world.engine.request(where, first + 1) == 200


@pytest.mark.parametrize("lost", [None, "inspect", "start"])
async def test_a_container_that_is_started_again_shows_its_new_ports(world: PortsWorld, lost: str | None) -> None:
    world.engine.images["mortal"] = SimulatedImage(exits_after=70, exit_code=1)
    policy = {"enabled": True, "restartAttemptPeriod": 60}
    arn = await run(world, {"image": "mortal", "portMappings": FREE, "restartPolicy": policy})
    await world.status(arn, "RUNNING")
    [before] = (await bindings(world, arn))["a"]
    if lost is not None:
        world.engine.lose_answer(lost)
    await world.until(lambda: world.task(arn).containers[0].restarts == 1, within=100)
    await world.until(lambda: world.task(arn).containers[0].known == "RUNNING")
    await world.run_for(1)
    [after] = (await bindings(world, arn))["a"]
    assert after["hostPort"] != before["hostPort"]
    assert await world.engine.request(after["bindIP"], after["hostPort"]) == 200


async def test_the_control_plane_may_die_between_a_start_and_its_ports(world: PortsWorld) -> None:
    arn = await run(world, {"portMappings": FREE})
    await world.until(lambda: world.engine.counts["start"] > 0)
    await world.kill_control_plane()
    await world.start_control_plane()
    await world.status(arn, "RUNNING")
    [binding] = (await bindings(world, arn))["a"]
    await world.run_for(1)
    assert await world.engine.request(binding["bindIP"], binding["hostPort"]) == 200


async def test_links_hosts_and_namespaces_reach_the_engine(world: PortsWorld) -> None:
    arn = await run(
        world,
        {"links": ["b:db", "b"], "hostname": "front", "disableNetworking": False, "dnsServers": ["10.0.0.2"]},
        {"disableNetworking": True},
        pidMode="host",
        ipcMode="task",
    )
    await world.status(arn, "RUNNING")
    one, two = sorted((c.spec for c in world.engine.of_task(arn)), key=lambda spec: spec.name)
    assert one.links == ((two.docker_name, "db"), (two.docker_name, "b"))
    assert (one.network, one.hostname, one.dns_servers) == ("bridge", "front", ("10.0.0.2",))
    assert two.network == "none"
    assert (one.pid_mode, one.ipc_mode) == ("host", "sandbox")
    assert world.verbs("start") == ["start b", "start a"]
