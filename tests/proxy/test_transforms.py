"""Rules that rewrite Host and URL before they forward, through a real Envoy."""

from __future__ import annotations

import msgspec
import pytest

from moorage.domain.load_balancer import Forward, Transform
from proxy.builders import a_config, a_listener, a_load_balancer, a_rule, path, to
from proxy.conftest import Balanced
from proxy.servers import Address, Backend, ask


async def serve(envoy: Balanced, *transforms: Transform, forward: Forward | None = None) -> Address:
    balancer = a_load_balancer()
    listener = a_listener(balancer, to("web"))
    rule = msgspec.structs.replace(a_rule(1, path("/api/*"), action=forward or to("web")), transforms=transforms)
    await envoy.proxy.put_load_balancer(a_config(balancer, listener, rules={80: (rule,)}))
    return (balancer.loopback, envoy.ports(80))


@pytest.mark.parametrize(
    ("regex", "replace", "asked", "seen"),
    [
        ("^/api/(.*)", "/$1", "/api/users?page=2", "/users?page=2"),
        ("^/api", "/v2", "/api/users", "/v2/users"),
        (r"page=(\d+)", "p=$1&old=$1", "/api/x?page=3", "/api/x?p=3&old=3"),
        ("nothing", "x", "/api/same?q=1", "/api/same?q=1"),
        ("^/api/", "", "/api/bare", "/bare"),
        (r"^/api/([^/]+)/([^?]+)\?(.*)$", "/$2/$1?$3", "/api/a/b?c=d", "/b/a?c=d"),
    ],
)
async def test_urls(envoy: Balanced, web: Backend, regex: str, replace: str, asked: str, seen: str) -> None:
    door = await serve(envoy, Transform("url-rewrite", regex, replace))
    answer = await ask(door, asked)
    assert (answer.status, answer.seen["path"]) == (200, seen)


async def test_hosts(envoy: Balanced, web: Backend) -> None:
    door = await serve(
        envoy,
        Transform("host-header-rewrite", r"^(.+)\.example\.com$", "$1.internal"),
        Transform("url-rewrite", "^/api/", "/"),
    )
    answer = await ask(door, "/api/x", host="shop.example.com")
    assert (answer.seen["headers"]["host"], answer.seen["path"]) == ("shop.internal", "/x")
    other = await ask(door, "/other", host="shop.example.com")
    assert other.seen["headers"]["host"] == "shop.example.com", "other rules rewrite nothing"


async def test_weighted_groups_rewrite_too(envoy: Balanced, web: Backend) -> None:
    door = await serve(envoy, Transform("url-rewrite", "^/api", "/v2"), forward=to(("web", 1), ("other", 0)))
    assert (await ask(door, "/api/x")).seen["path"] == "/v2/x"


async def test_long_expressions_are_fine(envoy: Balanced, web: Backend) -> None:
    door = await serve(envoy, Transform("url-rewrite", "^/api/((?:[a-z]{1,200}|[0-9]{1,200}|-)+)$", "/long/$1"))
    assert (await ask(door, "/api/abc-123")).seen["path"] == "/long/abc-123"
