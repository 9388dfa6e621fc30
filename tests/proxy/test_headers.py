"""What a real Envoy adds to requests and answers, and what it must not (semantics elbv2 §7)."""

from __future__ import annotations

import asyncio
import re

from moorage.domain.load_balancer import FixedResponse, Redirect
from moorage.proxy.envoy.pages import page
from proxy.builders import a_load_balancer, a_rule, path, to
from proxy.conftest import Balanced
from proxy.servers import Backend, ask, parse, raw

TRACE = r"1-[0-9a-f]{8}-[0-9a-f]{24}"


async def test_forwarded_headers(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    seen = (await ask(door, headers={"X-Forwarded-Proto": "https", "X-Forwarded-Port": "1"})).seen["headers"]
    assert seen["x-forwarded-for"] == "127.0.0.1"
    assert seen["x-forwarded-proto"] == "http"
    assert seen["x-forwarded-port"] == "80"
    assert not [name for name in seen if name.startswith(("x-envoy", "x-moorage", "x-request"))]


async def test_forwarded_for_is_the_true_peer_and_appended(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    forged = {"X-Forwarded-For": "203.0.113.7, 10.0.0.1"}
    seen = (await ask(door, source="127.5.6.7", headers=forged)).seen["headers"]
    assert seen["x-forwarded-for"] == "203.0.113.7, 10.0.0.1, 127.5.6.7"
    name = a_load_balancer().dns_name
    seen = (await ask(envoy.edge(address="::1"), host=name, headers={"X-Forwarded-For": "a"})).seen["headers"]
    assert seen["x-forwarded-for"] == "a, ::1"


async def test_forwarded_for_modes(envoy: Balanced, web: Backend) -> None:
    async def forwarded(value: str | None, **attributes: str) -> str | None:
        door = await envoy.serve(to("web"), balancer=a_load_balancer(**attributes))
        headers = {} if value is None else {"X-Forwarded-For": value}
        return (await ask(door, headers=headers)).seen["headers"].get("x-forwarded-for")

    mode = "routing__http__xff_header_processing__mode"
    assert await forwarded("1.2.3.4", **{mode: "preserve"}) == "1.2.3.4"
    assert await forwarded(None, **{mode: "preserve"}) is None
    assert await forwarded("1.2.3.4", **{mode: "remove"}) is None
    with_port = await forwarded("1.2.3.4", routing__http__xff_client_port__enabled="true")
    assert with_port is not None
    assert re.fullmatch(r"1\.2\.3\.4, 127\.0\.0\.1:\d+", with_port)
    edge = await ask(envoy.edge(address="::1"), host=a_load_balancer().dns_name)
    assert re.fullmatch(r"\[::1\]:\d+", edge.seen["headers"]["x-forwarded-for"])


async def test_forwarded_for_in_several_lines(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    answer = await ask(door, raw_headers=["X-Forwarded-For: 192.0.2.1", "X-Forwarded-For: 192.0.2.2"])
    seen = re.split(", ?", answer.seen["headers"]["x-forwarded-for"])
    assert seen == ["192.0.2.1", "192.0.2.2", "127.0.0.1"]


async def test_other_headers_pass_as_they_came(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    sent = {
        "X-Forwarded-Host": "h", "Forwarded": "for=192.0.2.1", "X-Real-Ip": "192.0.2.1", "Via": "1.1 cdn", "Date": "x",
        "X-Forwarded-Client-Cert": "Hash=1", "X-Request-Id": "1", "X-B3-TraceId": "2", "Traceparent": "00-1",
        "Priority": "u=1", "Proxy-Authorization": "Basic x", "Upgrade-Insecure-Requests": "1", "X-Empty": "",
    }  # fmt: skip
    seen = (await ask(door, headers=sent)).seen["headers"]
    assert {name: seen.get(name.lower()) for name in sent} == sent


async def test_what_is_of_one_hop_only_stays_there(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    hop = {"Keep-Alive": "timeout=5", "Proxy-Connection": "keep-alive", "TE": "gzip"}
    seen = (await ask(door, headers=hop)).seen["headers"]
    assert {"connection", "keep-alive", "proxy-connection", "te"}.isdisjoint(seen)


async def test_head_gets_the_head_of_every_answer(envoy: Balanced, web: Backend) -> None:
    rules = (a_rule(1, path("/fixed"), action=FixedResponse("200", "text/plain", "body")),)
    rules += (a_rule(2, path("/empty"), action=to("empty")),)
    await envoy.group("empty")
    door = await envoy.serve(to("web"), rules=rules)
    for where, status, length in (("/fixed", 200, "4"), ("/empty", 503, str(len(page(503)))), ("/", 200, None)):
        reader, writer = await asyncio.open_connection(*door)
        writer.write(f"HEAD {where} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        answer = parse(await reader.read())
        writer.close()
        assert (answer.status, answer.body) == (status, b"")
        assert length is None or answer.header("content-length") == length


async def test_trace_id(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))

    async def trace(value: str | None) -> str:
        headers = {} if value is None else {"X-Amzn-Trace-Id": value}
        return str((await ask(door, headers=headers)).seen["headers"]["x-amzn-trace-id"])

    made = [await trace(None) for _ in range(20)]
    assert all(re.fullmatch(f"Root={TRACE}", value) for value in made)
    assert len(set(made)) == 20
    root = "Root=1-67891233-abcdef012345678912345678"
    assert re.fullmatch(f"Self={TRACE};{root};CalledFrom=app", await trace(f"{root};CalledFrom=app"))
    again = await trace(f"Self=1-67891234-12456789abcdef012345678;{root}")
    assert re.fullmatch(f"Self={TRACE};{root}", again)
    assert "Self=1-67891234" not in again


async def test_a_request_through_the_script_gets_to_its_rule_all_the_same(envoy: Balanced, web: Backend) -> None:
    rules = (a_rule(1, path("/moved"), action=Redirect("HTTP_302", path="/there")),)
    await envoy.serve(to("web"), rules=rules)
    root = "Root=1-67891233-abcdef012345678912345678"
    for method in ("GET", "POST", "PATCH"):
        for host in (a_load_balancer().dns_name, a_load_balancer().dns_name.upper() + ":8080"):
            headers = {"X-Amzn-Trace-Id": root}
            assert (await ask(envoy.edge(), "/moved", method=method, host=host, headers=headers)).status == 302
            answer = await ask(envoy.edge(), "/", method=method, host=host, headers=headers)
            assert answer.status == 200
            if method == "POST":
                seen = answer.seen["headers"]
                assert seen["host"] == a_load_balancer().dns_name.lower()
                assert re.fullmatch(f"Self={TRACE};{root}", seen["x-amzn-trace-id"])


async def test_a_clients_request_id_is_left_alone(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    mine = "5a1c2d3e-1111-4222-8333-944455556666"
    assert (await ask(door, headers={"X-Request-Id": mine})).seen["headers"]["x-request-id"] == mine


async def test_host_rules(envoy: Balanced, web: Backend) -> None:
    async def host(sent: str, port: int = 80, **attributes: str) -> str:
        door = await envoy.serve(to("web"), port=port, balancer=a_load_balancer(**attributes))
        return str((await ask(door, host=sent)).seen["headers"]["host"])

    assert await host("shop.test:8080") == "shop.test"
    assert await host("shop.test") == "shop.test"
    assert await host("[::1]:80") == "[::1]"
    assert await host("shop.test", port=8080) == "shop.test:8080"
    assert await host("shop.test:1", port=8080) == "shop.test:1"
    preserve = "routing__http__preserve_host_header__enabled"
    assert await host("Shop.test:99", **{preserve: "true"}) == "Shop.test:99"


async def test_the_host_at_the_shared_door(envoy: Balanced, web: Backend) -> None:
    """The port of this machine, which is in every address that people type, is not for the target."""
    name = a_load_balancer().dns_name
    await envoy.serve(to("web"))
    assert (await ask(envoy.edge(), host=f"{name}:8080")).seen["headers"]["host"] == name
    keeps = a_load_balancer("b", loopback="127.83.0.2", routing__http__preserve_host_header__enabled="true")
    await envoy.serve(to("web"), balancer=keeps)
    assert (await ask(envoy.edge(), host=f"{keeps.dns_name}:8080")).seen["headers"]["host"] == f"{keeps.dns_name}:8080"
    assert (await ask(envoy.edge(), host=f"{name}:8080")).seen["headers"]["host"] == name, "the other one is as before"


async def test_the_absolute_form_names_the_host(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    answer = await raw(door, b"GET http://shop.test/x HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n")
    assert (answer.seen["headers"]["host"], answer.seen["path"]) == ("shop.test", "/x")


async def test_nothing_of_envoy_in_the_answer(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    answer = await ask(door)
    assert answer.header("server") == "my-app/1.0"
    assert not [name for name, _ in answer.headers if name.startswith(("x-envoy", "x-request", "x-amzn"))]


async def test_clients_cannot_command_envoy(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    commands = {
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-max-retries": "9",
        "x-envoy-retry-on": "5xx",
        "x-envoy-retriable-status-codes": "503",
        "x-envoy-internal": "true",
        "x-envoy-external-address": "10.0.0.1",
        "x-request-id": "mine",
    }
    for claimed in ({}, {"x-forwarded-for": "10.0.0.1"}, {"x-forwarded-for": "192.0.2.1, 255.255.255.255"}):
        web.requests = 0
        seen = (await ask(door, "/?status=503", method="POST", headers={**commands, **claimed})).seen["headers"]
        believed = [name for name in seen if name.startswith("x-envoy") and name != "x-envoy-external-address"]
        assert believed == []
        assert seen["x-request-id"] == "mine"
        assert web.requests == 1
    nobody = {**commands, "x-forwarded-for": "255.255.255.255"}
    assert (await ask(door, "/?status=503", method="POST", headers=nobody)).status == 463


async def test_http_1_0(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    answer = await ask(door, version="1.0", host=None)
    assert answer.status == 200
    assert answer.seen["headers"]["host"] == a_load_balancer().dns_name


async def test_path_is_passed_as_it_came(envoy: Balanced, web: Backend) -> None:
    door = await envoy.serve(to("web"))
    for asked in ("/a//b/../c%2Fd?x=%20&y", "/%7Euser/./x"):
        assert (await ask(door, asked)).seen["path"] == asked
