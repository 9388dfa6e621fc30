"""Network load balancers and their target groups translated: tables, without an Envoy."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from moorage.domain.load_balancer import Listener, LoadBalancer, LoadBalancerNode, answers_by_name
from moorage.proxy.driver import Endpoint, TargetGroupConfig
from moorage.proxy.envoy import translate
from moorage.proxy.envoy.encode import CLUSTER, ENDPOINTS, LISTENER, encode
from moorage.proxy.envoy.translate_network import datagram_listener, named_chain, stream_chain, stream_listener
from moorage.proxy.envoy.translate_target_group import assignment, cluster
from proxy.builders import a_config, a_listener, a_load_balancer, a_target_group, targets, tg_arn, to


def a_network(name: str = "net", *, created_at: float = 0.0) -> LoadBalancer:
    plain = a_load_balancer(name, loopback="127.83.0.9")
    return msgspec.structs.replace(plain, arn=f"arn-of-{name}", type="network", created_at=created_at)


def a_flow(protocol: str = "TCP", *groups: str | tuple[str, int], port: int = 5432, **changes: Any) -> Listener:
    made = a_listener(a_network(), to(*(groups or ("web",))), port=port, protocol=protocol)
    return msgspec.structs.replace(made, **changes)


def proxy_of(listener: Listener) -> dict[str, Any]:
    return dict(stream_chain(a_network(), listener)["filters"][0]["typed_config"])


@pytest.mark.parametrize(
    ("groups", "shown"),
    [
        (("web",), {"cluster": tg_arn("web")}),
        ((("web", 0),), {"cluster": "nobody"}),
        ((("blue", 5), ("green", 0)), {"cluster": tg_arn("blue")}),
        (
            (("blue", 3), ("green", 1)),
            {
                "weighted_clusters": {
                    "clusters": [{"name": tg_arn("blue"), "weight": 3}, {"name": tg_arn("green"), "weight": 1}]
                }
            },
        ),
    ],
)
def test_where_connections_go(groups: tuple[str | tuple[str, int], ...], shown: dict[str, Any]) -> None:
    proxy = proxy_of(a_flow("TCP", *groups))
    assert {key: proxy[key] for key in ("cluster", "weighted_clusters") if key in proxy} == shown


def test_the_idle_timeout_is_the_listeners() -> None:
    assert proxy_of(a_flow())["idle_timeout"] == "350s"
    assert proxy_of(a_flow(attributes={"tcp.idle_timeout.seconds": "60"}))["idle_timeout"] == "60s"


@pytest.mark.parametrize(
    ("weights", "endings"),
    [
        ((("blue", 1),), []),
        ((("blue", 3), ("green", 1)), [75]),
        ((("blue", 1), ("green", 1), ("red", 2)), [25, 25]),
        ((("blue", 1), ("green", 999)), []),
        ((("blue", 999), ("green", 1)), [99]),
        ((("blue", 0), ("green", 0)), []),
    ],
)
def test_how_datagrams_are_dealt(weights: tuple[tuple[str, int], ...], endings: list[int]) -> None:
    made = datagram_listener("x", "127.0.0.1", 53, a_flow("UDP", *weights))
    encode(LISTENER, made)
    matcher = made["listener_filters"][0]["typed_config"]["matcher"]
    rows = matcher.get("matcher_list", {}).get("matchers", [])
    regexes = [row["predicate"]["single_predicate"]["value_match"]["safe_regex"]["regex"] for row in rows]
    assert [regex.count("|") + 1 for regex in regexes] == endings
    assert matcher["on_no_match"]


def test_a_named_chain_asks_for_its_name() -> None:
    listener = a_flow("TLS", certificates=("arn-of-certificate",), alpn_policy=("HTTP2Optional",))
    chain = named_chain("x", a_network(), listener, ["arn-of-certificate"])
    assert chain["filter_chain_match"] == {
        "transport_protocol": "tls",
        "server_names": ["net-1234567890.us-east-1.elb.localhost"],
    }
    context = chain["transport_socket"]["typed_config"]["common_tls_context"]
    assert context["alpn_protocols"] == ["http/1.1", "http/1.0", "h2"]
    encode(LISTENER, stream_listener("x", "127.0.0.1", 443, [chain]))


def an_edge(*users: tuple[LoadBalancer, Listener]) -> dict[str, Any]:
    made = [
        translate.load_balancer_resources(a_config(balancer, listener), lambda port: port, {})
        for balancer, listener in users
    ]
    return translate.edge_resources(80, lambda port: port, ("v4",), made)


OLD, NEW, APP = a_network("old", created_at=1.0), a_network("new", created_at=2.0), a_load_balancer()


def on(balancer: LoadBalancer, protocol: str = "TCP") -> tuple[LoadBalancer, Listener]:
    made = a_listener(balancer, to(balancer.name), port=80, protocol=protocol)
    return balancer, msgspec.structs.replace(made, arn=f"{balancer.arn}/80")


@pytest.mark.parametrize(
    ("users", "stream", "datagram"),
    [
        ([on(OLD)], "old", None),
        ([on(NEW), on(OLD)], "old", None),
        ([on(OLD), on(APP, "HTTP")], "http", None),
        ([on(OLD, "UDP"), on(APP, "HTTP")], "http", "old"),
        ([on(OLD, "UDP"), on(NEW)], "new", "old"),
        ([on(OLD, "TCP_UDP"), on(NEW)], "old", "old"),
        ([on(OLD), on(NEW, "TCP_UDP")], "old", "new"),
    ],
)
def test_whose_the_shared_port_is(
    users: list[tuple[LoadBalancer, Listener]], stream: str | None, datagram: str | None
) -> None:
    edges = an_edge(*users)
    found = edges.get("edge/80/v4")
    filters = found["filter_chains"][0]["filters"] if found else []
    clusters = {one["typed_config"].get("cluster", "http") for one in filters if "proxy" in one["name"]}
    assert clusters == ({tg_arn(stream)} if stream not in (None, "http") else set())
    assert ("edge/80/v4/udp" in edges) == (datagram is not None)
    for balancer, listener in users:
        wanted = balancer.name in (stream, datagram) if balancer.type == "network" else True
        if listener.protocol == "TCP_UDP":
            wanted = balancer.name == stream
        assert answers_by_name(listener, users) == wanted
    assert set(edges) <= set(translate.edge_names(80))


# --- target groups ----------------------------------------------------------------------------------------------------
def a_cluster(protocol: str = "TCP", **attributes: str) -> dict[str, Any]:
    made = cluster(targets(a_target_group("web", protocol=protocol, **attributes)))
    encode(CLUSTER, made)
    return made


@pytest.mark.parametrize(
    ("protocol", "attributes", "layers"),
    [
        ("TCP", {}, []),
        ("TLS", {}, ["tls"]),
        ("TCP", {"proxy_protocol_v2__enabled": "true"}, ["upstream_proxy_protocol", "raw_buffer"]),
        ("TLS", {"proxy_protocol_v2__enabled": "true"}, ["upstream_proxy_protocol", "tls"]),
    ],
)
def test_what_is_spoken_below_the_application(protocol: str, attributes: dict[str, str], layers: list[str]) -> None:
    found, layer = [], a_cluster(protocol, **attributes).get("transport_socket")
    while layer:
        found.append(layer["name"].rpartition(".")[2])
        layer = layer["typed_config"].get("transport_socket")
    assert found == layers


def test_flows_and_requests() -> None:
    assert a_cluster()["lb_policy"] == "ROUND_ROBIN"
    assert a_cluster(stickiness__enabled="true")["lb_policy"] == "MAGLEV"
    assert "typed_extension_protocol_options" not in a_cluster()
    mitigated = a_cluster(
        "HTTP",
        load_balancing__algorithm__type="weighted_random",
        load_balancing__algorithm__anomaly_mitigation="on",
    )
    assert mitigated["outlier_detection"]["max_ejection_percent"] == 50


COUNT = "target_group_health__{}__minimum_healthy_targets__count"


@pytest.mark.parametrize(
    ("states", "attributes", "used"),
    [
        # zone letter and health of each endpoint → indexes that get traffic
        ("a+ a+ b+", {}, {0, 1, 2}),
        ("a+ a- b+", {}, {0, 2}),
        ("a+ b- b-", {}, {0}),
        ("a- b- b-", {}, {0, 1, 2}),
        ("a+ a- b-", {COUNT.format("dns_failover"): "off"}, {0, 2}),
        ("a+ a- b+ b+", {COUNT.format("dns_failover"): "2"}, {2, 3}),
        (
            "a+ a- b+ b-",
            {COUNT.format("dns_failover"): "2", COUNT.format("unhealthy_state_routing"): "2"},
            {0, 1, 2, 3},
        ),
    ],
)
def test_which_zones_and_targets_get_traffic(states: str, attributes: dict[str, str], used: set[int]) -> None:
    endpoints = tuple(
        Endpoint(f"10.0.0.{number}", 80, healthy=state[1] == "+", zone=state[0])
        for number, state in enumerate(states.split())
    )
    group = a_target_group("web", protocol="TCP", **attributes)
    made = assignment(TargetGroupConfig(group, endpoints, cross_zone=False))
    encode(ENDPOINTS, made)
    assert [zone["locality"]["zone"] for zone in made["endpoints"]] == sorted({state[0] for state in states.split()})
    found = {
        int(host["endpoint"]["address"]["socket_address"]["address"].rpartition(".")[2])
        for zone in made["endpoints"]
        for host in zone["lb_endpoints"]
        if host["health_status"] == "HEALTHY"
    }
    assert found == used


def test_load_balancers_behind_are_on_ports_of_this_machine() -> None:
    group = msgspec.structs.replace(a_target_group("front", protocol="TCP"), target_type="alb")
    made = assignment(targets(group, ("127.0.10.1", 80)), lambda port: port + 8000)
    host = made["endpoints"][0]["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
    assert host == {"address": "127.0.10.1", "port_value": 8080}


@pytest.mark.parametrize(
    ("protocol", "kind", "bound"),
    [
        ("TCP", "ip", True),
        ("HTTP", "ip", True),
        ("UDP", "ip", False),
        ("TCP_UDP", "ip", True),
        ("HTTP", "lambda", False),
    ],
)
def test_where_connections_to_targets_come_from(protocol: str, kind: str, bound: bool) -> None:
    group = msgspec.structs.replace(a_target_group("web", protocol=protocol), target_type=kind)
    node = LoadBalancerNode("lb", "subnet-a", "a", "10.0.0.9", "/run/netns/x", "sandbox")
    endpoint = Endpoint("10.0.0.1" if kind == "ip" else "arn:aws:lambda:us-east-1:000000000000:function:f", 0)
    made = cluster(msgspec.structs.replace(TargetGroupConfig(group, (endpoint,)), source=node))
    assert ("upstream_bind_config" in made) == bound
