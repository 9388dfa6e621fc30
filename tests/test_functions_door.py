"""A Lambda target group of a real Envoy: requests become events, answers become responses."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from moorage.domain.target_group import HealthCheck, Target
from moorage.functions_door import CannotInvoke, FunctionsDoor
from moorage.proxy.driver import Endpoint, TargetGroupConfig
from moorage.proxy.envoy.proxy import EnvoyProxy
from moorage.settings import Settings
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables.elbv2 import TABLES, TARGET_GROUPS, TARGETS
from proxy.builders import a_config, a_listener, a_load_balancer, a_target_group, to
from proxy.conftest import Ports
from proxy.servers import Address, ask, raw

FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:hello"


class Greeter:
    """Answers with the event that it got, unless told otherwise."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] | None = None
        self.failure: Exception | None = None
        self.events: list[dict[str, Any]] = []

    async def invoke(self, function_arn: str, event: bytes) -> bytes:
        assert function_arn == FUNCTION
        self.events.append(json.loads(event))
        if self.failure is not None:
            raise self.failure
        if self.answer is not None:
            return json.dumps(self.answer).encode()
        headers = {"Content-Type": "application/json"}
        document = {"statusCode": 200, "statusDescription": "200 OK", "headers": headers, "body": event.decode()}
        return json.dumps(document).encode()


class House:
    def __init__(self, door: Address, greeter: Greeter, functions: FunctionsDoor, store: Store) -> None:
        self.door = door
        self.greeter = greeter
        self.functions = functions
        self.store = store


GROUP = msgspec.structs.replace(
    a_target_group("fn"),
    target_type="lambda", protocol=None, protocol_version=None, port=None, vpc_id=None,
    health_check=HealthCheck(protocol="", port="", interval=35, timeout=30),
)  # fmt: skip


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    store = await Store.open(MemoryLog(), TABLES)
    ports, greeter = Ports(), Greeter()
    proxy = EnvoyProxy(Settings(data_dir=tmp_path), port_of=ports, workers=1)
    functions = FunctionsDoor(store, greeter)
    await proxy.start()
    try:
        await functions.start(proxy.functions_socket)

        def write(tx: Any) -> None:
            tx.put(TARGET_GROUPS, GROUP)
            tx.put(TARGETS, Target(GROUP.arn, FUNCTION, 0, None, 0.0))

        await store.update(write)
        await proxy.put_target_group(TargetGroupConfig(GROUP, (Endpoint(FUNCTION, 0),)))
        balancer = a_load_balancer()
        await proxy.put_load_balancer(a_config(balancer, a_listener(balancer, to("fn"))))
        yield House((balancer.loopback, ports(80)), greeter, functions, store)
    finally:
        await functions.close()
        await proxy.stop()


async def test_a_request_is_an_event(house: House) -> None:
    answer = await ask(house.door, "/a%20b?x=1%2B1", method="POST", headers={"Content-Type": "text/plain"}, body=b"hi")
    assert (answer.status, answer.header("content-type")) == (200, "application/json")
    event = answer.seen
    assert event["requestContext"] == {"elb": {"targetGroupArn": GROUP.arn}}
    assert (event["httpMethod"], event["path"], event["queryStringParameters"]) == ("POST", "/a%20b", {"x": "1%2B1"})
    assert (event["body"], event["isBase64Encoded"]) == ("hi", False)
    assert event["headers"]["x-forwarded-for"] == "127.0.0.1"
    assert event["headers"]["x-forwarded-proto"] == "http"
    assert not any(name.startswith(("x-moorage", "x-envoy")) for name in event["headers"])


async def test_answers(house: House) -> None:
    body = base64.b64encode(b"\x00\xff").decode()
    house.greeter.answer = {"statusCode": 418, "headers": {"X-A": "1"}, "body": body, "isBase64Encoded": True}
    answer = await ask(house.door)
    assert (answer.status, answer.header("x-a"), answer.body) == (418, "1", b"\x00\xff")
    assert answer.header("content-length") == "2"


@pytest.mark.parametrize(
    ("answer", "failure", "cause"),
    [
        ({"statusCode": "x"}, None, "LambdaInvalidResponse"),
        (None, CannotInvoke("LambdaUnhandled", "it raised"), "LambdaUnhandled"),
    ],
)
async def test_failures_are_502(house: House, answer: Any, failure: Exception | None, cause: str) -> None:
    house.greeter.answer, house.greeter.failure = answer, failure
    found = await ask(house.door)
    assert (found.status, found.header("server"), found.header("x-moorage-cause")) == (502, "awselb/2.0", cause)
    assert "502 Bad Gateway" in found.text


async def test_too_large_and_upgrades(house: House) -> None:
    assert (await ask(house.door, method="POST", body=bytes(1024 * 1024 + 1))).status == 413
    upgrade = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n"
    assert (await raw(house.door, upgrade)).status == 400
    assert house.greeter.events == []


async def test_nothing_registered(house: House) -> None:
    await house.store.update(lambda tx: tx.delete(TARGETS, f"{GROUP.arn}|{FUNCTION}|0"))
    assert (await ask(house.door)).status == 503


async def test_health_checks(house: House) -> None:
    target = Target(GROUP.arn, FUNCTION, 0, None, 0.0)
    assert (await house.functions.check(target, GROUP)).status == 200
    assert house.greeter.events[-1]["headers"] == {"user-agent": "ELB-HealthChecker/2.0"}
    house.greeter.failure = CannotInvoke("LambdaThrottling", "too many")
    assert (await house.functions.check(target, GROUP)).outcome == "failed"


async def test_nobody_runs_functions(house: House) -> None:
    door = FunctionsDoor(house.store)
    result = await door.check(Target(GROUP.arn, FUNCTION, 0, None, 0.0), GROUP)
    assert (result.outcome, result.detail) == ("failed", f"nobody here can invoke the function {FUNCTION}")


async def test_many_at_once(house: House) -> None:
    answers = await asyncio.gather(*(ask(house.door, f"/{number}") for number in range(50)))
    assert sorted(int(answer.seen["path"][1:]) for answer in answers) == list(range(50))
