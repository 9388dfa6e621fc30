"""Records → Envoy resources, as values. Every resource made here is also parsed by Envoy's own API types."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import msgspec
import pytest

from moorage.domain.load_balancer import Condition, FixedResponse, Forward, Redirect
from moorage.proxy.driver import Certificate, Endpoint
from moorage.proxy.envoy import translate
from moorage.proxy.envoy.encode import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE, encode
from moorage.proxy.envoy.lua import lua_text
from moorage.proxy.envoy.ports import default_port_of
from moorage.proxy.envoy.script import TargetTraits
from moorage.proxy.envoy.translate_conditions import route_match, wildcards
from moorage.proxy.envoy.translate_target_group import assignment, cluster
from proxy.builders import (
    a_config,
    a_listener,
    a_load_balancer,
    a_rule,
    a_target_group,
    header,
    host,
    method,
    path,
    query,
    source,
    targets,
    tg_arn,
    to,
)


def same(port: int) -> int:
    return port


def regex_of(match: dict[str, Any]) -> str:
    """The only regular expression of a match."""
    if "safe_regex" in match:
        return str(match["safe_regex"]["regex"])
    return str(match["headers"][0]["string_match"]["safe_regex"]["regex"])


MATCHES: list[tuple[Condition, dict[str, Any]]] = [
    (path("/exact"), {"path": "/exact"}),
    (path("/a/*"), {"prefix": "/a/"}),
    (path("*"), {"prefix": "/"}),
    (path("/*"), {"prefix": "/"}),
    (path("/a*b"), {"safe_regex": {"regex": "(?:/a.*b)"}}),
    (path("/a", "/b.c"), {"safe_regex": {"regex": r"(?:/a|/b\.c)"}}),
    (path("/?/*"), {"safe_regex": {"regex": "(?:/./.*)"}}),
    (Condition("path-pattern", regex=("^/v[12]$",)), {"safe_regex": {"regex": "(?:(?s:.*)(?:^/v[12]$)(?s:.*))"}}),
    (method("GET"), {"prefix": "/", "headers": [{"name": ":method", "string_match": {"exact": "GET"}}]}),
    (
        method("GET", "HEAD"),
        {"prefix": "/", "headers": [{"name": ":method", "string_match": {"safe_regex": {"regex": "(?:GET|HEAD)"}}}]},
    ),
    (
        host("*.Example.com"),
        {
            "prefix": "/",
            "headers": [
                {
                    "name": ":authority",
                    "string_match": {"safe_regex": {"regex": r"(?i)(?:.*\.Example\.com)(?::\d+)?"}},
                }
            ],
        },
    ),
    (
        header("X-Thing", "a*"),
        {"prefix": "/", "headers": [{"name": "x-thing", "string_match": {"safe_regex": {"regex": "(?i)(?:a.*)"}}}]},
    ),
    (
        source("10.0.0.0/8", "2001:db8::/32"),
        {
            "prefix": "/",
            "filter_state": [
                {
                    "key": "envoy.network.ip",
                    "address_match": {
                        "ranges": [
                            {"address_prefix": "10.0.0.0", "prefix_len": 8},
                            {"address_prefix": "2001:db8::", "prefix_len": 32},
                        ]
                    },
                }
            ],
        },
    ),
]


@pytest.mark.parametrize(("condition", "expected"), MATCHES, ids=lambda v: str(v)[:60])
def test_match(condition: Condition, expected: dict[str, Any]) -> None:
    assert route_match([condition]) == expected


def test_no_condition_matches_everything() -> None:
    assert route_match([]) == {"prefix": "/"}


def test_conditions_are_anded() -> None:
    match = route_match([path("/a"), method("GET"), header("a", "1"), query(("k", "v")), query(("l", "w"))])
    assert match["path"] == "/a"
    assert [h["name"] for h in match["headers"]] == [":method", "a", ":path", ":path"]


@pytest.mark.parametrize(
    ("pattern", "yes", "no"),
    [
        ("a*c", ["ac", "abc", "a/b/c"], ["abcd", "Ac", "xac"]),
        ("a?c", ["abc", "a.c"], ["ac", "abbc"]),
        ("a.c", ["a.c"], ["abc"]),
        (r"a\*c", ["a*c"], ["abc"]),
        (r"a\?", ["a?"], ["ab"]),
        ("a\\", ["a\\"], ["a"]),
        ("[x](y)+|z$^", ["[x](y)+|z$^"], ["x"]),
        ("*", ["", "anything"], []),
        ("", [""], ["a"]),
    ],
)
def test_wildcards(pattern: str, yes: list[str], no: list[str]) -> None:
    regex = wildcards(pattern, escapes=True)
    assert [text for text in yes if not re.fullmatch(regex, text)] == []
    assert [text for text in no if re.fullmatch(regex, text)] == []


@pytest.mark.parametrize(
    ("pair", "yes", "no"),
    [
        (("k", "v"), ["/?k=v", "/p?a=b&K=V", "/?k=v&z"], ["/?k=vv", "/?kk=v", "/k=v", "/?a=k=v", "/"]),
        (("k", "*"), ["/?k=", "/?k=a&b=c"], ["/?k", "/?b=c"]),
        (("k*", "v?"), ["/?key=v1", "/?k=vv"], ["/?key=v", "/?xk=v1"]),
        ((None, "v"), ["/?v", "/?k=v", "/?a=b&v", "/?a=b&c=V&d"], ["/?vx", "/?v=1", "/v"]),
        ((None, "*"), ["/?a=b", "/?a"], ["/"]),
    ],
)
def test_query(pair: tuple[str | None, str], yes: list[str], no: list[str]) -> None:
    regex = regex_of(route_match([query(pair)]))
    assert [text for text in yes if not re.fullmatch(regex, text)] == []
    assert [text for text in no if re.fullmatch(regex, text)] == []


def routes_of(*rules: Any, default: Any = None, sticky: dict[str, int] | None = None, port_of: Any = same) -> Any:
    """Those of the rules, without the ones before them."""
    balancer = a_load_balancer()
    listener = a_listener(balancer, default or FixedResponse("404"))
    config = a_config(balancer, listener, rules={80: rules})
    traits = {arn: TargetTraits(sticky_seconds=seconds) for arn, seconds in (sticky or {}).items()}
    made = translate.load_balancer_resources(config, port_of, traits)
    (routes,) = made.routes.values()
    encode(ROUTES, routes)
    return [route for route in routes["virtual_hosts"][0]["routes"] if not route["name"].startswith("- ")]


def test_rules_by_priority_and_the_default_last() -> None:
    rules = [a_rule(p, path(f"/{p}"), action=FixedResponse("200")) for p in (30, 5, 100)]
    assert [r["match"] for r in routes_of(*rules)] == [
        {"path": "/5"},
        {"path": "/30"},
        {"path": "/100"},
        {"prefix": "/"},
    ]


def test_forward() -> None:
    (route,) = routes_of(default=to("web"))
    assert route["route"] == {"cluster": tg_arn("web"), "timeout": "0s"}


def test_forward_by_weight_leaves_zero_out() -> None:
    (route,) = routes_of(default=to(("a", 3), ("b", 0), ("c", 1)))
    shares = route["route"]["weighted_clusters"]["clusters"]
    assert shares == [{"name": tg_arn("a"), "weight": 3}, {"name": tg_arn("c"), "weight": 1}]


@pytest.mark.parametrize("action", [to(("a", 0), ("b", 0)), Forward(())])
def test_forward_to_nothing_is_503(action: Forward) -> None:
    (route,) = routes_of(default=action)
    assert route["direct_response"]["status"] == 503


def test_sticky_groups_are_looked_for_first() -> None:
    routes = routes_of(default=to(("a", 1), ("b", 0), stick=60))
    assert [r["route"].get("cluster") for r in routes] == [tg_arn("a"), tg_arn("b"), None]
    patterns = [r["match"]["headers"][0]["string_match"]["safe_regex"]["regex"] for r in routes[:2]]
    cookie = f"AWSALBTG={hashlib.sha256(tg_arn('a').encode()).hexdigest()[:32]}.1796023791"
    assert re.fullmatch(patterns[0], f"x=y; {cookie}; z=1")
    assert not re.fullmatch(patterns[1], cookie)
    assert not re.fullmatch(patterns[0], f"not{cookie}")


def before_the_rules(port: int = 80, *, sticky: bool = False, action: Any = None, **attributes: str) -> tuple[Any, Any]:
    """The RouteConfiguration, and of its routes those that come before the rules'."""
    balancer = a_load_balancer(**attributes)
    config = a_config(balancer, a_listener(balancer, action or to("a"), port=port))
    traits = {tg_arn("a"): TargetTraits(sticky_seconds=60)} if sticky else {}
    (made,) = translate.load_balancer_resources(config, same, traits).routes.values()
    encode(ROUTES, made)
    return made, [r for r in made["virtual_hosts"][0]["routes"] if r["name"].startswith("- ")]


