"""Rules on a real Envoy: which target group a request reaches, and what the load balancer answers by itself."""

from __future__ import annotations

import contextlib
import re

import pytest

from moorage.domain.load_balancer import Condition, FixedResponse, Redirect
from proxy.builders import a_load_balancer, a_rule, header, host, method, path, query, source, to
from proxy.conftest import Balanced
from proxy.servers import ask, backend

GROUPS = ("web", "a", "b", "c")

# rules (first match wins) → [(how the request is made, which group must get it)]
CASES = {
    "path wildcards, case-sensitive": (
        [(path("/img/*"), "a"), (path("/v?/x"), "b"), (path("/exact", "*.png"), "c")],
        [
            ({"path": "/img/1.png?x=1"}, "a"),
            ({"path": "/IMG/1"}, "web"),
            ({"path": "/v2/x"}, "b"),
            ({"path": "/v22/x"}, "web"),
            ({"path": "/exact?q=/img/"}, "c"),
            ({"path": "/exact/"}, "web"),
            ({"path": "/deep/er/x.png"}, "c"),
            ({"path": "/x.png.txt"}, "web"),
        ],
    ),
    "path with regex characters is literal": (
        [(path("/a.b+c"), "a"), (path("/$(x)/*|*"), "b")],
        [({"path": "/a.b+c"}, "a"), ({"path": "/aXb+c"}, "web"), ({"path": "/$(x)/1|2"}, "b")],
    ),
    "path regex values": (
        [(Condition("path-pattern", regex=(r"^/api/v\d+$",)), "a")],
        [({"path": "/api/v12?x"}, "a"), ({"path": "/api/v"}, "web"), ({"path": "/x/api/v1"}, "web")],
    ),
    "host and header regex values": (
        [
            (Condition("host-header", regex=(r"^(www|shop)\.[a-z]+\.test$",)), "a"),
            (Condition("http-header", header="X-Build", regex=(r"^v[0-9]+$", "canary")), "b"),
        ],
        [
            ({"host": "WWW.one.test"}, "a"),
            ({"host": "api.one.test"}, "web"),
            ({"headers": {"x-build": "V12"}}, "b"),
            ({"headers": {"x-build": "my canary build"}}, "b"),
            ({"headers": {"x-build": "v12a"}}, "web"),
        ],
    ),
    "host, case-insensitive, port ignored": (
        [(host("*.example.com", "shop.test"), "a"), (host("api?.x.org"), "b")],
        [
            ({"host": "www.Example.COM"}, "a"),
            ({"host": "www.example.com:8080"}, "a"),
            ({"host": "example.com"}, "web"),
            ({"host": "SHOP.test"}, "a"),
            ({"host": "api1.x.org"}, "b"),
            ({"host": "api12.x.org"}, "web"),
        ],
    ),
    "header values with wildcards, case-insensitive": (
        [(header("User-Agent", "*Chrome*", "curl/?"), "a"), (header("X-Flag", r"a\*b"), "b")],
        [
            ({"headers": {"user-agent": "Mozilla chrome 1"}}, "a"),
            ({"headers": {"User-Agent": "curl/8"}}, "a"),
            ({"headers": {"User-Agent": "curl/88"}}, "web"),
            ({"headers": {"X-Flag": "a*b"}}, "b"),
            ({"headers": {"X-Flag": "axb"}}, "web"),
            ({}, "web"),
        ],
    ),
    "header given in several lines: each is tried by itself": (
        [(header("X-Kind", "blue", "d*"), "a")],
        [
            ({"raw_headers": ["X-Kind: red", "X-Kind: blue"]}, "a"),
            ({"raw_headers": ["X-Kind: dark", "X-Kind: red"]}, "a"),
            ({"raw_headers": ["X-Kind: red,blue"]}, "web"),
            ({"raw_headers": ["X-Kind: red", "X-Kind: green"]}, "web"),
        ],
    ),
    "method, exact": (
        [(method("POST", "PUT"), "a"), (method("PURGE"), "b")],
        [({"method": "POST"}, "a"), ({"method": "PUT"}, "a"), ({}, "web"), ({"method": "PURGE"}, "b")],
    ),
    "query string": (
        [(query(("version", "v1"), ("lang", "d*")), "a"), (query((None, "*beta*")), "b"), (query(("k", r"a\?")), "c")],
        [
            ({"path": "/?version=v1"}, "a"),
            ({"path": "/?x=1&VERSION=V1&y"}, "a"),
            ({"path": "/?version=v12"}, "web"),
            ({"path": "/?xversion=v1"}, "web"),
            ({"path": "/?lang=de&x"}, "a"),
            ({"path": "/?flag=xbetay"}, "b"),
            ({"path": "/?beta"}, "b"),
            ({"path": "/version=v1"}, "web"),
            ({"path": "/?k=a?"}, "c"),
            ({"path": "/?k=ab"}, "web"),
        ],
    ),
    "source ip is the TCP peer": (
        [(source("127.1.0.0/16", "10.0.0.0/8"), "a"), (source("127.2.0.1/32"), "b")],
        [
            ({"source": "127.1.2.3"}, "a"),
            ({"source": "127.2.0.1"}, "b"),
            ({"source": "127.2.0.2"}, "web"),
            ({"source": "127.3.0.1", "headers": {"X-Forwarded-For": "127.1.2.3"}}, "web"),
        ],
    ),
    "all conditions of a rule must hold": (
        [((path("/api/*"), method("GET"), header("x-a", "1"), source("127.0.0.0/8")), "a")],
        [
            ({"path": "/api/1", "headers": {"x-a": "1"}}, "a"),
            ({"path": "/api/1", "headers": {"x-a": "2"}}, "web"),
            ({"path": "/api/1", "headers": {"x-a": "1"}, "method": "POST"}, "web"),
        ],
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_conditions(envoy: Balanced, case: str) -> None:
    rules, requests = CASES[case]
    made = tuple(
        a_rule(10 + i, *(c if isinstance(c, tuple) else (c,)), action=to(group)) for i, (c, group) in enumerate(rules)
    )
    async with contextlib.AsyncExitStack() as stack:
        for name in GROUPS:
            await envoy.group(name, await stack.enter_async_context(backend(name)))
        door = await envoy.serve(to("web"), rules=made)
        for request, expected in requests:
            answer = await ask(door, **request)
            assert answer.status == 200, (request, answer)
            assert answer.seen["name"] == expected, request


async def test_priority_decides_and_not_the_order(envoy: Balanced) -> None:
    async with backend("a") as a, backend("b") as b:
        await envoy.group("a", a)
        await envoy.group("b", b)
        rules = (a_rule(50, path("/x*"), action=to("a")), a_rule(5, path("/xy*"), action=to("b")))
        door = await envoy.serve(FixedResponse("404"), rules=rules)
        assert (await ask(door, "/xyz")).seen["name"] == "b"
        assert (await ask(door, "/xa")).seen["name"] == "a"
        assert (await ask(door, "/")).status == 404


async def test_weights(envoy: Balanced) -> None:
    async with backend("blue") as blue, backend("green") as green:
        await envoy.group("blue", blue)
        await envoy.group("green", green)
        door = await envoy.serve(to(("blue", 1), ("green", 0)))
        assert {(await ask(door)).seen["name"] for _ in range(20)} == {"blue"}
        await envoy.serve(to(("blue", 1), ("green", 1)))
        assert {(await ask(door)).seen["name"] for _ in range(60)} == {"blue", "green"}
        await envoy.serve(to(("blue", 0), ("green", 0)))
        assert (await ask(door)).status == 503


async def test_an_empty_group_keeps_its_share(envoy: Balanced) -> None:
    async with backend("blue") as blue:
        await envoy.group("blue", blue)
        await envoy.group("green")
        door = await envoy.serve(to(("blue", 1), ("green", 1)))
        assert {(await ask(door)).status for _ in range(60)} == {200, 503}


async def test_target_group_stickiness(envoy: Balanced) -> None:
    async with backend("blue") as blue, backend("green") as green:
        await envoy.group("blue", blue)
        await envoy.group("green", green)
        door = await envoy.serve(to(("blue", 1), ("green", 1), stick=60))
        first = await ask(door)
        cookies = first.all("set-cookie")
        assert [c.split("=")[0] for c in cookies] == ["AWSALBTG", "AWSALBTGCORS"]
        assert re.fullmatch(
            r"AWSALBTG=[0-9a-f]{32}\.\d+; Expires=\w{3}, \d\d \w{3} \d{4} [\d:]{8} GMT; Path=/", cookies[0]
        )
        assert cookies[1].endswith("SameSite=None; Secure")
        cookie = cookies[0].split(";")[0]
        again = {(await ask(door, headers={"Cookie": f"x=1; {cookie}; y=2"})).seen["name"] for _ in range(20)}
        assert again == {first.seen["name"]}


async def test_target_group_stickiness_outlives_the_weight_but_not_its_duration(envoy: Balanced) -> None:
    async with backend("blue") as blue, backend("green") as green:
        await envoy.group("blue", blue)
        await envoy.group("green", green)
        door = await envoy.serve(to(("blue", 1), ("green", 0), stick=60))
        cookie = (await ask(door)).all("set-cookie")[0].split(";")[0]
        await envoy.serve(to(("blue", 0), ("green", 1), stick=60))
        assert (await ask(door)).seen["name"] == "green"
        kept = await ask(door, headers={"Cookie": f"x=1; {cookie}"})
        assert kept.seen["name"] == "blue"
        assert kept.all("set-cookie")[0].startswith(cookie.split(".")[0]), "given again: its duration begins anew"
        token, given = cookie.split(".")
        for old in (f"{token}.{int(given) - 60}", f"x=1; {token}.{int(given) - 60}; y=2"):
            moved = await ask(door, headers={"Cookie": old})
            assert moved.seen["name"] == "green"
            assert "AWSALBTG" not in moved.seen["headers"].get("cookie", "")
            assert [c.split("=")[0] for c in moved.all("set-cookie")] == ["AWSALBTG", "AWSALBTGCORS"]


async def test_nobody_is_bound_to_a_group_that_could_not_answer(envoy: Balanced) -> None:
    await envoy.group("empty")
    door = await envoy.serve(to(("empty", 1), ("other", 0), stick=60))
    answer = await ask(door)
    assert (answer.status, answer.all("set-cookie")) == (503, [])


async def test_load_balancer_cookie(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two:
        await envoy.group("web", one, two)
        door = await envoy.serve(to("web"))
        assert (await ask(door)).all("set-cookie") == []
        await envoy.group("web", one, two, stickiness__enabled="true", stickiness__type="lb_cookie")
        first = await ask(door)
        cookie = first.all("set-cookie")[0].split(";")[0]
        assert cookie.startswith("AWSALB=")
        again = {(await ask(door, headers={"Cookie": cookie})).seen["name"] for _ in range(10)}
        assert again == {first.seen["name"]}


REDIRECTS = {
    "to https": (
        Redirect("HTTP_301", protocol="HTTPS", port="443"),
        {"path": "/a/b?x=1&y=2", "host": "shop.test"},
        "https://shop.test:{443}/a/b?x=1&y=2",
    ),
    "host port is replaced": (
        Redirect("HTTP_302", port="8080"),
        {"path": "/a", "host": "shop.test:1234"},
        "http://shop.test:{8080}/a",
    ),
    "constant host and path, query kept": (
        Redirect("HTTP_301", host="other.test", path="/new"),
        {"path": "/old?x=1"},
        "http://other.test:{80}/new?x=1",
    ),
    "query dropped": (
        Redirect("HTTP_301", path="/new", query=""),
        {"path": "/old?x=1"},
        "http://any.example.com:{80}/new",
    ),
    "constant query": (
        Redirect("HTTP_301", path="/new", query="a=b"),
        {"path": "/old?x=1"},
        "http://any.example.com:{80}/new?a=b",
    ),
    "all placeholders": (
        Redirect("HTTP_302", host="www.#{host}", path="/#{host}/#{port}/#{path}", query="p=#{protocol}&q=#{query}"),
        {"path": "/old/x?y=1", "host": "shop.test"},
        "http://www.shop.test:{80}/shop.test/{80}/old/x?p=http&q=y=1",
    ),
    "prefix before the path": (
        Redirect("HTTP_301", path="/v2/#{path}"),
        {"path": "/old"},
        "http://any.example.com:{80}/v2/old",
    ),
}


@pytest.mark.parametrize("case", REDIRECTS)
async def test_redirect(envoy: Balanced, case: str) -> None:
    redirect, request, expected = REDIRECTS[case]
    door = await envoy.serve(redirect)
    answer = await ask(door, **request)
    for port in (80, 443, 8080):
        expected = expected.replace(f"{{{port}}}", str(envoy.ports(port)))
    assert answer.header("location") == expected
    assert answer.status == int(redirect.status_code[-3:])
    assert answer.header("server") == "awselb/2.0"
    assert answer.text.startswith("<html>")


async def test_fixed_response(envoy: Balanced) -> None:
    rules = (
        a_rule(1, path("/html"), action=FixedResponse("503", "text/html", "<p>100% closed</p>")),
        a_rule(2, path("/empty"), action=FixedResponse("200")),
    )
    door = await envoy.serve(FixedResponse("418", None, "tea"), rules=rules)
    closed, empty, tea = await ask(door, "/html"), await ask(door, "/empty"), await ask(door, "/")
    assert (closed.status, closed.text, closed.header("content-type")) == (503, "<p>100% closed</p>", "text/html")
    assert (empty.status, empty.body) == (200, b"")
    assert (tea.status, tea.text) == (418, "tea")
    assert tea.header("content-type").startswith("text/plain")
    assert {a.header("server") for a in (closed, empty, tea)} == {"awselb/2.0"}


async def test_two_load_balancers_on_one_port(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two:
        await envoy.group("one", one)
        await envoy.group("two", two)
        first = a_load_balancer("One", loopback="127.83.0.1")
        second = a_load_balancer("two", loopback="127.83.0.2")
        own_first = await envoy.serve(to("one"), balancer=first)
        own_second = await envoy.serve(to("two"), balancer=second)
        port = envoy.ports(80)
        for address in ("127.0.0.1", "::1"):
            door = envoy.edge(address=address)
            for name, spellings in ((first.dns_name, "one"), (second.dns_name, "two")):
                for spelled in (name, name.lower(), name.upper(), f"{name}:{port}", f"{name.upper()}:80"):
                    assert (await ask(door, host=spelled)).seen["name"] == spellings, spelled
        assert (await ask(own_first)).seen["name"] == "one"
        assert (await ask(own_second)).seen["name"] == "two"

        unknown = await ask(envoy.edge(), host="nobody.us-east-1.elb.localhost")
        assert unknown.status == 404
        assert "No load balancer has this DNS name: nobody.us-east-1.elb.localhost" in unknown.text
        assert "moor status" in unknown.text
        assert unknown.header("server") == "awselb/2.0"

        await envoy.proxy.remove_load_balancer(first.arn)
        assert (await ask(envoy.edge(), host=first.dns_name)).status == 404
        assert (await ask(envoy.edge(), host=second.dns_name)).seen["name"] == "two"
        with pytest.raises(OSError):
            await ask(own_first)


async def test_one_load_balancer_on_two_ports(envoy: Balanced) -> None:
    from proxy.builders import a_config, a_listener

    balancer = a_load_balancer()
    fixed = {port: FixedResponse("200", None, str(port)) for port in (80, 8081)}
    listeners = [a_listener(balancer, action, port=port) for port, action in fixed.items()]
    await envoy.proxy.put_load_balancer(a_config(balancer, *listeners))
    for port in fixed:
        assert (await ask(envoy.edge(port), host=balancer.dns_name)).text == str(port)
        assert (await ask((balancer.loopback, envoy.ports(port)))).text == str(port)
    await envoy.proxy.put_load_balancer(a_config(balancer, listeners[0]))
    with pytest.raises(OSError):
        await ask(envoy.edge(8081))
    assert (await ask(envoy.edge(80), host=balancer.dns_name)).text == "80"
