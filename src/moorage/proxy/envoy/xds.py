"""The control plane side of Envoy's incremental (delta) ADS: one gRPC stream on a unix socket, resources by name.

Decides what is sent, when, and what counts as "in use". It knows names, bytes and versions, not what they mean.

- Only what changed is sent, so a change costs the same whatever else exists. A version is the hash of the content: after
  a restart of the control plane Envoy says which versions it has, and nothing is sent that it holds already.
- Nothing is withdrawn before `release()`: a control plane that has just come back does not know everything yet.
- At most one response per type is under way; what changes meanwhile is sent together in the next one. A refused batch is
  sent again one by one, so that a refusal names its resource and the others are taken.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import msgspec
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse

from moorage.proxy.driver import ProxyUnavailable
from moorage.proxy.envoy.encode import CLUSTER, ENDPOINTS, ROUTES, SECRET, Encoded

log = logging.getLogger("moorage.proxy")

Key = tuple[str, str]
"""(type URL, name)"""

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
NAMED = frozenset({ENDPOINTS, ROUTES, SECRET})
"""Types that Envoy asks for by name; all others it takes whole."""

LARGEST_MESSAGE = 64 * 1024 * 1024


class Refusal(msgspec.Struct, frozen=True):
    """Envoy refused this version of a resource with this message."""

    key: Key
    version: str
    message: str


class Settled(msgspec.Struct, frozen=True):
    """What became of the keys that were waited for: in use, or refused."""

    refusals: tuple[Refusal, ...] = ()


class AdsServer:
    """`socket`: path of the unix socket. One client at a time: of the processes that took over from one another the last
    one counts, and its newest stream."""

    def __init__(self, socket: Path, also: Sequence[grpc.GenericRpcHandler] = ()) -> None:
        """`also`: what else Envoy asks on this socket."""
        self.socket = socket
        self._also = tuple(also)
        self.last_refusal: Refusal | None = None
        self.least_epoch = 0
        """Of the process that serves: earlier ones only drain."""
        self._desired: dict[str, dict[str, Encoded]] = {}
        self._removed: set[Key] = set()
        self._refused: dict[Key, Refusal] = {}
        self._released = False
        self._session: _Session | None = None
        self._waiting: dict[Key, set[asyncio.Future[None]]] = {}
        self._server: grpc.aio.Server | None = None

    @property
    def connected(self) -> bool:
        return self._session is not None

    async def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        server = grpc.aio.server(options=[("grpc.max_receive_message_length", LARGEST_MESSAGE)])
        handler = grpc.stream_stream_rpc_method_handler(
            self._serve,
            request_deserializer=DeltaDiscoveryRequest.FromString,
            response_serializer=DeltaDiscoveryResponse.SerializeToString,
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {"DeltaAggregatedResources": handler}), *self._also)
        )
        server.add_insecure_port(f"unix:{self.socket}")
        await server.start()
        self._server = server

    async def close(self) -> None:
        """Leaves; Envoy serves on and looks for the next control plane."""
        if self._server is not None:
            await self._server.stop(None)
            self._server = None
        self._session = None
        self.socket.unlink(missing_ok=True)
        for futures in list(self._waiting.values()):
            for future in futures:
                future.cancel()

    def set(self, key: Key, resource: Encoded) -> None:
        """Wants this content. A refused resource is tried again."""
        type_url, name = key
        of_type = self._desired.setdefault(type_url, {})
        again = self._refused.pop(key, None) is not None
        if not again and of_type.get(name) == resource:
            return
        of_type[name] = resource
        self._removed.discard(key)
        if self._session is not None:
            self._session.touch(type_url, (name,))
        self._tell(key)

    def unset(self, key: Key) -> None:
        type_url, name = key
        self._desired.get(type_url, {}).pop(name, None)
        self._refused.pop(key, None)
        self._removed.add(key)
        if self._session is not None:
            self._session.touch(type_url, (name,))
        self._tell(key)

    def names(self, type_url: str) -> tuple[str, ...]:
        """What is wanted of a type, in the order it came."""
        return tuple(self._desired.get(type_url, ()))

    def held(self, type_url: str) -> tuple[str, ...]:
        """What Envoy has of a type."""
        return tuple(self._session.has(type_url)) if self._session is not None else ()

    def release(self, type_url: str) -> None:
        """From now on Envoy may forget what is not wanted; of this type it does at once."""
        self._released = True
        if self._session is not None:
            self._session.touch(type_url, self._session.has(type_url))

    async def settle(self, keys: Iterable[Key], timeout: float) -> Settled:
        """Waits until Envoy uses what is wanted of `keys` (or has forgotten what was unset), or has refused it.
        Raises ProxyUnavailable after `timeout` seconds."""
        keys = tuple(keys)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        for key in keys:
            while not self._is_settled(key):
                future: asyncio.Future[None] = loop.create_future()
                self._waiting.setdefault(key, set()).add(future)
                try:
                    async with asyncio.timeout_at(deadline):
                        await future
                except TimeoutError:
                    raise self._unavailable(key, timeout) from None
                finally:
                    waiting = self._waiting.get(key, set())
                    waiting.discard(future)
                    if not waiting:
                        self._waiting.pop(key, None)
        return Settled(tuple(self._refused[key] for key in keys if key in self._refused))

    def desired(self, key: Key) -> Encoded | None:
        return self._desired.get(key[0], {}).get(key[1])

    def may_forget(self, key: Key) -> bool:
        return self._released or key in self._removed

    def wanted(self, type_url: str) -> dict[str, Encoded]:
        return self._desired.get(type_url, {})

    def accepted(self, type_url: str, names: Iterable[str]) -> None:
        for name in names:
            self._refused.pop((type_url, name), None)
            self._tell((type_url, name))

    def refused(self, refusal: Refusal) -> None:
        wanted = self.desired(refusal.key)
        self.last_refusal = refusal
        if wanted is not None and wanted.version == refusal.version:
            self._refused[refusal.key] = refusal
        log.warning("Envoy refused %s: %s", refusal.key[1], refusal.message)
        self._tell(refusal.key)

    def _is_settled(self, key: Key) -> bool:
        if key in self._refused:
            return True
        if self._session is None:
            return False
        has = self._session.has(key[0]).get(key[1])
        wanted = self.desired(key)
        if wanted is None:
            return has is None or not self.may_forget(key)
        return has == wanted.version

    def tell_all(self) -> None:
        """Envoy has said what it holds: whoever waits looks again."""
        for key in tuple(self._waiting):
            self._tell(key)

    def _tell(self, key: Key) -> None:
        for future in self._waiting.get(key, ()):
            if not future.done():
                future.set_result(None)

    def _unavailable(self, key: Key, timeout: float) -> ProxyUnavailable:
        if self._session is None:
            return ProxyUnavailable("Envoy is not connected", "it may be starting", "Look at `moor status`", delay=1.0)
        why = f"it did not take {key[1]} into use within {timeout:g} s"
        return ProxyUnavailable("Envoy does not answer", why, "Look at envoy.log in the data directory", delay=1.0)

    def admit(self, session: _Session, epoch: int) -> bool:
        """A process that was replaced and only drains looks for a returning control plane too: it does not count."""
        if epoch < self.least_epoch or (self._session is not None and self._session.epoch > epoch):
            return False
        session.epoch = epoch
        self._session = session
        return True

    async def _serve(
        self, requests: AsyncIterator[DeltaDiscoveryRequest], context: Any
    ) -> AsyncIterator[DeltaDiscoveryResponse]:
        session = _Session(self)
        reader = asyncio.create_task(session.read(requests))
        try:
            while (response := await session.outgoing.get()) is not None:
                yield response
        finally:
            reader.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reader
            if self._session is session:
                self._session = None


class _TypeState:
    """What one stream knows of one type. `has`: name → version that Envoy uses."""

    def __init__(self) -> None:
        self.started = False
        self.subscribed: set[str] = set()
        self.has: dict[str, str] = {}
        self.dirty: dict[str, None] = {}
        self.alone: dict[str, None] = {}
        self.anew: set[str] = set()
        self.nonce = ""
        self.under_way: dict[str, str | None] = {}


class _Session:
    def __init__(self, server: AdsServer) -> None:
        self.outgoing: asyncio.Queue[DeltaDiscoveryResponse | None] = asyncio.Queue()
        self.epoch = 0
        self._admitted: bool | None = None
        self._server = server
        self._types: dict[str, _TypeState] = {}
        self._count = 0

    def has(self, type_url: str) -> dict[str, str]:
        state = self._types.get(type_url)
        return {} if state is None else state.has

    def touch(self, type_url: str, names: Iterable[str], *, anew: bool = False) -> None:
        """These names may have to be sent; with `anew` even if Envoy has them."""
        state = self._types.get(type_url)
        if state is None or not state.started:
            return
        names = tuple(names)
        state.dirty.update(dict.fromkeys(names))
        if anew:
            state.anew.update(names)
        self._pump(type_url, state)

    async def read(self, requests: AsyncIterator[DeltaDiscoveryRequest]) -> None:
        try:
            async for request in requests:
                self._on_request(request)
        except Exception:
            log.exception("the stream of Envoy broke")
        finally:
            self.outgoing.put_nowait(None)

    def _on_request(self, request: DeltaDiscoveryRequest) -> None:
        if self._admitted is None:
            # the node comes with the first message only
            self._admitted = self._server.admit(self, int(request.node.metadata.fields["epoch"].number_value))
        if not self._admitted:
            return
        type_url = request.type_url
        state = self._types.setdefault(type_url, _TypeState())
        if request.response_nonce and request.response_nonce == state.nonce:
            self._on_answer(type_url, state, request)
        first = not state.started
        if first:
            state.started = True
            state.has.update(request.initial_resource_versions)
        self._on_subscription(type_url, state, request, first=first)
        if first and type_url not in NAMED:
            state.dirty.update(dict.fromkeys([*self._server.wanted(type_url), *state.has]))
            # an empty first answer tells a fresh Envoy not to wait for more
            self._pump(type_url, state, even_empty=True)
        else:
            self._pump(type_url, state)
        if first:
            self._server.tell_all()

    def _on_subscription(
        self, type_url: str, state: _TypeState, request: DeltaDiscoveryRequest, *, first: bool
    ) -> None:
        names = [name for name in request.resource_names_subscribe if name != "*"]
        for name in names:
            if name not in request.initial_resource_versions:
                state.has.pop(name, None)
        for name in request.resource_names_unsubscribe:
            state.subscribed.discard(name)
            state.has.pop(name, None)
        state.subscribed.update(names)
        if "*" in request.resource_names_unsubscribe or ("*" in request.resource_names_subscribe and not first):
            # the last user of the type went, or the first one came: Envoy holds nothing of it
            state.has.clear()
            state.dirty.update(dict.fromkeys(self._server.wanted(type_url)))
        if type_url in NAMED:
            state.dirty.update(dict.fromkeys(names))
            if first:
                state.subscribed.update(state.has)
                state.dirty.update(dict.fromkeys(state.has))

    def _on_answer(self, type_url: str, state: _TypeState, request: DeltaDiscoveryRequest) -> None:
        under_way, state.under_way, state.nonce = state.under_way, {}, ""
        if not request.HasField("error_detail"):
            for name, version in under_way.items():
                if version is None:
                    state.has.pop(name, None)
                else:
                    state.has[name] = version
            self._server.accepted(type_url, under_way)
        elif len(under_way) > 1:
            state.alone.update(dict.fromkeys(under_way))
        else:
            for name, version in under_way.items():
                self._server.refused(Refusal((type_url, name), version or "", request.error_detail.message))

    def _pump(self, type_url: str, state: _TypeState, *, even_empty: bool = False) -> None:
        if state.nonce:
            return
        response = DeltaDiscoveryResponse(type_url=type_url)
        while not state.under_way and (state.alone or state.dirty):
            for name in self._next_batch(state):
                self._add(type_url, state, name, response)
        if not state.under_way and not even_empty:
            return
        self._count += 1
        state.nonce = response.nonce = str(self._count)
        self.outgoing.put_nowait(response)
        if type_url == CLUSTER:
            # a cluster that changed waits for its endpoints, but does not ask for them
            self.touch(ENDPOINTS, [name for name, version in state.under_way.items() if version], anew=True)

    def _next_batch(self, state: _TypeState) -> list[str]:
        if state.alone:
            name = next(iter(state.alone))
            del state.alone[name]
            state.dirty.pop(name, None)
            return [name]
        names = list(state.dirty)
        state.dirty.clear()
        return names

    def _add(self, type_url: str, state: _TypeState, name: str, response: DeltaDiscoveryResponse) -> None:
        key = (type_url, name)
        wanted = self._server.desired(key)
        if type_url in NAMED and name not in state.subscribed:
            return
        if wanted is None:
            # Envoy drops routes and endpoints by itself, with the listener or cluster that uses them
            if self._server.may_forget(key) and name in state.has and type_url not in NAMED:
                response.removed_resources.append(name)
                state.under_way[name] = None
            return
        if state.has.get(name) == wanted.version and name not in state.anew:
            self._server.accepted(type_url, (name,))
            return
        state.anew.discard(name)
        resource = response.resources.add(name=name, version=wanted.version)
        resource.resource.type_url = type_url
        resource.resource.value = wanted.body
        state.under_way[name] = wanted.version