LUA = "envoy.filters.http.lua"


def test_the_script_is_on_only_for_requests_that_need_it() -> None:
    made, routes = before_the_rules()
    assert made["typed_per_filter_config"][LUA]["disabled"]
    unusual = [r["match"]["headers"] for r in routes if LUA in r.get("typed_per_filter_config", {})]
    assert [headers[0]["name"] for headers in unusual] == ["x-amzn-trace-id", ":authority"]
    assert unusual[1][0]["string_match"] == {"contains": ":"}


def test_a_host_must_have_the_port_where_it_is_not_the_usual_one() -> None:
    _, routes = before_the_rules(8080)
    assert routes[-1]["match"]["headers"] == [
        {"name": ":authority", "string_match": {"suffix": ":8080"}, "invert_match": True}
    ]


def test_a_host_that_is_preserved_needs_no_script() -> None:
    made, routes = before_the_rules(routing__http__preserve_host_header__enabled="true")
    assert made["typed_per_filter_config"][LUA]["disabled"]
    assert ":authority" not in [header["name"] for route in routes for header in route["match"]["headers"]]


@pytest.mark.parametrize(
    ("sticky", "action"), [(True, to("a")), (True, to("a", "b")), (False, Redirect("HTTP_301", path="/a/#{path}"))]
)
def test_the_script_is_on_for_all_where_a_rule_has_filters_of_its_own(sticky: bool, action: Any) -> None:
    made, routes = before_the_rules(sticky=sticky, action=action)
    assert LUA not in made.get("typed_per_filter_config", {})
    assert [route["direct_response"]["status"] for route in routes] == [463, 414]


