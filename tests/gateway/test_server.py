"""The front door as a server: closing, long requests, long headers."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import aiohttp
import pytest

from moorage.services.base import Provider, RequestContext, operation

from .raw import ecs_headers, raw, signed
from .toys import Recorder, ToyEcs, running


class Slow(Provider):
    service = "ecs"

    def __init__(self) -> None:
        self.entered, self.go_on = asyncio.Event(), asyncio.Event()

    @operation("ListClusters")
    async def list_clusters(self, _context: RequestContext, _params: dict[str, Any]) -> dict[str, Any]:
        self.entered.set()
        await self.go_on.wait()
        return {"clusterArns": ["late"]}


async def test_a_running_request_finishes_while_the_gateway_closes() -> None:
    provider = Slow()
    async with running(provider) as gateway, raw(gateway) as http:
        request = asyncio.create_task(http.ecs("ListClusters"))
        await provider.entered.wait()
        closing = asyncio.create_task(gateway.close(grace=30))
        await asyncio.sleep(0)
        with pytest.raises(aiohttp.ClientConnectorError):
            async with raw(gateway) as other:
                await other.ecs("ListClusters")
        provider.go_on.set()
        assert json.loads((await request).body) == {"clusterArns": ["late"]}
        await closing


async def test_a_request_that_does_not_finish_is_cut_in_the_end() -> None:
    provider = Slow()
    async with running(provider) as gateway, raw(gateway) as http:
        request = asyncio.create_task(http.ecs("ListClusters"))
        await provider.entered.wait()
        await gateway.close(grace=0.01)
        with pytest.raises(aiohttp.ClientError):
            await request


async def test_several_addresses_one_gateway() -> None:
    async with running(ToyEcs()) as gateway:
        second = await gateway.start("127.0.0.1", 0)
        for port in (gateway.port, second):
            url = f"http://127.0.0.1:{port}/_moorage/health"
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                assert answer.status == 200


async def test_long_session_tokens_fit() -> None:
    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        assert (await http.ecs("ListClusters", X_Amz_Security_Token="t" * 20_000)).status == 200


async def test_a_stream_that_the_client_leaves_is_closed() -> None:
    left = asyncio.Event()

    async def events() -> Any:
        try:
            while True:
                yield {"sessionUpdate": {"sessionResults": [{"message": "m" * 1000}]}}
                await asyncio.sleep(0)
        finally:
            left.set()

    async with running(Recorder("logs", {"StartLiveTail": {"responseStream": events()}})) as gateway:
        session = aiohttp.ClientSession()
        headers = {**signed("logs"), "X-Amz-Target": "Logs_20140328.StartLiveTail"}
        body = b'{"logGroupIdentifiers": ["a"]}'
        url = f"http://127.0.0.1:{gateway.port}/"
        answer = await session.post(url, headers=headers, data=body)
        assert answer.headers["Content-Type"] == "application/vnd.amazon.eventstream"
        await answer.content.readany()
        await session.close()
        await asyncio.wait_for(left.wait(), 10)


async def test_every_answer_has_a_request_id() -> None:
    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        seen = {
            (await http.ecs(name)).headers["x-amzn-requestid"] for name in ("ListClusters", "Nonsense", "ListTasks")
        }
        assert len(seen) == 3
        assert ecs_headers("x")["X-Amz-Target"].endswith(".x")
