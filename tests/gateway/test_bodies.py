"""Bodies: compressed, chunked, too large, waiting for a go-ahead, and streamed to a door."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from moorage.gateway import limits

from .raw import ecs_headers, raw
from .toys import ToyEcs, running

BODY = b'{"tasks": ["a"]}'


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def test_a_compressed_body() -> None:
    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        answer = await http.ecs("DescribeTasks", gzip.compress(BODY), Content_Encoding="gzip")
        assert json.loads(answer.body)["tasks"] == [{"taskArn": "a", "createdAt": 1_700_000_000.25}]
        answer = await http.ecs("DescribeTasks", b"not gzip", Content_Encoding="gzip")
        assert (answer.status, json.loads(answer.body)["__type"]) == (400, "SerializationException")


async def test_a_chunked_body() -> None:
    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        answer = await http.send(headers=ecs_headers("DescribeTasks"), data=chunks(BODY[:5], BODY[5:]))
        assert answer.status == 200


@pytest.mark.parametrize("how", ["plain", "chunked", "compressed"])
async def test_a_body_beyond_the_limit(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DEFAULT_LIMIT", 1000)
    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        headers = ecs_headers("DescribeTasks")
        body: bytes | AsyncIterator[bytes] = b" " * 2000
        if how == "chunked":
            body = chunks(b" " * 900, b" " * 900)
        elif how == "compressed":
            body, headers["Content-Encoding"] = gzip.compress(b" " * 2000), "gzip"
        answer = await http.send(headers=headers, data=body)
        assert answer.status == 413
        assert json.loads(answer.body)["__type"] == "RequestEntityTooLarge"


async def test_a_client_that_waits_for_a_go_ahead() -> None:
    async with running(ToyEcs()) as gateway:
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        headers = {
            **ecs_headers("DescribeTasks"),
            "Expect": "100-continue",
            "Content-Length": str(len(BODY)),
            "Host": "x",
        }
        writer.write(("POST / HTTP/1.1\r\n" + "".join(f"{k}: {v}\r\n" for k, v in headers.items()) + "\r\n").encode())
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(BODY)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        writer.close()


async def test_a_door_streams_a_large_upload() -> None:
    sizes: list[int] = []

    async def upload(request: web.BaseRequest) -> web.StreamResponse:
        sizes.append(0)
        async for chunk in request.content.iter_any():
            sizes[-1] += len(chunk)
        return web.Response(status=201)

    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        gateway.add_route("/v2/", upload)
        part = b"x" * (1 << 20)
        answer = await http.send("PATCH", "/v2/name/blobs/uploads/1", data=chunks(*[part] * 20))
        assert answer.status == 201
        assert sizes == [20 << 20]


@pytest.mark.parametrize("framing", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_a_client_that_leaves_in_the_middle_is_no_error_of_ours(
    framing: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        _reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        headers = "".join(f"{name}: {value}\r\n" for name, value in ecs_headers("ListClusters").items())
        writer.write(f"POST / HTTP/1.1\r\nHost: x\r\n{headers}{framing}\r\n\r\n5\r\nab".encode())
        await writer.drain()
        writer.transport.abort()
        assert (await http.ecs("ListClusters")).status == 200
    assert not caplog.records