def test_only_what_is_safe_is_repeated_after_it_was_sent() -> None:
    made, _ = before_the_rules()
    hosts = {host["domains"][0]: host for host in made["virtual_hosts"]}
    assert made["vhost_header"] == ":method"
    assert "reset" in hosts["GET"]["retry_policy"]["retry_on"].split(",")
    assert "reset" not in hosts["*"]["retry_policy"]["retry_on"].split(",")
    assert [route["direct_response"]["status"] for route in hosts["TRACE"]["routes"]] == [405]


def test_target_stickiness_is_only_where_it_is_on() -> None:
    routes = routes_of(
        a_rule(1, path("/a"), action=to("a")), a_rule(2, path("/b"), action=to("b")), sticky={tg_arn("a"): 60}
    )
    assert ["typed_per_filter_config" in route for route in routes] == [True, False, False]


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        (Redirect("HTTP_301", protocol="HTTPS", port="443"), {"scheme_redirect": "https", "port_redirect": 443}),
        (Redirect("HTTP_302", host="b.c"), {"host_redirect": "b.c", "response_code": "FOUND"}),
        (Redirect("HTTP_301", path="/n", query="q"), {"path_redirect": "/n?q"}),
        (Redirect("HTTP_301", path="/n", query=""), {"path_redirect": "/n", "strip_query": True}),
        (Redirect("HTTP_301", query="", host="h"), {"strip_query": True, "host_redirect": "h"}),
    ],
)
def test_redirects_envoy_can_say(redirect: Redirect, expected: dict[str, Any]) -> None:
    (route,) = routes_of(default=redirect)
    base = {"scheme_redirect": "http", "port_redirect": 80, "response_code": "MOVED_PERMANENTLY"}
    assert route["redirect"] == base | expected


