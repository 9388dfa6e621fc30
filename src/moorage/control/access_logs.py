"""Access logs of load balancers to S3: AWS's lines, one compressed object per load balancer and interval.

Load balancers with `access_logs.s3.enabled` get their lines gathered here; every five minutes, and when the control plane
leaves, what has gathered is delivered. Lines that a bucket does not take are kept for the next time, up to a bound.
Source: semantics elbv2 §10.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
from collections.abc import Awaitable, Callable, Sequence

from moorage.decide.elbv2_access_log import object_key
from moorage.domain.clock import Clock, Ids
from moorage.domain.errors import AwsError, MoorageError
from moorage.domain.load_balancer import LoadBalancer
from moorage.domain.scope import Scope

log = logging.getLogger("moorage.access_logs")

INTERVAL = 300.0
MOST_LINES = 100_000
"""Kept per load balancer; with more, the oldest go."""

Put = Callable[[Scope, str, str, bytes], Awaitable[None]]
"""(whose, bucket, key, body)"""


class AccessLogs:
    def __init__(self, clock: Clock, ids: Ids, put: Put) -> None:
        self._clock = clock
        self._ids = ids
        self._put = put
        self._lines: dict[str, tuple[LoadBalancer, list[str]]] = {}
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="access-logs")

    async def close(self) -> None:
        """Delivers what there is."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        await self.deliver()

    def take(self, balancer: LoadBalancer, line: str) -> None:
        if balancer.attributes.get("access_logs.s3.enabled") != "true":
            return
        _, lines = self._lines.get(balancer.arn, (balancer, []))
        lines.append(line)
        self._lines[balancer.arn] = (balancer, lines[-MOST_LINES:] if len(lines) > MOST_LINES * 2 else lines)

    async def deliver(self) -> None:
        gathered, self._lines = self._lines, {}
        for arn, (balancer, lines) in gathered.items():
            try:
                await self._send(balancer, lines)
            except (AwsError, MoorageError) as error:
                log.warning("the access log of %s cannot be delivered: %s", balancer.name, error)
                since = self._lines.get(arn, (balancer, []))[1]
                self._lines[arn] = (balancer, [*lines, *since][-MOST_LINES:])

    async def _send(self, balancer: LoadBalancer, lines: Sequence[str]) -> None:
        attributes = balancer.attributes
        key = object_key(
            prefix=attributes.get("access_logs.s3.prefix", ""),
            account=balancer.account,
            region=balancer.region,
            load_balancer=balancer.full_name,
            ended_at=self._clock.now(),
            address=balancer.loopback,
            random=self._ids.hex(8),
        )
        body = gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)
        await self._put(
            Scope(account=balancer.account, region=balancer.region), attributes["access_logs.s3.bucket"], key, body
        )

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await self.deliver()
