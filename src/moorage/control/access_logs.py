"""Access logs of load balancers to S3: AWS's lines, one compressed object per load balancer and interval.

Load balancers with `access_logs.s3.enabled` get their lines gathered here; every five minutes, and when the control plane
leaves, what has gathered is delivered. Lines that a bucket does not take are kept for the next time, up to a bound. When
the logs of a load balancer are switched on, or get another place, AWS's test file shows that the bucket takes them.
Source: semantics elbv2 §10.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from moorage.decide.elbv2_access_log import object_key, test_file_key
from moorage.domain.clock import Clock, Ids
from moorage.domain.errors import AwsError, MoorageError
from moorage.domain.load_balancer import LoadBalancer
from moorage.domain.scope import Scope
from moorage.store.api import Change, StoreApi
from moorage.store.tables.elbv2 import LOAD_BALANCERS

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
        self._tests: set[asyncio.Task[None]] = set()
        self._unwatch: Callable[[], None] = lambda: None

    def watch(self, store: StoreApi) -> None:
        """From now on, the test file is written when logs are switched on."""
        self._unwatch = store.watch(self._changed)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="access-logs")

    async def close(self) -> None:
        """Delivers what there is."""
        self._unwatch()
        if self._tests:
            await asyncio.wait(self._tests)
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

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            if change.table is not LOAD_BALANCERS or change.after is None:
                continue
            if _place(change.after) is not None and (
                change.before is None or _place(change.before) != _place(change.after)
            ):
                task = asyncio.get_running_loop().create_task(self._test(change.after), name="access-log-test")
                self._tests.add(task)
                task.add_done_callback(self._tests.discard)

    async def _test(self, balancer: LoadBalancer) -> None:
        bucket, prefix = _place(balancer) or ("", "")
        key = test_file_key(prefix=prefix, account=balancer.account)
        at = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        text = f"Enable AccessLog for ELB: {balancer.name} at {at}"
        try:
            await self._put(Scope(account=balancer.account, region=balancer.region), bucket, key, text.encode())
        except (AwsError, MoorageError) as error:
            log.warning("the bucket %s takes no access log of %s: %s", bucket, balancer.name, error)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await self.deliver()


def _place(balancer: LoadBalancer) -> tuple[str, str] | None:
    """(bucket, prefix); None when the logs are off."""
    attributes = balancer.attributes
    if attributes.get("access_logs.s3.enabled") != "true":
        return None
    return attributes.get("access_logs.s3.bucket", ""), attributes.get("access_logs.s3.prefix", "")