@pytest.mark.parametrize(
    "redirect",
    [
        Redirect("HTTP_301", path="/a/#{path}"),
        Redirect("HTTP_301", host="www.#{host}"),
        Redirect("HTTP_301", query="a=#{path}"),
        Redirect("HTTP_301", query="constant"),
    ],
)
def test_redirects_that_need_the_script(redirect: Redirect) -> None:
    (route,) = routes_of(default=redirect)
    assert "envoy.filters.http.lua" in route["typed_per_filter_config"]


def test_redirects_lead_to_ports_that_answer() -> None:
    (route,) = routes_of(default=Redirect("HTTP_301", protocol="HTTPS", port="443"), port_of=lambda p: p + 8000)
    assert route["redirect"]["port_redirect"] == 8443


def test_target_group_to_cluster() -> None:
    made = cluster(targets(a_target_group()))
    encode(CLUSTER, made)
    assert (made["name"], made["lb_policy"]) == (tg_arn("web"), "ROUND_ROBIN")
    assert "transport_socket" not in made
    secure = cluster(targets(a_target_group(protocol="HTTPS", version="GRPC", slow_start__duration_seconds="30")))
    encode(CLUSTER, secure)
    assert secure["transport_socket"]["name"] == "envoy.transport_sockets.tls"
    assert secure["round_robin_lb_config"] == {"slow_start_config": {"slow_start_window": "30s"}}
    least = cluster(targets(a_target_group(load_balancing__algorithm__type="least_outstanding_requests")))
    encode(CLUSTER, least)
    assert "load_balancing_policy" in least


def health(*healthy: bool, **attributes: str) -> str:
    """H and u for each endpoint as Envoy is told."""
    endpoints = [Endpoint("10.0.0.1", 8000 + i, ok) for i, ok in enumerate(healthy)]
    made = assignment(targets("web", *endpoints, **attributes))
    encode(ENDPOINTS, made)
    hosts = made["endpoints"][0]["lb_endpoints"] if made["endpoints"] else []
    return "".join({"HEALTHY": "H", "UNHEALTHY": "u"}[h["health_status"]] for h in hosts)


MINIMUM = "target_group_health__unhealthy_state_routing__minimum_healthy_targets__"


def test_health_and_fail_open() -> None:
    assert health() == ""
    assert health(True, False) == "Hu"
    assert health(False, False) == "HH"
    assert health(True, False, False, **{MINIMUM + "count": "2"}) == "HHH"
    assert health(True, True, False, **{MINIMUM + "count": "2"}) == "HHu"
    assert health(True, False, False, False, **{MINIMUM + "percentage": "50"}) == "HHHH"
    assert health(True, True, False, False, **{MINIMUM + "percentage": "50"}) == "HHuu"


def test_listeners_and_scopes() -> None:
    balancer = a_load_balancer("Shop", loopback="127.0.10.3")
    config = a_config(balancer, a_listener(balancer, port=80), a_listener(balancer, port=443, protocol="HTTPS"))
    made = translate.load_balancer_resources(config, lambda p: p + 8000, {})
    assert made.ports == {80}
    (listener,) = made.listeners.values()
    encode(LISTENER, listener)
    assert listener["address"]["socket_address"] == {"address": "127.0.10.3", "port_value": 8080}
    for scope in made.scopes.values():
        encode(SCOPE, scope)
    keys = {tuple(f["string_key"] for f in scope["key"]["fragments"]) for scope in made.scopes.values()}
    assert keys == {("80", balancer.dns_name), ("80", balancer.dns_name.lower())}, "ports of the API"
    assert {scope["route_configuration_name"] for scope in made.scopes.values()} == {f"{balancer.arn}:80"}


