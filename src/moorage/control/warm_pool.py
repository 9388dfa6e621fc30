"""Sandboxes made ahead: for every subnet in which tasks were started lately a few addresses are reserved and their
sandboxes started, so that a task that starts finds its network waiting (docs/design/engine.md has the measurements).

A pooled address is a NetworkInterface record owned by "pool"; taking it gives the record to the task. The pool is only
a convenience: whatever goes wrong with it, tasks start without it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable
from typing import Any, Protocol

from moorage.control.container_network import network_of
from moorage.control.starts_first import StartsFirst
from moorage.decide.ipam import private_dns_name
from moorage.domain.errors import MoorageError
from moorage.domain.network import NetworkInterface, Subnet
from moorage.engine.driver import LABEL_POOL, LABEL_TASK, Engine

log = logging.getLogger("moorage.warm_pool")

OWNER = "pool"
# Sandboxes kept in all, shared by the subnets in use: as many as one RunTask can ask for.
SIZE = 10
LEAST_PER_SUBNET = 3
# Warming competes with starting tasks for the engine: it begins when nothing is being started and nothing was for REST
# seconds, a few at a time, and waits no longer than LONGEST_REST in a storm of starts.
REST, LONGEST_REST = 0.5, 5.0
AT_ONCE = 2
# A subnet in which nothing was started for this long needs no pool.
IDLE = 600.0
_RETRY = 30.0
_TIDY_RETRY = 2.0

SubnetKey = tuple[str, str, str]


class Reserving(Protocol):
    """What the pool needs of the addresses: one more interface for `subnet`, one given back, whether there still is a
    record of one, and of a subnet, and whether nobody has an address of a subnet."""

    async def reserve(self, subnet: Subnet) -> NetworkInterface | None: ...

    async def give_back(self, interface: NetworkInterface) -> None: ...

    def holds(self, interface: NetworkInterface) -> bool: ...

    def is_there(self, subnet: Subnet) -> bool: ...

    def is_unused(self, subnet: Subnet) -> bool: ...


class WarmPool:
    def __init__(self, engine: Engine, reserving: Reserving, starts: StartsFirst, *, size: int = SIZE) -> None:
        self._engine = engine
        self._reserving = reserving
        self._size = size
        self._ready: dict[SubnetKey, list[NetworkInterface]] = {}
        self._filling: dict[SubnetKey, asyncio.Task[None]] = {}
        self._idle: dict[SubnetKey, asyncio.TimerHandle] = {}
        self._background: set[asyncio.Task[None]] = set()
        self._taken: set[str] = set()
        self._spared: set[str] = set()
        """Addresses whose sandbox a task has claimed since the engine was last asked for its list."""
        self._warming: dict[str, str] = {}
        self._leaving: dict[str, NetworkInterface] = {}
        self._left: dict[SubnetKey, Subnet] = {}
        """Subnets without a pool whose network goes with the last address."""
        self._untidy = False
        self._tidying: asyncio.Task[None] | None = None
        self._later: asyncio.TimerHandle | None = None
        self._closed = False
        self._starts = starts

    def take(self, subnet: Subnet) -> NetworkInterface | None:
        """A reserved interface whose sandbox runs, or None."""
        ready = self._ready.get(key_of(subnet))
        if not ready:
            return None
        interface = ready.pop(0)
        self._taken.add(interface.ipv4)
        return interface

    def put_back(self, subnet: Subnet, interface: NetworkInterface) -> None:
        """The taking transaction failed."""
        self._taken.discard(interface.ipv4)
        self._ready.setdefault(key_of(subnet), []).insert(0, interface)

    def used(self, subnet: Subnet) -> None:
        """A task was started in this subnet: keep its pool filled for a while."""
        if self._closed or self._size <= 0 or not self._reserving.is_there(subnet):
            return
        key = key_of(subnet)
        self._left.pop(key, None)
        loop = asyncio.get_running_loop()
        self._starts.noted()
        timer = self._idle.pop(key, None)
        if timer is not None:
            timer.cancel()
        self._idle[key] = loop.call_later(IDLE, self._drain_later, subnet)
        if key not in self._filling:
            job = loop.create_task(self._fill(subnet, key), name=f"warm:{subnet.subnet_id}")
            self._filling[key] = job
            job.add_done_callback(lambda _: self._filling.pop(key, None))

    def claimed(self, ipv4: str) -> None:
        """The task that took this address has its sandbox now, or has ended without it."""
        self._taken.discard(ipv4)
        self._spared.add(ipv4)

    def seen(self, ipv4: str) -> None:
        """A sandbox of the pool is there: an earlier process may have ordered it, and nobody waits for it any more."""
        if not self._is_held(ipv4):
            self.tidy()

    def forget(self, interface: NetworkInterface) -> None:
        """The record is gone (state reset): so goes the sandbox, unless a task took it before."""
        if self._warming.get(interface.ipv4) == interface.interface_id:
            del self._warming[interface.ipv4]
        self._leaving.pop(interface.interface_id, None)
        if interface.ipv4 in self._taken:
            # The task that took it is gone before it said whether it has the sandbox.
            self._taken.discard(interface.ipv4)
            self.tidy()
        ready = self._ready.get((interface.account, interface.region, interface.subnet_id), [])
        if any(one.interface_id == interface.interface_id for one in ready):
            ready[:] = [one for one in ready if one.interface_id != interface.interface_id]
            self.tidy()
        subnet = self._left.get((interface.account, interface.region, interface.subnet_id))
        if subnet is not None and self._reserving.is_unused(subnet):
            self.tidy()

    def clear(self, leftover: list[NetworkInterface], taken: Iterable[str]) -> None:
        """At the start: what an earlier process kept warm is given back; it is warmed again when it is needed. `taken`:
        addresses of tasks that have no sandbox yet."""
        self._taken.update(taken)
        self._leave(leftover)

    async def close(self) -> None:
        self._closed = True
        for timer in (*self._idle.values(), *([self._later] if self._later is not None else ())):
            timer.cancel()
        jobs = [*self._filling.values(), *self._background]
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)

    # --- in the background -------------------------------------------------------------------------------------------
    async def _fill(self, subnet: Subnet, key: SubnetKey) -> None:
        ready = self._ready.setdefault(key, [])
        await self._rest()
        # The list is replaced when the subnet is deleted or given up meanwhile.
        while self._ready.get(key) is ready and (missing := self._share() - len(ready)) > 0:
            done = await asyncio.gather(*(self._warm_one(subnet, ready) for _ in range(min(missing, AT_ONCE))))
            if not all(done):
                await asyncio.sleep(_RETRY)
                return
            await self._rest()

    def _share(self) -> int:
        """What one subnet keeps: 10 alone, 5 of two, 3 of four."""
        return min(self._size, max(LEAST_PER_SUBNET, self._size // max(1, len(self._idle))))

    async def _rest(self) -> None:
        await self._starts.passed(rest=REST, longest=LONGEST_REST)

    async def _warm_one(self, subnet: Subnet, ready: list[NetworkInterface]) -> bool:
        try:
            interface = await self._reserving.reserve(subnet)
            if interface is None or not self._reserving.holds(interface):
                return False  # no address, or gone again with the whole state before we heard of it
            self._warming[interface.ipv4] = interface.interface_id
            try:
                await self._engine.warm(
                    network_of(subnet), interface.ipv4, interface.mac, private_dns_name(interface.ipv4, subnet.region)
                )
            except MoorageError:
                # It may have been made without our hearing of it.
                if self._warming.pop(interface.ipv4, None) == interface.interface_id:
                    self._leave([interface])
                raise
        except MoorageError as error:
            log.info("the pool of %s is not filled now: %s", subnet.subnet_id, error)
            return False
        if self._warming.get(interface.ipv4) != interface.interface_id:
            # Its record went meanwhile (state reset): nobody holds the sandbox.
            self.tidy()
            return False
        del self._warming[interface.ipv4]
        if self._ready.get(key_of(subnet)) is not ready:
            self._leave([interface])
            return False
        ready.append(interface)
        return True

    def _drain_later(self, subnet: Subnet) -> None:
        key = key_of(subnet)
        self._idle.pop(key, None)
        self.abandoned(subnet)
        self._leave(self._ready.pop(key, []))

    def abandoned(self, subnet: Subnet) -> None:
        """Nothing is started there any more: when the last address has gone, its network goes."""
        self._left[key_of(subnet)] = subnet

    def left(self, subnet: Subnet) -> None:
        """A load balancer has left it: unless tasks are started there, its network goes with the last address."""
        if key_of(subnet) not in self._idle:
            self.abandoned(subnet)
            self.tidy()

    def deleted(self, subnet: Subnet) -> None:
        """There is no such subnet any more: its network goes with what is still in it."""
        timer = self._idle.get(key_of(subnet))
        if timer is not None:
            timer.cancel()
        self._drain_later(subnet)

    def _leave(self, interfaces: Iterable[NetworkInterface]) -> None:
        """Gives the addresses back, but not before their sandboxes are gone: a task that got such an address meanwhile
        would take the sandbox over and lose it."""
        self._leaving |= {interface.interface_id: interface for interface in interfaces}
        self.tidy()

    def tidy(self) -> None:
        """Removes, as soon as the engine answers, the pool's sandboxes whose address nobody holds."""
        self._untidy = True
        if self._tidying is None and not self._closed:
            self._tidying = self._spawn(self._tidy())

    async def _tidy(self) -> None:
        try:
            while self._untidy:
                self._untidy = False
                self._spared.clear()
                leaving = list(self._leaving.values())
                try:
                    for one in await self._engine.list():
                        pooled = one.labels.get(LABEL_POOL)
                        if pooled is not None and LABEL_TASK not in one.labels and not self._is_held(pooled):
                            await self._engine.remove_sandbox(one.id)
                    for interface in leaving:
                        await self._reserving.give_back(interface)
                        self._leaving.pop(interface.interface_id, None)
                    await self._remove_networks()
                except MoorageError as error:
                    log.debug("pooled sandboxes stay for now: %s", error)
                    self._untidy = True
                    await asyncio.sleep(_TIDY_RETRY)
        finally:
            self._tidying = None

    async def _remove_networks(self) -> None:
        """A network that is wanted again at this very moment is made again by whoever needs it."""
        unused = [subnet for subnet in self._left.values() if self._reserving.is_unused(subnet)]
        if not unused:
            return
        used = await self._engine.remove_networks(only=[network_of(subnet).name for subnet in unused])
        for subnet in unused:
            if network_of(subnet).name in used:  # its last sandbox is about to go
                self._again_later()
            elif self._reserving.is_unused(subnet):
                self._left.pop(key_of(subnet), None)

    def _again_later(self) -> None:
        if self._later is None and not self._closed:
            self._later = asyncio.get_running_loop().call_later(_TIDY_RETRY, self._again)

    def _again(self) -> None:
        self._later = None
        self.tidy()

    def _is_held(self, ipv4: str) -> bool:
        if ipv4 in self._taken or ipv4 in self._warming or ipv4 in self._spared:
            return True
        return any(one.ipv4 == ipv4 for ready in self._ready.values() for one in ready)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        job = asyncio.get_running_loop().create_task(work, name="warm pool")
        self._background.add(job)
        job.add_done_callback(self._background.discard)
        return job


def key_of(subnet: Subnet) -> SubnetKey:
    return (subnet.account, subnet.region, subnet.subnet_id)
