"""The control plane of the simulated world: the real parts, put together as the application does, and its sudden end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from moorage.control.adoption import Adoption
from moorage.control.load_balancers import LoadBalancersController
from moorage.control.ports import PassThroughImages
from moorage.control.prober import Prober
from moorage.control.service import ServiceController
from moorage.control.targets import TargetsController
from moorage.control.task import TaskController
from moorage.domain.clock import Clock, Ids
from moorage.engine.driver import Engine
from moorage.proxy.driver import Proxy
from moorage.services.base import Handler, RequestContext
from moorage.services.ecs import EcsProvider
from moorage.services.elbv2.provider import ElbV2Provider
from moorage.services.lookups import NetworkLookup
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables import ecs, elbv2, network

TABLES = (*ecs.TABLES, *elbv2.TABLES, *network.TABLES)


class ControlPlane:
    def __init__(self, store: Store, log: MemoryLog) -> None:
        self.store = store
        self.log = log
        self.services: ServiceController
        self.tasks: TaskController
        self.handlers: dict[tuple[str, str], Handler] = {}
        self._closing: list[Any] = []
        self._calls: set[asyncio.Task[Any]] = set()

    @classmethod
    async def start(
        cls,
        log: MemoryLog,
        clock: Clock,
        ids: Ids,
        engine: Engine,
        proxy: Proxy,
        prober: Prober,
        networks: NetworkLookup,
    ) -> ControlPlane:
        store = await Store.open(log, TABLES, verify=True)
        plane = cls(store, log)
        for provider in (EcsProvider(store, clock, ids, networks), ElbV2Provider(store, clock, ids, networks)):
            for operation, handler in provider.handlers().items():
                plane.handlers[provider.service, operation] = handler
        targets = TargetsController(store, clock, prober, proxy)
        balancers = LoadBalancersController(store, clock, proxy, targets)
        plane.tasks = TaskController(store, clock, ids, engine, PassThroughImages())
        plane.services = ServiceController(store, clock, ids)
        adoption = Adoption(store, clock, engine, plane.tasks.steps)
        plane._closing = [adoption, plane.services, plane.tasks, balancers, targets]
        # As the application does: what runs is adopted before anybody decides that something is missing.
        await targets.start()
        await balancers.start()
        plane.tasks.start()
        adoption.start()
        plane.services.start()
        return plane

    async def call(self, context: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        """Runs one operation; `asyncio.CancelledError` becomes a broken connection when the plane dies meanwhile."""
        handler = self.handlers[context.service, context.operation]
        call = asyncio.ensure_future(_answer(handler, context, request))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        await asyncio.wait({call})
        if call.cancelled():
            raise ConnectionResetError("the control plane went away before it answered")
        return call.result()

    async def kill(self) -> None:
        """From this moment nothing becomes durable any more; then every coroutine of the plane is cancelled."""
        self.log.crash()
        self.store.kill()
        for call in [*self._calls]:
            call.cancel()
        for part in self._closing:
            await part.close()


async def _answer(handler: Handler, context: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
    answer: Mapping[str, Any] | None = await handler(context, request)
    return dict(answer or {})
