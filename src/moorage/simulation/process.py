"""One life of the control plane's process in the simulated world: the real parts around one store, and a sudden end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any, TypeVar

from moorage.control.plane import ControlPlane
from moorage.control.ports import PassThroughImages
from moorage.control.prober import Prober
from moorage.domain.clock import Clock, Ids
from moorage.domain.scope import Scope
from moorage.engine.driver import Engine
from moorage.proxy.driver import Proxy
from moorage.services.base import Handler, RequestContext
from moorage.services.ecs import EcsProvider
from moorage.services.elbv2.provider import ElbV2Provider
from moorage.services.lookups import NetworkLookup
from moorage.simulation.alarms import SimulatedAlarms
from moorage.simulation.host_groups import SimulatedHostGroups
from moorage.simulation.mortal import Life, reached_by
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables import codedeploy, ecr, ecs, elbv2, network
from moorage.wire.errors import unknown_operation

T = TypeVar("T")
TABLES = (*ecs.TABLES, *codedeploy.TABLES, *elbv2.TABLES, *ecr.TABLES, *network.TABLES)


class _Calls:
    """What controllers call, answered by the same handlers."""

    def __init__(self, handlers: Mapping[str, Handler], ids: Ids) -> None:
        self._handlers = handlers
        self._ids = ids

    async def call(
        self, scope: Scope, service: str, operation: str, params: Mapping[str, Any], *, principal: str = ""
    ) -> Mapping[str, Any]:
        root = f"arn:aws:iam::{scope.account}:root"
        context = RequestContext(
            scope.account, scope.region, service, operation, self._ids.uuid(), "", principal or root
        )
        handler = self._handlers.get(f"{service}:{operation}")
        if handler is None:
            raise unknown_operation(service, operation, query=False)
        return dict(await handler(context, dict(params)) or {})


class Process:
    """`open` and `begin` are its start: in between it answers calls already, as behind the open port of the server. `kill`
    is `kill -9`, at any moment, also in the middle of `begin`."""

    def __init__(
        self, store: Store, log: MemoryLog, plane: ControlPlane, handlers: Mapping[str, Handler], life: Life
    ) -> None:
        self.store = store
        self.log = log
        self.plane = plane
        self._handlers = handlers
        self._life = life
        self._calls: set[asyncio.Task[Any]] = set()

    @classmethod
    async def start(cls, *arguments: Any, **settings: Any) -> Process:
        """Returns when the control plane has started; arguments of `open`."""
        process = await cls.open(*arguments, **settings)
        await process.begin()
        return process

    @classmethod
    async def open(
        cls,
        log: MemoryLog,
        clock: Clock,
        ids: Ids,
        engine: Engine,
        proxy: Proxy,
        prober: Prober,
        networks: NetworkLookup,
        *,
        alarms: SimulatedAlarms | None = None,
        groups: SimulatedHostGroups | None = None,
        verify: bool = True,
    ) -> Process:
        """`verify`: every record is read back before it is written (see `Store`)."""
        life = Life()
        store = await Store.open(log, TABLES, verify=verify)
        handlers: dict[str, Handler] = {}
        ecs_api = EcsProvider(store, clock, ids, networks, alarms=alarms, groups=groups)
        for provider in (ecs_api, ElbV2Provider(store, clock, ids, networks)):
            handlers |= {f"{provider.service}:{name}": handler for name, handler in provider.handlers().items()}
        plane = ControlPlane(
            store,
            clock,
            ids,
            engine=reached_by(life, engine),
            proxy=reached_by(life, proxy),
            prober=prober,
            images=PassThroughImages(),
            calls=_Calls(handlers, ids),
            alarms=alarms,
            groups=reached_by(life, groups) if groups is not None else None,
        )
        return cls(store, log, plane, handlers, life)

    async def begin(self) -> None:
        """The control loops start. Returns as well when the process dies meanwhile."""
        starting = asyncio.ensure_future(self.plane.start())
        self._calls.add(starting)
        starting.add_done_callback(self._calls.discard)
        await asyncio.wait({starting})
        if not starting.cancelled():
            starting.result()

    async def call(self, context: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        """Runs one operation. ConnectionResetError when the process dies before it has answered."""
        return await self.ask(self._answer(context, request))

    async def ask(self, question: Awaitable[T]) -> T:
        """The same for whatever else the process is asked to do."""
        call = asyncio.ensure_future(question)
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        await asyncio.wait({call})
        if call.cancelled():
            raise ConnectionResetError("the control plane went away before it answered")
        return call.result()

    async def _answer(self, context: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        answer = await self._handlers[f"{context.service}:{context.operation}"](context, request)
        assert self.log.is_settled(), f"{context.operation} was answered before it was durable"
        return dict(answer or {})

    @property
    def is_dead(self) -> bool:
        return self._life.is_over

    def die(self) -> None:
        """From this moment nothing becomes durable any more, nobody is answered, and the world is not reached."""
        self._life.is_over = True
        self.log.crash()
        self.store.kill()
        for call in [*self._calls]:
            call.cancel()

    async def kill(self) -> None:
        """Dies, if it has not yet; then every coroutine of the process is cancelled."""
        self.die()
        await self.plane.close()
