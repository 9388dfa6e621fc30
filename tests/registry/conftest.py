"""A registry that really listens, on a store that forgets nothing."""

from __future__ import annotations

import base64
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest_asyncio
from aiohttp import web

from moorage.domain.clock import Ids
from moorage.domain.ecr import Repository, repository_arn
from moorage.domain.scope import Scope
from moorage.registry.registry import Registry
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables.ecr import REPOSITORIES, TABLES

SCOPE = Scope("111122223333", "eu-west-1")


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class HandClock:
    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self.time = now

    def now(self) -> float:
        return self.time


class Served:
    """A listening registry with its store, its clock and an HTTP session that carries a token of `SCOPE`."""

    def __init__(self, registry: Registry, store: Store, clock: HandClock, session: aiohttp.ClientSession) -> None:
        self.registry = registry
        self.store = store
        self.clock = clock
        self.session = session

    @property
    def url(self) -> str:
        return f"http://localhost:{self.registry.port}"

    async def create(self, name: str, scope: Scope = SCOPE, **settings: object) -> Repository:
        record = Repository(
            arn=repository_arn(scope, name),
            account=scope.account,
            region=scope.region,
            name=name,
            created_at=self.clock.now(),
            **settings,  # type: ignore[arg-type]
        )
        return await self.store.update(lambda tx: tx.put(REPOSITORIES, record))


@contextlib.asynccontextmanager
async def serve(data_dir: Path) -> AsyncIterator[Served]:
    store = await Store.open(MemoryLog(), TABLES, verify=True)
    clock = HandClock()
    registries: list[Registry] = []

    async def dispatch(request: web.BaseRequest) -> web.StreamResponse:
        return await registries[0].handle(request)

    server = web.Server(dispatch)
    runner = web.ServerRunner(server)
    await runner.setup()
    site = web.TCPSite(runner, "localhost", 0)
    await site.start()
    port = runner.addresses[0][1]
    registry = Registry(data_dir, store, clock, Ids(7), port=port)
    registries.append(registry)
    headers = {"Authorization": basic("AWS", registry.token(SCOPE))}
    async with aiohttp.ClientSession(f"http://localhost:{port}", headers=headers) as session:
        yield Served(registry, store, clock, session)
    await registry.close()
    await runner.cleanup()
    await store.close()


@pytest_asyncio.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    async with serve(tmp_path) as it:
        yield it
