"""The delta ADS server against a client that plays Envoy's part of the protocol."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from moorage.proxy.driver import ProxyUnavailable
from moorage.proxy.envoy.encode import CLUSTER, ENDPOINTS, Encoded
from moorage.proxy.envoy.xds import SERVICE, AdsServer


class Client:
    """One stream; every response is answered only when the test says so."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.channel = channel
        self.stream: Any = channel.stream_stream(
            f"/{SERVICE}/DeltaAggregatedResources",
            request_serializer=DeltaDiscoveryRequest.SerializeToString,
            response_deserializer=DeltaDiscoveryResponse.FromString,
        )()

    async def subscribe(self, type_url: str, *names: str, has: dict[str, str] | None = None) -> None:
        request = DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names or ["*"])
        request.initial_resource_versions.update(has or {})
        await self.stream.write(request)

    async def next(self) -> tuple[DeltaDiscoveryResponse, set[str], set[str]]:
        response = await asyncio.wait_for(self.stream.read(), 5)
        return response, {r.name for r in response.resources}, set(response.removed_resources)

    async def answer(self, response: DeltaDiscoveryResponse, error: str = "") -> None:
        request = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        if error:
            request.error_detail.message = error
        await self.stream.write(request)

    async def accept(self) -> tuple[set[str], set[str]]:
        response, sent, removed = await self.next()
        await self.answer(response)
        return sent, removed


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[AdsServer]:
    made = AdsServer(tmp_path / "ads.sock")
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def client(server: AdsServer) -> AsyncIterator[Client]:
    async with grpc.aio.insecure_channel(f"unix:{server.socket}") as channel:
        yield Client(channel)


def content(text: str) -> Encoded:
    return Encoded(text.encode(), text)


async def test_the_first_answer_comes_even_when_there_is_nothing(server: AdsServer, client: Client) -> None:
    await client.subscribe(CLUSTER)
    assert await client.accept() == (set(), set())


async def test_only_what_changed_is_sent(server: AdsServer, client: Client) -> None:
    for name in ("a", "b", "c"):
        server.set((CLUSTER, name), content("1"))
    await client.subscribe(CLUSTER)
    assert (await client.accept())[0] == {"a", "b", "c"}
    server.set((CLUSTER, "a"), content("1"))
    server.set((CLUSTER, "b"), content("2"))
    assert (await client.accept())[0] == {"b"}
    assert not (await server.settle([(CLUSTER, n) for n in "abc"], 5)).refusals


async def test_settle_waits_for_the_acknowledgement(server: AdsServer, client: Client) -> None:
    await client.subscribe(CLUSTER)
    await client.accept()
    server.set((CLUSTER, "a"), content("1"))
    waiting = asyncio.create_task(server.settle([(CLUSTER, "a")], 5))
    response, _, _ = await client.next()
    assert not waiting.done()
    await client.answer(response)
    assert (await waiting).refusals == ()


async def test_a_refused_batch_is_sent_one_by_one(server: AdsServer, client: Client) -> None:
    await client.subscribe(CLUSTER)
    await client.accept()
    server.set((CLUSTER, "first"), content("1"))
    response, _, _ = await client.next()
    for name in ("a", "bad", "c"):
        server.set((CLUSTER, name), content("1"))
    await client.answer(response)
    response, sent, _ = await client.next()
    assert sent == {"a", "bad", "c"}
    await client.answer(response, "no")
    for _ in range(3):
        response, sent, _ = await client.next()
        await client.answer(response, "bad one" if sent == {"bad"} else "")
    settled = await server.settle([(CLUSTER, n) for n in ("a", "bad", "c")], 5)
    assert [(r.key[1], r.message) for r in settled.refusals] == [("bad", "bad one")]
    server.set((CLUSTER, "bad"), content("1"))  # the same again: somebody freed the port
    assert (await client.accept())[0] == {"bad"}
    assert (await server.settle([(CLUSTER, "bad")], 5)).refusals == ()


async def test_nothing_is_withdrawn_before_the_release(server: AdsServer, client: Client) -> None:
    server.set((CLUSTER, "kept"), content("1"))
    await client.subscribe(CLUSTER, has={"kept": "1", "unknown": "1", "deleted": "1"})
    assert await client.accept() == (set(), set())
    server.unset((CLUSTER, "deleted"))
    assert await client.accept() == (set(), {"deleted"})
    server.release(CLUSTER)
    assert await client.accept() == (set(), {"unknown"})


async def test_named_types_are_sent_when_they_are_asked_for(server: AdsServer, client: Client) -> None:
    server.set((ENDPOINTS, "a"), content("1"))
    server.set((ENDPOINTS, "b"), content("1"))
    await client.subscribe(ENDPOINTS, "b")
    assert (await client.accept())[0] == {"b"}
    await client.subscribe(ENDPOINTS, "later")
    server.set((ENDPOINTS, "later"), content("1"))
    assert (await client.accept())[0] == {"later"}


async def test_endpoints_follow_a_cluster_that_changed(server: AdsServer, client: Client) -> None:
    server.set((CLUSTER, "a"), content("1"))
    server.set((ENDPOINTS, "a"), content("1"))
    await client.subscribe(CLUSTER)
    await client.accept()
    await client.subscribe(ENDPOINTS, "a")
    await client.accept()
    server.set((CLUSTER, "a"), content("2"))
    assert [(await client.next())[0].type_url for _ in range(2)] == [CLUSTER, ENDPOINTS]


async def test_without_envoy(server: AdsServer) -> None:
    server.set((CLUSTER, "a"), content("1"))
    with pytest.raises(ProxyUnavailable, match="not connected"):
        await server.settle([(CLUSTER, "a")], 0.01)
