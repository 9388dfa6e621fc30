"""Target stickiness by cookies (semantics elbv2 §6), on a real Envoy."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from proxy.builders import to
from proxy.conftest import Balanced
from proxy.servers import Address, ask, backend

LB = {"stickiness__enabled": "true"}
APP = {**LB, "stickiness__type": "app_cookie", "stickiness__app_cookie__cookie_name": "session"}


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


def _cookie(target: Address, ends_in: int) -> str:
    """As Envoy writes it: the target's address, and when stickiness ends."""
    address = f"{target[0]}:{target[1]}".encode()
    ends = int(datetime.now(UTC).timestamp()) + ends_in
    return base64.b64encode(b"\x0a" + bytes([len(address)]) + address + b"\x10" + _varint(ends)).decode()


def _pairs(cookies: list[str]) -> dict[str, str]:
    return dict(one.partition(";")[0].split("=", 1) for one in cookies)


async def test_the_load_balancer_sets_its_cookie_twice(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two:
        await envoy.group("web", one, two, **LB)
        door = await envoy.serve(to("web"))
        first = await ask(door)
        plain, cors = first.all("set-cookie")
        assert cors.startswith("AWSALBCORS=")
        assert cors.endswith("; SameSite=None; Secure")
        pairs = _pairs([plain, cors])
        assert pairs["AWSALB"] == pairs["AWSALBCORS"]
        for _ in range(4):
            again = await ask(door, headers={"Cookie": f"a=b; AWSALBCORS={pairs['AWSALBCORS']}"})
            assert again.seen["name"] == first.seen["name"]


async def test_every_answer_carries_the_cookie_and_begins_its_duration_anew(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two:
        await envoy.group("web", one, two, **LB, stickiness__lb_cookie__duration_seconds="300")
        door = await envoy.serve(to("web"))
        for name in ("AWSALB", "AWSALBCORS"):
            kept = _cookie(two.address, ends_in=5)
            again = await ask(door, "/?cookie=other%3D1", headers={"Cookie": f"a=b; {name}={kept}"})
            assert again.seen["name"] == "two"
            other, plain, cors = again.all("set-cookie")
            assert other == "other=1"
            pairs = _pairs([plain, cors])
            assert pairs["AWSALB"] == pairs["AWSALBCORS"]
            assert pairs["AWSALB"] in {_cookie(two.address, ends_in=ends) for ends in range(290, 301)}
            assert cors.endswith("; SameSite=None; Secure")
            expires = parsedate_to_datetime(plain.partition("Expires=")[2].partition(";")[0])
            assert timedelta(days=6, hours=23) < expires - datetime.now(UTC) <= timedelta(days=7)


async def test_a_cookie_that_is_older_than_the_duration_leads_nowhere(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two:
        await envoy.group("web", one, two, **LB)
        door = await envoy.serve(to("web"))
        old = _cookie(two.address, ends_in=-1)
        answers = [await ask(door, headers={"Cookie": f"AWSALB={old}"}) for _ in range(4)]
        assert {answer.seen["name"] for answer in answers} == {"one", "two"}


@pytest.mark.parametrize("value", ["", "x", "AAAA", "Cg==", "ü", "%22%22", "9" * 4000])
async def test_a_cookie_that_nobody_gave_is_replaced(envoy: Balanced, value: str) -> None:
    async with backend("one") as one:
        await envoy.group("web", one, **LB)
        answer = await ask(await envoy.serve(to("web")), headers={"Cookie": f"AWSALB={value}"})
        assert answer.status == 200
        assert _pairs(answer.all("set-cookie"))["AWSALB"] in {_cookie(one.address, e) for e in range(86390, 86401)}


async def test_the_cookie_of_the_application_makes_it_sticky(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two:
        await envoy.group("web", one, two, **APP)
        door = await envoy.serve(to("web"))
        assert (await ask(door)).all("set-cookie") == []
        first = await ask(door, "/?cookie=session%3D1")
        pairs = _pairs(first.all("set-cookie"))
        assert set(pairs) == {"session", "AWSALBAPP-0"}
        for _ in range(4):
            both = f"AWSALBAPP-0={pairs['AWSALBAPP-0']}; session=1"
            again = await ask(door, headers={"Cookie": both})
            assert again.seen["name"] == first.seen["name"]
            assert set(_pairs(again.all("set-cookie"))) == {"AWSALBAPP-0"}


async def test_the_cookie_of_the_application_must_come_back_too(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two:
        await envoy.group("web", one, two, **APP)
        door = await envoy.serve(to("web"))
        kept = f"AWSALBAPP-0={_cookie(two.address, 60)}"
        for others in ("", "; xsession=1", "; a=session=1"):
            answers = [await ask(door, headers={"Cookie": kept + others}) for _ in range(4)]
            assert {answer.seen["name"] for answer in answers} == {"one", "two"}, others
        assert {(await ask(door, headers={"Cookie": f"{kept};session=1"})).seen["name"] for _ in range(4)} == {"two"}


async def test_the_duration_of_the_applications_stickiness_begins_anew(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two:
        await envoy.group("web", one, two, **APP, stickiness__app_cookie__duration_seconds="300")
        door = await envoy.serve(to("web"))
        kept = f"AWSALBAPP-0={_cookie(two.address, 5)}; session=1"
        for asked in ("/", "/?cookie=session%3D2"):
            answer = await ask(door, asked, headers={"Cookie": kept})
            given = _pairs(answer.all("set-cookie"))["AWSALBAPP-0"]
            assert given in {_cookie(two.address, ends) for ends in range(290, 301)}


async def test_other_cookies_of_the_target_stay(envoy: Balanced) -> None:
    async with backend("one") as one:
        await envoy.group("web", one, **APP)
        answer = await ask(await envoy.serve(to("web")), "/?cookie=other%3D1")
        assert answer.all("set-cookie") == ["other=1"]


async def test_a_gone_target_is_replaced_and_the_cookie_rewritten(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two:
        await envoy.group("web", one, **APP)
        door = await envoy.serve(to("web"))
        old = _pairs((await ask(door, "/?cookie=session%3D1")).all("set-cookie"))["AWSALBAPP-0"]
        await envoy.group("web", two, **APP)
        answer = await ask(door, headers={"Cookie": f"AWSALBAPP-0={old}; session=1"})
        assert answer.seen["name"] == "two"
        assert _pairs(answer.all("set-cookie"))["AWSALBAPP-0"] != old


async def test_an_unhealthy_target_keeps_nobody(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two:
        await envoy.group("web", one, two.sick, **LB)
        door = await envoy.serve(to("web"))
        kept = {"Cookie": f"AWSALB={_cookie(two.address, 60)}"}
        answer = await ask(door, headers=kept)
        assert answer.seen["name"] == "one"
        assert _pairs(answer.all("set-cookie"))["AWSALB"] != _cookie(two.address, 60)
        await envoy.group("web", one.sick, two.sick, **LB)
        assert (await ask(door, headers=kept)).seen["name"] == "two", "fail-open"
