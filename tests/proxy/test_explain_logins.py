"""A rule that asks who sends a request: what comes of it is counted, and explained with the reason."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from moorage.control.requests import Evidence, RequestLog
from moorage.decide.elbv2_access_log import log_line
from moorage.decide.elbv2_metrics import of_request
from moorage.domain.clock import SystemClock
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables import ecs, elbv2
from proxy.servers import free_port
from proxy.test_authentication import House, house, oidc, provider, root

__all__ = ["house", "provider", "root"]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


class Asked:
    """The requests of a house, explained."""

    def __init__(self, house: House, log: RequestLog) -> None:
        self.house = house
        self.log = log
        house.authenticator.on_refused = log.note
        house.envoy.proxy.on_requests = log.take

    async def seen(self, count: int) -> list[Evidence]:
        async with asyncio.timeout(10):
            while len(self.log) < count:
                await self.house.envoy.proxy.read_requests()
                await asyncio.sleep(0.02)
        return self.log.after()[0]


async def asked_of(house: House) -> Asked:
    store = await Store.open(MemoryLog(), (*ecs.TABLES, *elbv2.TABLES))
    return Asked(house, RequestLog(store, SystemClock()))


def counted(one: Evidence) -> set[str]:
    return {measure.name for measure in of_request(one.record)} - {"ProcessedBytes"}


async def test_a_login(house: House, provider: str) -> None:
    await house.serve(oidc(provider))
    asked = await asked_of(house)
    await house.log_in("/private/cart")
    sent, returned = await asked.seen(2)
    assert (sent.cause, returned.cause) == ("", "")
    assert counted(sent) == {"HTTPCode_ELB_3XX_Count"}
    assert counted(returned) == {"HTTPCode_ELB_3XX_Count", "ELBAuthSuccess", "ELBAuthLatency"}
    line = log_line(sent.record, load_balancer="app/web/1", scheme="https", port=443)
    assert '"authenticate" "-"' in line


async def test_a_login_that_is_refused(house: House, provider: str) -> None:
    await house.serve(oidc(provider))
    asked = await asked_of(house)
    await house.get("/oauth2/idpresponse?code=x&state=nonsense")
    (refused,) = await asked.seen(1)
    assert refused.cause == "NotAuthenticated"
    assert refused.sentence.endswith(": nobody was sent to log in with this state")
    assert {"ELBAuthFailure", "HTTPCode_ELB_4XX_Count"} <= counted(refused)


async def test_a_provider_that_is_down(house: House, provider: str) -> None:
    nobody = f"https://127.0.0.1:{free_port()}"
    await house.serve(msgspec.structs.replace(oidc(provider), token_endpoint=f"{nobody}/token"))
    asked = await asked_of(house)
    assert (await house.log_in("/private/x")).status == 500
    _, failed = await asked.seen(2)
    assert failed.cause == "NotAuthenticated"
    assert nobody in failed.sentence
    assert {"ELBAuthError", "HTTPCode_ELB_500_Count"} <= counted(failed)