def test_names_of_express_services_lead_to_their_load_balancer() -> None:
    balancer = a_load_balancer("ecs-express-gateway-alb-1")
    ours = f"ab-{'0' * 32}.ecs.us-east-1.localhost"
    names = Condition("host-header", (ours, "shop.example.com", "*.localhost"))
    config = a_config(balancer, a_listener(balancer), rules={80: (a_rule(1, names, action=to(("a", 1))),)})
    made = translate.load_balancer_resources(config, same, {})
    hosts = {scope["key"]["fragments"][1]["string_key"] for scope in made.scopes.values()}
    assert hosts == {balancer.dns_name, balancer.dns_name.lower(), ours}, "only names that nobody else can have"


def test_the_edge_does_not_depend_on_load_balancers() -> None:
    edges = translate.edge_resources(80, lambda p: p + 8000, ("v4", "v6"))
    for edge in edges.values():
        encode(LISTENER, edge)
    addresses = [edge["address"]["socket_address"] for edge in edges.values()]
    assert addresses == [{"address": "127.0.0.1", "port_value": 8080}, {"address": "::1", "port_value": 8080}]


def test_the_same_input_gives_the_same_version() -> None:
    def version() -> str:
        balancer = a_load_balancer()
        rules = [a_rule(i, path(f"/{i}"), action=to(("a", 1), ("b", 2), stick=9)) for i in range(1, 9)]
        config = a_config(balancer, a_listener(balancer), rules={80: tuple(rules)})
        made = translate.load_balancer_resources(
            config, same, {tg_arn(n): TargetTraits(sticky_seconds=5) for n in "ab"}
        )
        return encode(ROUTES, next(iter(made.routes.values()))).version

    assert version() == version()


def test_lua_text() -> None:
    assert lua_text("plain #{path}?x=1") == '"plain #{path}?x=1"'
    assert lua_text('a"b\\c\n') == '"a\\034b\\092c\\010"'


def test_high_ports_without_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("moorage.proxy.envoy.ports._first_unprivileged", lambda: 1024)
    assert [default_port_of(p) for p in (80, 443, 1024, 8080)] == [8080, 8443, 1024, 8080]
    monkeypatch.setattr("os.geteuid", lambda: 0)
    assert default_port_of(80) == 80


def test_nobody_pays_for_what_others_use() -> None:
    """Every filter costs every request, also one that is switched off: these and no others where nothing special is on."""
    balancer = a_load_balancer()
    made = translate.load_balancer_resources(a_config(balancer, a_listener(balancer)), same, {})
    listeners = [*made.listeners.values(), *translate.edge_resources(80, same, ("v4",), [made]).values()]
    assert len(listeners) == 2
    for listener in listeners:
        (chain,) = listener["filter_chains"]
        manager = chain["filters"][-1]["typed_config"]
        assert [one["name"].rpartition(".")[2] for one in manager["http_filters"]] == [
            "lua", "header_mutation", "stateful_session", "rewrite", "rewritten", "router",
        ]  # fmt: skip
        off = [one["name"].rpartition(".")[2] for one in manager["http_filters"] if one.get("disabled")]
        assert off == ["header_mutation", "stateful_session", "rewrite", "rewritten"]


def test_an_https_listener_tells_those_who_speak_plain_http() -> None:
    balancer, certificate = a_load_balancer(), Certificate("arn:aws:acm:us-east-1:000000000000:certificate/1", b"", b"")
    listener = msgspec.structs.replace(
        a_listener(balancer, port=443, protocol="HTTPS"), certificates=(certificate.arn,)
    )
    config = msgspec.structs.replace(a_config(balancer, listener), certificates={certificate.arn: certificate})
    made = translate.load_balancer_resources(config, same, {})
    for served in (*made.listeners.values(), *translate.edge_resources(443, same, ("v4",), [made]).values()):
        plain = [one for one in served["filter_chains"] if one.get("name") == "plain"]
        (answer,) = plain[0]["filters"][0]["typed_config"]["route_config"]["virtual_hosts"][0]["routes"]
        assert answer["direct_response"]["status"] == 400
        assert plain[0]["filter_chain_match"] == {"transport_protocol": "raw_buffer"}
