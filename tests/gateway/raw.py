"""Plain HTTP against a running gateway, for requests that no client library would send."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from yarl import URL

TARGET = "AmazonEC2ContainerServiceV20141113."


def signed(service: str = "ecs", region: str = "eu-west-1", key: str = "test") -> dict[str, str]:
    scope = f"{key}/20260101/{region}/{service}/aws4_request"
    return {"Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host, Signature=0"}


def ecs_headers(operation: str, **more: str) -> dict[str, str]:
    return {
        **signed(),
        "X-Amz-Target": TARGET + operation,
        "Content-Type": "application/x-amz-json-1.1",
        **{name.replace("_", "-"): value for name, value in more.items()},
    }


class Answer:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self) -> str:
        return self.body.decode()


class Raw:
    def __init__(self, gateway: Any, session: aiohttp.ClientSession) -> None:
        self._base = f"http://127.0.0.1:{gateway.port}"
        self._session = session

    async def send(self, method: str = "POST", path: str = "/", **options: Any) -> Answer:
        async with self._session.request(method, URL(self._base + path, encoded=True), **options) as answer:
            return Answer(answer.status, answer.headers, await answer.read())

    async def ecs(self, operation: str, body: bytes = b"{}", **more: str) -> Answer:
        return await self.send(headers=ecs_headers(operation, **more), data=body)


@asynccontextmanager
async def raw(gateway: Any) -> AsyncIterator[Raw]:
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield Raw(gateway, session)
