"""Target stickiness by cookies (semantics elbv2 §6), on a real Envoy."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from proxy.builders import to
from proxy.conftest import Balanced
from proxy.servers import ask, backend

LB = {"stickiness__enabled": "true"}
APP = {**LB, "stickiness__type": "app_cookie", "stickiness__app_cookie__cookie_name": "session"}


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*out, number])


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


async def test_every_answer_carries_the_cookie_for_seven_days(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two:
        await envoy.group("web", one, two, **LB)
        door = await envoy.serve(to("web"))
        first = await ask(door)
        for name in ("AWSALB", "AWSALBCORS"):
            kept = f"{name}={_pairs(first.all('set-cookie'))[name]}"
            again = await ask(door, "/?cookie=other%3D1", headers={"Cookie": kept})
            assert again.seen["name"] == first.seen["name"]
            other, plain, cors = again.all("set-cookie")
            assert other == "other=1"
            assert _pairs([plain, cors]) == _pairs(first.all("set-cookie"))
            expires = parsedate_to_datetime(plain.partition("Expires=")[2].partition(";")[0])
            assert timedelta(days=6, hours=23) < expires - datetime.now(UTC) <= timedelta(days=7)


async def test_a_cookie_that_is_older_than_the_duration_leads_nowhere(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two:
        await envoy.group("web", one, two, **LB)
        door = await envoy.serve(to("web"))
        value = _pairs((await ask(door)).all("set-cookie"))["AWSALB"]
        address = base64.b64decode(value)[: -len(_varint(0x7FFFFFFF))]
        old = base64.b64encode(address + _varint(int(datetime.now(UTC).timestamp()) - 1)).decode()
        answers = [await ask(door, headers={"Cookie": f"AWSALB={old}"}) for _ in range(4)]
        assert {answer.seen["name"] for answer in answers} == {"one", "two"}
        assert {_pairs(answer.all("set-cookie"))["AWSALB"] for answer in answers}.isdisjoint({old})


async def test_the_cookie_of_the_application_makes_it_sticky(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two:
        await envoy.group("web", one, two, **APP)
        door = await envoy.serve(to("web"))
        assert (await ask(door)).all("set-cookie") == []
        first = await ask(door, "/?cookie=session%3D1")
        pairs = _pairs(first.all("set-cookie"))
        assert set(pairs) == {"session", "AWSALBAPP-0"}
        for _ in range(4):
            again = await ask(door, headers={"Cookie": f"AWSALBAPP-0={pairs['AWSALBAPP-0']}"})
            assert again.seen["name"] == first.seen["name"]


async def test_the_application_gives_its_cookie_again(envoy: Balanced) -> None:
    async with backend("one") as one, backend("two") as two:
        await envoy.group("web", one, two, **APP)
        door = await envoy.serve(to("web"))
        value = _pairs((await ask(door, "/?cookie=session%3D1")).all("set-cookie"))["AWSALBAPP-0"]
        again = await ask(door, "/?cookie=session%3D2", headers={"Cookie": f"AWSALBAPP-0={value}"})
        assert _pairs(again.all("set-cookie")) == {"session": "2", "AWSALBAPP-0": value}
        assert (await ask(door, headers={"Cookie": f"AWSALBAPP-0={value}"})).all("set-cookie") == []


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
        answer = await ask(door, headers={"Cookie": f"AWSALBAPP-0={old}"})
        assert answer.seen["name"] == "two"
        assert _pairs(answer.all("set-cookie"))["AWSALBAPP-0"] != old
