"""The network of the simulated world: subnets as EC2 would describe them, health checks, and the requests of users.

Both ask the simulated engine who listens. `Traffic` sends requests at a steady rate and remembers every answer that a
user would have complained about.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from moorage.control.prober import ProbeRequest, ProbeResult
from moorage.domain.clock import Clock
from moorage.domain.network import SecurityGroup, Subnet
from moorage.domain.scope import Scope
from moorage.engine.simulated import SimulatedEngine
from moorage.proxy.driver import Endpoint
from moorage.proxy.simulated import SimulatedProxy

SCOPE = Scope("000000000000", "us-east-1")
VPC = "vpc-1"
# A round trip on the wire.
TRIP = 0.001
# How often a load balancer tries another target when one refuses the connection.
TRIES = 3
IDLE_TIMEOUT = 60.0


class SimulatedProber:
    """The `Prober` that asks the simulated engine."""

    def __init__(self, engine: SimulatedEngine) -> None:
        self._engine = engine

    async def probe(self, request: ProbeRequest) -> ProbeResult:
        await asyncio.sleep(TRIP)
        try:
            async with asyncio.timeout(request.timeout):
                status = await self._engine.request(request.address, request.port)
        except TimeoutError:
            return ProbeResult("timeout", detail=f"no answer within {request.timeout:g} s")
        except ConnectionError as error:
            return ProbeResult("failed", detail=str(error))
        return ProbeResult("answered", None if request.protocol == "TCP" else status)


class Failure(NamedTuple):
    """A request that a user would complain about: sent `at`, to `path`, answered `status`."""

    at: float
    path: str
    status: int


class Users:
    """Requests through the load balancers: what curl would see."""

    def __init__(self, clock: Clock, engine: SimulatedEngine, proxy: SimulatedProxy) -> None:
        self._clock = clock
        self._engine = engine
        self._proxy = proxy

    async def get(self, load_balancer_arn: str, path: str = "/", *, seconds: float = 0.0, port: int = 80) -> int:
        """The status of one request that keeps its target busy for `seconds`. Refused connections are tried elsewhere;
        a broken one is a 502, a target that never answers a 504."""
        refused: list[Endpoint] = []
        for _ in range(TRIES):
            chosen = self._proxy.choose(load_balancer_arn, port, path, avoid=refused)
            if isinstance(chosen, int):
                return chosen
            await asyncio.sleep(TRIP)
            try:
                async with asyncio.timeout(IDLE_TIMEOUT):
                    return await self._engine.request(chosen.address, chosen.port, seconds)
            except TimeoutError:
                return 504
            except ConnectionRefusedError:
                refused.append(chosen)
            except ConnectionResetError:
                return 502
        return 502

    def traffic(self, load_balancer_arn: str, path: str = "/", *, rate: float = 20.0, seconds: float = 0.0) -> Traffic:
        """Starts sending; see `Traffic`."""
        return Traffic(self, self._clock, load_balancer_arn, path, rate, seconds)


class Traffic:
    """`rate` requests per second, each taking `seconds` at its target, from now until `stop()`."""

    def __init__(
        self, users: Users, clock: Clock, load_balancer_arn: str, path: str, rate: float, seconds: float
    ) -> None:
        self.statuses: Counter[int] = Counter()
        self.failures: list[Failure] = []
        self._users = users
        self._clock = clock
        self._arn = load_balancer_arn
        self._path = path
        self._seconds = seconds
        self._open: set[asyncio.Task[None]] = set()
        self._sender = asyncio.get_running_loop().create_task(self._send(1 / rate), name=f"traffic to {path}")

    async def stop(self) -> list[Failure]:
        """Waits for the requests under way; answers the failures."""
        self._sender.cancel()
        await asyncio.gather(*self._open)
        return self.failures

    async def _send(self, interval: float) -> None:
        while True:
            request = asyncio.get_running_loop().create_task(self._one(), name="request")
            self._open.add(request)
            request.add_done_callback(self._open.discard)
            await asyncio.sleep(interval)

    async def _one(self) -> None:
        at = self._clock.now()
        status = await self._users.get(self._arn, self._path, seconds=self._seconds)
        self.statuses[status] += 1
        if status >= 500:
            self.failures.append(Failure(at, self._path, status))


class Networks:
    """`NetworkLookup` from a dictionary: one VPC, two subnets in two zones, one security group."""

    def __init__(self) -> None:
        self.by_id = {
            f"subnet-{number}": Subnet(
                account=SCOPE.account,
                region=SCOPE.region,
                subnet_id=f"subnet-{number}",
                vpc_id=VPC,
                cidr=f"172.31.{16 * number}.0/20",
                availability_zone=f"{SCOPE.region}{zone}",
            )
            for number, zone in enumerate("ab")
        }
        self.group = SecurityGroup(SCOPE.account, SCOPE.region, "sg-1", VPC, "default")

    async def subnets(self, scope: Scope, subnet_ids: Sequence[str]) -> dict[str, Subnet]:
        return {id: self.by_id[id] for id in subnet_ids if id in self.by_id}

    async def security_groups(self, scope: Scope, group_ids: Sequence[str]) -> dict[str, SecurityGroup]:
        return {id: self.group for id in group_ids if id == self.group.group_id}

    async def elastic_addresses(self, scope: Scope, allocation_ids: Sequence[str]) -> dict[str, str]:
        return {}

    async def default_security_group(self, scope: Scope, vpc_id: str) -> SecurityGroup | None:
        return self.group if vpc_id == VPC else None

    async def vpc_exists(self, scope: Scope, vpc_id: str) -> bool:
        return vpc_id == VPC
