"""ALBs without cross-zone balancing: what the addresses in zones answer, and those of this machine."""

from __future__ import annotations

import os

import msgspec
import pytest

from moorage.domain.load_balancer import LoadBalancerNode
from moorage.proxy.driver import Endpoint, TargetGroupConfig
from moorage.proxy.envoy.encode import CLUSTER, ENDPOINTS, encode
from moorage.proxy.envoy.script import TargetTraits
from moorage.proxy.envoy.translate import load_balancer_resources, traits_of
from moorage.proxy.envoy.translate_target_group import assignment, cluster
from proxy.builders import a_config, a_listener, a_load_balancer, a_target_group, tg_arn, to
from proxy.conftest import Balanced
from proxy.servers import Address, ask, backend

PORT = 8080
HERE = ("/proc/self/ns/net", "/proc/thread-self/ns/net")
"""This machine's own network namespace, by two names: nodes are told apart by them."""


def a_node(zone: str, address: str, namespace: str) -> LoadBalancerNode:
    return LoadBalancerNode(a_load_balancer().arn, f"subnet-{zone}", zone, address, namespace, "sandbox")


NODES = (a_node("a", "127.83.7.1", HERE[0]), a_node("b", "127.83.7.2", HERE[1]))


async def names(door: Address) -> set[str | int]:
    answers = [await ask(door) for _ in range(60)]
    return {a.seen["name"] if a.status == 200 else a.status for a in answers}


@pytest.mark.skipif(os.geteuid() != 0, reason="entering a network namespace needs root")
@pytest.mark.parametrize("algorithm", ["round_robin", "least_outstanding_requests", "weighted_random"])
async def test_every_address_sends_to_its_own_zone(envoy: Balanced, algorithm: str) -> None:
    async with backend("a1") as a1, backend("a2") as a2, backend("b1") as b1:
        group = a_target_group("web", load_balancing__algorithm__type=algorithm)

        async def registered(*members: tuple[Endpoint, str]) -> None:
            endpoints = tuple(msgspec.structs.replace(one, zone=zone) for one, zone in members)
            await envoy.proxy.put_target_group(TargetGroupConfig(group, endpoints, cross_zone=False))

        balancer = a_load_balancer()
        config = a_config(balancer, a_listener(balancer, to("web"), port=PORT))
        await registered((a1.endpoint, "a"), (a2.endpoint, "a"), (b1.endpoint, "b"))
        await envoy.proxy.put_load_balancer(msgspec.structs.replace(config, nodes=NODES))
        doors = [(node.address, PORT) for node in NODES]
        everywhere = (balancer.loopback, envoy.ports(PORT))
        assert [await names(door) for door in doors] == [{"a1", "a2"}, {"b1"}]
        assert await names(everywhere) == {"a1", "a2", "b1"}
        await registered((a1.endpoint, "a"), (a2.sick, "a"))
        assert [await names(door) for door in doors] == [{"a1"}, {503}]
        assert await names(everywhere) == {"a1"}
        # zone b leaves DNS; who asks there all the same gets what there is
        await registered((a1.endpoint, "a"), (b1.sick, "b"))
        assert [await names(door) for door in doors] == [{"a1"}, {"b1"}]
        assert await names(everywhere) == {"a1"}


@pytest.mark.parametrize("cross_zone", [True, False])
def test_only_those_who_keep_zones_apart_ask_for_one(cross_zone: bool) -> None:
    balancer, group = a_load_balancer(), a_target_group("web")
    config = msgspec.structs.replace(a_config(balancer, a_listener(balancer, to("web"))), nodes=NODES)
    traits = traits_of(group, zonal=not cross_zone)
    assert traits == (None if cross_zone else TargetTraits(zonal=True))
    made = load_balancer_resources(config, lambda port: port, {tg_arn("web"): traits} if traits else {})
    for listener in made.inside.values():
        filters = listener["filter_chains"][0]["filters"][-1]["typed_config"]["http_filters"]
        assert (filters[0]["name"] == "moorage.zone") == (not cross_zone)
    (own,) = made.listeners.values()
    assert own["filter_chains"][0]["filters"][-1]["typed_config"]["http_filters"][0]["name"] != "moorage.zone"
    (routes,) = made.routes.values()
    assert "typed_per_filter_config" not in routes["virtual_hosts"][0]["routes"][-1], "the program is the common one"
    targets = TargetGroupConfig(group, (Endpoint("10.0.0.1", 80, zone="a"),), cross_zone=cross_zone)
    encode(CLUSTER, cluster(targets))
    encode(ENDPOINTS, assignment(targets))
    assert ("lb_subset_config" in cluster(targets)) == (not cross_zone)


def test_a_zone_that_left_dns_is_the_last_resort() -> None:
    endpoints = (Endpoint("10.0.0.1", 80, zone="a"), Endpoint("10.0.0.2", 80, healthy=False, zone="b"))
    made = assignment(TargetGroupConfig(a_target_group("web"), endpoints, cross_zone=False))
    assert [zone["lb_endpoints"][0]["health_status"] for zone in made["endpoints"]] == ["HEALTHY", "DEGRADED"]
