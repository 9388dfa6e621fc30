"""Sandboxes on a real engine: addresses, the warm pool, ports, leftovers, and the ways in which a network is refused."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import urllib.request

import msgspec
import pytest
from msgspec.structs import replace

from moorage.engine.docker import DockerEngine
from moorage.engine.docker.names import mac_address, pool_name, sandbox_name
from moorage.engine.driver import (
    LABEL_POOL,
    LABEL_SANDBOX,
    LABEL_TASK,
    NetworkError,
    SubnetNetwork,
)
from support.images import web_image

from .conftest import a_sandbox, address, make, output, run, seen, task_arn

pytestmark = pytest.mark.docker


def inspect(name: str) -> dict:
    return json.loads(subprocess.run(["docker", "inspect", name], capture_output=True, text=True, check=True).stdout)[0]


async def get(url: str) -> str:
    def read() -> str:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return answer.read().decode()

    for _attempt in range(100):
        try:
            return await asyncio.to_thread(read)
        except OSError:
            await asyncio.sleep(0.05)
    raise AssertionError(f"{url} never answered")


async def test_a_task_has_the_address_it_was_given_and_answers_the_host(engine: DockerEngine, subnet: SubnetNetwork):
    sandbox = await engine.start_sandbox(a_sandbox(subnet, 20, hostname="ip-10-0-0-20.us-east-1.compute.internal"))
    await run(engine, await web_image(port=8080, body="hello\n"), None, sandbox)
    assert await get(f"http://{address(subnet, 20)}:8080/") == "hello\n"
    probe = await run(engine, await web_image(), "hostname; ip -o -4 addr show eth0; ip link show eth0", sandbox)
    host_name, inet, *link = await output(engine, probe)
    assert host_name == "ip-10-0-0-20.us-east-1.compute.internal"
    assert f"inet {address(subnet, 20)}/24" in inet
    assert mac_address(address(subnet, 20)) in " ".join(link)


async def test_containers_of_a_task_talk_over_localhost(engine: DockerEngine, subnet: SubnetNetwork):
    sandbox = await engine.start_sandbox(a_sandbox(subnet))
    await run(engine, await web_image(port=8080, body="sibling\n"), None, sandbox)
    fetch = "until wget -qO- http://127.0.0.1:8080/; do usleep 20000; done"
    assert (await output(engine, await run(engine, await web_image(), fetch, sandbox)))[-1] == "sibling"


async def test_start_sandbox_is_idempotent_by_task(engine: DockerEngine, subnet: SubnetNetwork):
    first = await engine.start_sandbox(a_sandbox(subnet))
    assert await engine.start_sandbox(a_sandbox(subnet)) == first
    together = await asyncio.gather(*(engine.start_sandbox(a_sandbox(subnet, 21)) for _ in range(3)))
    assert len({sandbox.id for sandbox in together}) == 1


async def test_tasks_that_start_together_make_one_network(engine: DockerEngine, subnet: SubnetNetwork):
    await asyncio.gather(*(engine.start_sandbox(a_sandbox(subnet, last)) for last in (20, 21, 22)))
    names = subprocess.run(["docker", "network", "ls", "--format", "{{.Name}}"], capture_output=True, text=True)
    assert names.stdout.split().count(subnet.name) == 1


async def test_a_warm_sandbox_is_taken_over_by_the_task_with_its_address(engine: DockerEngine, subnet: SubnetNetwork):
    spec = a_sandbox(subnet, 30, hostname="ip-30")
    await engine.warm(subnet, address(subnet, 30), mac_address(address(subnet, 30)), "ip-30")
    await engine.warm(subnet, address(subnet, 30), mac_address(address(subnet, 30)), "ip-30")
    [pooled] = await engine.list()
    assert pooled.labels[LABEL_POOL] == address(subnet, 30)
    assert LABEL_TASK not in pooled.labels

    sandbox = await engine.start_sandbox(spec)
    assert sandbox.id == pooled.id
    [claimed] = await engine.list()
    assert claimed.labels[LABEL_TASK] == spec.task_arn
    assert LABEL_POOL not in claimed.labels
    assert claimed.sandbox
    assert (await engine.start_sandbox(spec)).id == pooled.id


@pytest.mark.parametrize(
    "change",
    [{"hostname": "another"}, {"dns_servers": ("10.0.0.2",)}, {"sysctls": {"net.core.somaxconn": "64"}}],
)
async def test_a_warm_sandbox_that_does_not_fit_makes_way(engine: DockerEngine, subnet: SubnetNetwork, change: dict):
    await engine.warm(subnet, address(subnet, 30), mac_address(address(subnet, 30)), "ip-30")
    [pooled] = await engine.list()
    sandbox = await engine.start_sandbox(a_sandbox(subnet, 30, **({"hostname": "ip-30"} | change)))
    assert [found.id for found in await engine.list()] == [sandbox.id]
    assert sandbox.id != pooled.id


async def test_a_warm_sandbox_that_died_is_not_taken_over(engine: DockerEngine, subnet: SubnetNetwork):
    await engine.warm(subnet, address(subnet, 30), mac_address(address(subnet, 30)))
    [pooled] = await engine.list()
    await engine.stop(pooled.id, 10)
    sandbox = await engine.start_sandbox(a_sandbox(subnet, 30))
    [found] = await engine.list()
    assert (found.id, found.state) == (sandbox.id, "running")


async def test_a_pooled_address_is_claimed_while_it_is_being_warmed(engine: DockerEngine, subnet: SubnetNetwork):
    warming = asyncio.create_task(engine.warm(subnet, address(subnet, 30), mac_address(address(subnet, 30))))
    await asyncio.sleep(0)
    sandbox = await engine.start_sandbox(a_sandbox(subnet, 30))
    await warming
    assert [found.id for found in await engine.list()] == [sandbox.id]


async def test_a_half_made_sandbox_of_a_killed_control_plane_is_used(engine: DockerEngine, subnet: SubnetNetwork):
    spec = a_sandbox(subnet)
    sandbox = await engine.start_sandbox(spec)
    await engine.remove_sandbox(sandbox.id)
    body = ["docker", "create", "--network", subnet.name, "--ip", address(subnet, 20)]
    labels = ["--label", f"io.moorage.installation={engine.installation}", "--label", "io.moorage.sandbox=true"]
    name = sandbox_name(engine.installation, spec.task_arn)
    made = subprocess.run(
        [*body, *labels, "--name", name, "moorage/pause:1"], capture_output=True, text=True, check=True
    )
    assert (await engine.start_sandbox(spec)).id == made.stdout.strip()
    [found] = await engine.list()
    assert found.state == "running"


async def test_a_sandbox_that_died_is_made_anew(engine: DockerEngine, subnet: SubnetNetwork):
    first = await engine.start_sandbox(a_sandbox(subnet))
    await engine.stop(first.id, 10)
    second = await engine.start_sandbox(a_sandbox(subnet))
    assert second.id != first.id
    assert [found.state for found in await engine.list()] == ["running"]


async def test_pruned_networks_and_images_are_made_again(engine: DockerEngine, subnet: SubnetNetwork):
    sandbox = await engine.start_sandbox(a_sandbox(subnet, 20))
    await engine.remove_sandbox(sandbox.id)
    subprocess.run(["docker", "network", "rm", subnet.name], check=True, capture_output=True)
    subprocess.run(["docker", "rmi", "moorage/pause:1"], capture_output=True)
    assert (await engine.start_sandbox(a_sandbox(subnet, 21))).id


async def test_the_pause_ends_at_once_on_sigterm_and_its_death_is_told(engine: DockerEngine, subnet: SubnetNetwork):
    events = engine.events()
    await seen(events, "resync")
    spec = a_sandbox(subnet)
    sandbox = await engine.start_sandbox(spec)
    await engine.stop(sandbox.id, 60)
    died = await seen(events, "died", sandbox.id)
    assert died.exit_code == 0
    assert died.labels[LABEL_TASK] == spec.task_arn
    assert LABEL_SANDBOX in died.labels
    await events.aclose()


async def test_a_claimed_sandbox_dies_under_its_tasks_name(engine: DockerEngine, subnet: SubnetNetwork):
    await engine.warm(subnet, address(subnet, 30), mac_address(address(subnet, 30)))
    spec = a_sandbox(subnet, 30)
    sandbox = await engine.start_sandbox(spec)
    events = engine.events()
    await seen(events, "resync")
    await engine.stop(sandbox.id, 60)
    died = await seen(events, "died", sandbox.id)
    assert died.labels[LABEL_TASK] == spec.task_arn
    assert LABEL_POOL not in died.labels
    await events.aclose()


async def test_a_range_that_overlaps_names_the_network_that_holds_it(engine: DockerEngine, subnet: SubnetNetwork):
    holder = f"moorage-test-holder-{engine.installation}"
    subprocess.run(["docker", "network", "create", "--subnet", subnet.cidr, holder], check=True, capture_output=True)
    try:
        with pytest.raises(NetworkError) as refused:
            await engine.start_sandbox(a_sandbox(subnet))
    finally:
        subprocess.run(["docker", "network", "rm", holder], check=True, capture_output=True)
    assert f"overlaps the Docker network {holder} ({subnet.cidr})" in refused.value.why
    assert f"docker network rm {holder}" in refused.value.why
    assert (await engine.start_sandbox(a_sandbox(subnet))).id


async def test_an_address_that_is_taken_is_named(engine: DockerEngine, subnet: SubnetNetwork):
    await engine.start_sandbox(a_sandbox(subnet, 20))
    with pytest.raises(NetworkError, match=f"the address {address(subnet, 20)} is already in use in subnet-0abc"):
        await engine.start_sandbox(a_sandbox(subnet, 20, task_arn=task_arn(99)))
    assert len(await engine.list()) == 1


async def test_remove_networks_takes_only_our_unused_ones(engine: DockerEngine, subnet: SubnetNetwork):
    await engine.start_sandbox(a_sandbox(subnet, 20))
    await engine.remove_networks()
    assert inspect(subnet.name)["Name"] == subnet.name
    [found] = await engine.list()
    await engine.remove_sandbox(found.id)
    await engine.remove_networks(keep=[subnet.name])
    await engine.remove_networks(only=["another"])
    assert inspect(subnet.name)["Name"] == subnet.name
    await engine.remove_networks(only=[subnet.name])
    assert subprocess.run(["docker", "network", "inspect", subnet.name], capture_output=True).returncode != 0
    assert (await engine.start_sandbox(a_sandbox(subnet, 20))).id


async def test_cleanup_leaves_nothing(engine: DockerEngine, subnet: SubnetNetwork, busybox: str):
    sandbox = await engine.start_sandbox(a_sandbox(subnet, 20))
    await engine.warm(subnet, address(subnet, 30), mac_address(address(subnet, 30)))
    await make(engine, busybox, "true", sandbox)
    await run(engine, busybox, "sleep 1000", sandbox)
    await engine.cleanup()
    assert await engine.list() == []
    assert subprocess.run(["docker", "network", "inspect", subnet.name], capture_output=True).returncode != 0
    await engine.cleanup()


async def test_a_subnet_with_a_new_range_replaces_its_unused_network(engine: DockerEngine, subnet: SubnetNetwork):
    sandbox = await engine.start_sandbox(a_sandbox(subnet, 20))
    await engine.remove_sandbox(sandbox.id)
    smaller = msgspec.structs.replace(subnet, cidr=subnet.cidr.replace("/24", "/25"))
    assert (await engine.start_sandbox(a_sandbox(smaller, 20))).id
    assert inspect(subnet.name)["IPAM"]["Config"][0]["Subnet"] == smaller.cidr


def test_the_pool_keeps_networks_apart():
    assert pool_name("abc", "net-a", "10.0.0.5") != pool_name("abc", "net-b", "10.0.0.5")


@pytest.mark.skipif(os.geteuid() != 0, reason="the local route of a VPC takes root")
async def test_tasks_in_two_subnets_reach_each_other_with_their_own_addresses(
    engine: DockerEngine, subnet: SubnetNetwork, busybox: str
):
    first, second = (
        SubnetNetwork(f"{subnet.name}-{half}", subnet.cidr.replace(".0/24", f".{half}/25"), f"subnet-{half}")
        for half in (0, 128)
    )
    server = await engine.start_sandbox(a_sandbox(first, 20))
    client = await engine.start_sandbox(a_sandbox(second, 150))
    served = await run(engine, busybox, "exec httpd -f -vv -p 9000", server)
    request = "printf 'GET / HTTP/1.0\\r\\n\\r\\n'"
    fetch = f"until {request} | nc -w 5 {address(subnet, 20)} 9000; do usleep 20000; done"
    await output(engine, await run(engine, busybox, fetch, client))
    line = await anext(engine.logs(served))
    assert address(subnet, 150) in line.message


async def test_subnets_whose_range_is_taken_get_substitutes_of_their_own(engine: DockerEngine, subnet: SubnetNetwork):
    await engine.prepare_network(subnet)
    later = [replace(subnet, name=f"{subnet.name}-{n}", subnet_id=f"subnet-0{n}") for n in range(4)]
    ranges = await asyncio.gather(*(engine.prepare_network(one) for one in later))
    assert len({*ranges, subnet.cidr}) == 5
    assert await engine.prepare_network(later[0]) == ranges[0]
