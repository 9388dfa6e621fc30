"""The index over path patterns chooses the rule that the list would choose."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from moorage.domain.load_balancer import FixedResponse
from moorage.proxy.driver import LoadBalancerConfig
from moorage.proxy.envoy import translate
from moorage.proxy.envoy.encode import ROUTES, encode
from moorage.proxy.envoy.translate_index import FEW, MOST
from proxy.builders import a_config, a_listener, a_load_balancer, a_rule, header, method, path, to
from proxy.conftest import Balanced
from proxy.servers import Backend, ask

Headers = dict[str, str]


def virtual_host(config: LoadBalancerConfig) -> dict[str, Any]:
    (made,) = translate.load_balancer_resources(config, lambda port: port, {}).routes.values()
    encode(ROUTES, made)
    host: dict[str, Any] = made["virtual_hosts"][0]
    return host


def config_of(*patterns: tuple[str, ...] | None, flagged: frozenset[int] = frozenset()) -> LoadBalancerConfig:
    """A rule per path pattern (None: any path), by priority; those in `flagged` want a header as well."""
    rules = []
    for number, values in enumerate(patterns):
        conditions = [path(*values)] if values is not None else []
        if number in flagged or not conditions:
            conditions.append(header("x-flag", "yes"))
        rules.append(a_rule(number + 1, *conditions, action=FixedResponse(str(200 + number))))
    balancer = a_load_balancer()
    return a_config(balancer, a_listener(balancer), rules={80: tuple(rules)})


# what Envoy does with a match tree, a list of routes and a match, in a few lines


def chosen(host: dict[str, Any], request: Headers) -> str:
    if "routes" in host:
        return first(host["routes"], request)
    return first(taken(host["matcher"], request), request)


def taken(matcher: dict[str, Any], request: Headers) -> list[dict[str, Any]]:
    if "matcher_list" in matcher:
        (only,) = matcher["matcher_list"]["matchers"]
        found = only["on_match"] if holds(only["predicate"], request) else matcher["on_no_match"]
    else:
        tree = matcher["matcher_tree"]
        under = tree["prefix_match_map"]["map"]
        fitting = [key for key in under if request[tree["input"]["typed_config"]["header_name"]].startswith(key)]
        found = under[max(fitting, key=len)] if fitting else matcher["on_no_match"]
    if "matcher" in found:
        return taken(found["matcher"], request)
    routes: list[dict[str, Any]] = found["action"]["typed_config"]["routes"]
    return routes


def holds(predicate: dict[str, Any], request: Headers) -> bool:
    if "or_matcher" in predicate:
        return any(holds(one, request) for one in predicate["or_matcher"]["predicate"])
    if "not_matcher" in predicate:
        return not holds(predicate["not_matcher"], request)
    single = predicate["single_predicate"]
    value = request.get(single["input"]["typed_config"]["header_name"])
    return value is not None and text_fits(single["value_match"], value)


def text_fits(match: dict[str, Any], value: str) -> bool:
    if "safe_regex" in match:
        return re.fullmatch(match["safe_regex"]["regex"].replace("(?s:.*)", r"[\s\S]*"), value) is not None
    if "custom" in match:
        return len(value) > 16_384
    (kind, wanted), *_ = match.items()
    return bool({"contains": wanted in value, "suffix": value.endswith(wanted), "exact": value == wanted}[kind])


def first(routes: list[dict[str, Any]], request: Headers) -> str:
    whole = request[":path"]
    bare = whole.partition("?")[0]
    for route in routes:
        match = route["match"]
        fits = (
            whole.startswith(match["prefix"])
            if "prefix" in match
            else bare == match["path"]
            if "path" in match
            else re.fullmatch(match["safe_regex"]["regex"], bare) is not None
        )
        for condition in match.get("headers", ()):
            value = request.get(condition["name"])
            held = value is not None and (condition.get("present_match") or text_fits(condition["string_match"], value))
            fits = fits and bool(held) != condition.get("invert_match", False)
        if fits and not match.get("dynamic_metadata"):  # the script has been passed
            return str(route["name"])
    return "none"


pieces = st.sampled_from(["/a", "/ab", "/a/b", "/b", "/", "*", "?", "/c*d", "x"])
patterns = st.lists(pieces, min_size=1, max_size=3).map("".join)
rule = st.none() | st.lists(patterns, min_size=1, max_size=2).map(tuple)


@given(
    st.lists(rule, max_size=24),
    st.frozensets(st.integers(0, 23), max_size=6),
    st.lists(st.sampled_from(["/a", "/ab", "/a/b", "/b", "/", "x", "d", "?q=/a"]), min_size=1, max_size=4).map("".join),
    st.fixed_dictionaries({}, optional={"x-flag": st.just("yes"), "x-amzn-trace-id": st.just("Root=1")}),
)
def test_the_index_takes_what_the_list_would_take(
    rules: list[tuple[str, ...] | None], flagged: frozenset[int], asked: str, headers: Headers
) -> None:
    config = config_of(*rules, flagged=flagged)
    request = {":path": asked, ":authority": "h", **headers}
    host = virtual_host(config)
    assert chosen(host, request) == chosen(by_list(config), request)


def by_list(config: LoadBalancerConfig) -> dict[str, Any]:
    """The same rules without an index: each behind a pattern that could be any path."""
    host = virtual_host(config)
    if "routes" in host:
        return host
    linear = host["matcher"]["matcher_list"]["matchers"][0]["on_match"]
    return {"routes": linear["action"]["typed_config"]["routes"]}


def test_few_rules_are_a_list() -> None:
    assert "routes" in virtual_host(config_of(*((f"/{n}/*",) for n in range(FEW - 1))))
    assert "matcher" in virtual_host(config_of(*((f"/{n}/*",) for n in range(FEW))))


def test_rules_that_paths_do_not_tell_apart_are_a_list() -> None:
    assert "routes" in virtual_host(config_of(*[None] * 50, *((f"/{n}/*",) for n in range(FEW))))


def test_the_index_is_not_much_larger_than_the_list() -> None:
    host = virtual_host(config_of(*((f"/{n}/a", f"/{n}/*") for n in range(50)), flagged=frozenset(range(50))))
    tree = host["matcher"]["on_no_match"]["matcher"]["matcher_tree"]["prefix_match_map"]["map"]
    assert len(tree) == 100
    assert sum(len(one["action"]["typed_config"]["routes"]) for one in tree.values()) <= MOST * 55


async def test_many_rules_on_a_real_envoy(envoy: Balanced, web: Backend) -> None:
    rules = [a_rule(n, path(f"/{n}/*"), action=FixedResponse("200", None, f"rule {n}")) for n in range(10, 40)]
    rules.append(a_rule(1, path("/11/secret*"), method("POST"), action=FixedResponse("403", None, "secret")))
    rules.append(a_rule(2, header("x-flag", "yes"), action=FixedResponse("200", None, "flagged")))
    rules.append(a_rule(50, path("*.png"), action=FixedResponse("200", None, "picture")))
    door = await envoy.serve(to("web"), rules=tuple(rules))

    async def answered(asked: str, verb: str = "GET", **headers: str) -> tuple[int, str]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        answer = await ask(door, asked, method=verb, headers=sent)
        return answer.status, answer.body.decode()

    trace = "Root=1-67891233-abcdef012345678912345678"
    for headers in ({}, {"x_amzn_trace_id": trace}, {"x_forwarded_for": "192.0.2.1"}):
        assert await answered("/12/x?y=/13/", **headers) == (200, "rule 12")
        assert await answered("/11/secrets", **headers) == (200, "rule 11")
        assert await answered("/11/secrets", "POST", **headers) == (403, "secret")
        assert await answered("/39/", x_flag="yes", **headers) == (200, "flagged")
        assert await answered("/9/a.png", **headers) == (200, "picture")
        assert await answered("/12/" + "x" * 300, **headers) == (200, "rule 12")
        assert (await answered("/9/else", **headers))[0] == 200
    assert (await answered("/12/" + "x" * 16_384))[0] == 414
    assert (await answered("/12/", x_forwarded_for=", ".join(["192.0.2.1"] * 31)))[0] == 463
    assert web.requests == 3
