"""Logs of load balancers to S3: AWS's lines, one compressed object per load balancer, kind of log and interval.

Load balancers with `access_logs.s3.enabled`, `connection_logs.s3.enabled` or `health_check_logs.s3.enabled` get their lines
gathered here; every five minutes, and when the control plane leaves, what has gathered is delivered. Lines that a bucket
does not take are kept for the next time, up to a bound. When logs are switched on, or get another place, AWS's test file
shows that the bucket takes them. Decides nothing: lines and places come from `decide/`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from moorage.decide.elbv2_connection_log import connection_line, plain_connection_line
from moorage.decide.elbv2_flow_log import flow_line
from moorage.decide.elbv2_health_check_log import health_check_line
from moorage.decide.elbv2_log_files import KINDS, LogKind, is_on, object_key, place, proof_of_delivery
from moorage.domain.clock import Clock, Ids
from moorage.domain.connection_record import ConnectionRecord
from moorage.domain.errors import AwsError, MoorageError
from moorage.domain.load_balancer import LoadBalancer
from moorage.domain.request_record import RequestRecord
from moorage.domain.scope import Scope
from moorage.domain.target_group import ProbeResult, Target, TargetGroup
from moorage.store.api import Change, StoreApi
from moorage.store.elbv2_queries import load_balancers_of
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCERS

log = logging.getLogger("moorage.load_balancer_logs")

INTERVAL = 300.0
MOST_LINES = 100_000
"""Kept per load balancer and kind; with more, the oldest go."""
MOST_CONNECTIONS = 100_000
"""Connections of HTTP listeners that are known to have their line."""

Put = Callable[[Scope, str, str, bytes], Awaitable[None]]
"""(whose, bucket, key, body)"""


class DeliveredLogs:
    """Gathers lines and brings them where they belong."""

    def __init__(self, clock: Clock, ids: Ids, put: Put) -> None:
        self._clock = clock
        self._ids = ids
        self._put = put
        self._lines: dict[tuple[str, LogKind], tuple[LoadBalancer, list[str]]] = {}
        self._task: asyncio.Task[None] | None = None
        self._tests: set[asyncio.Task[None]] = set()
        self._unwatch: Callable[[], None] = lambda: None

    def watch(self, store: StoreApi) -> None:
        """From now on, the test file is written when logs are switched on."""
        self._unwatch = store.watch(self._changed)

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="load-balancer-logs")

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

    def take(self, balancer: LoadBalancer, kind: LogKind, line: str) -> None:
        if not is_on(balancer, kind):
            return
        _, lines = self._lines.get((balancer.arn, kind), (balancer, []))
        lines.append(line)
        kept = lines[-MOST_LINES:] if len(lines) > MOST_LINES * 2 else lines
        self._lines[balancer.arn, kind] = (balancer, kept)

    async def deliver(self) -> None:
        gathered, self._lines = self._lines, {}
        for (arn, kind), (balancer, lines) in gathered.items():
            try:
                await self._send(balancer, kind, lines)
            except (AwsError, MoorageError) as error:
                log.warning("the %s of %s cannot be delivered: %s", _words(kind), balancer.name, error)
                since = self._lines.get((arn, kind), (balancer, []))[1]
                self._lines[arn, kind] = (balancer, [*lines, *since][-MOST_LINES:])

    async def _send(self, balancer: LoadBalancer, kind: LogKind, lines: Sequence[str]) -> None:
        bucket, _ = place(balancer, kind) or ("", "")
        key = object_key(balancer, kind, ended_at=self._clock.now(), random=self._ids.hex(8))
        # connections are told when they end; their lines begin with the time when they began
        ordered = sorted(lines) if kind == "connection_logs" else lines
        body = gzip.compress("".join(f"{line}\n" for line in ordered).encode(), mtime=0)
        await self._put(Scope(account=balancer.account, region=balancer.region), bucket, key, body)

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            if change.table is not LOAD_BALANCERS or change.after is None:
                continue
            for kind in KINDS:
                now = place(change.after, kind)
                if now is not None and (change.before is None or place(change.before, kind) != now):
                    task = asyncio.get_running_loop().create_task(self._test(change.after, kind), name="log-test")
                    self._tests.add(task)
                    task.add_done_callback(self._tests.discard)

    async def _test(self, balancer: LoadBalancer, kind: LogKind) -> None:
        bucket, _ = place(balancer, kind) or ("", "")
        key, text = proof_of_delivery(balancer, kind, at=self._clock.now())
        try:
            await self._put(Scope(account=balancer.account, region=balancer.region), bucket, key, text.encode())
        except (AwsError, MoorageError) as error:
            log.warning("the bucket %s takes no %s of %s: %s", bucket, _words(kind), balancer.name, error)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(INTERVAL)
            await self.deliver()


class LoadBalancerLogs:
    """What has a line in which log. `access_line`: AWS's access log line of a request; `api_port`: port of this machine →
    port of the API."""

    def __init__(
        self,
        store: StoreApi,
        logs: DeliveredLogs,
        *,
        access_line: Callable[[RequestRecord], str],
        api_port: Callable[[int], int],
    ) -> None:
        self._store = store
        self._logs = logs
        self._access_line = access_line
        self._api_port = api_port
        self._connections: OrderedDict[tuple[int, str], None] = OrderedDict()
        self._settled: OrderedDict[tuple[int, str], float] = OrderedDict()
        """Seconds until TLS was settled, of flows that are open."""

    def request(self, balancer: LoadBalancer, record: RequestRecord) -> None:
        if is_on(balancer, "access_logs"):
            self._logs.take(balancer, "access_logs", self._access_line(record))
        if not record.tls_version and is_on(balancer, "connection_logs") and self._is_first(record):
            port = self._api_port(record.local_port)
            line = plain_connection_line(record, load_balancer=balancer.full_name, address=balancer.loopback, port=port)
            self._logs.take(balancer, "connection_logs", line)

    def connection(self, balancer: LoadBalancer, record: ConnectionRecord) -> None:
        if record.protocol == "HTTPS" and is_on(balancer, "connection_logs"):
            line = connection_line(record, load_balancer=balancer.full_name, address=balancer.loopback)
            self._logs.take(balancer, "connection_logs", line)
        elif record.protocol == "TLS" and is_on(balancer, "access_logs"):
            self._flow(balancer, record)

    def check(self, target: Target, group: TargetGroup, result: ProbeResult, started: float, ended: float) -> None:
        """A health check was made."""
        for arn in load_balancers_of(self._store, group.arn):
            balancer = self._store.get(LOAD_BALANCERS, arn)
            if balancer is None or not is_on(balancer, "health_check_logs"):
                continue
            line = health_check_line(
                target,
                group,
                result,
                started=started,
                seconds=max(0.0, ended - started),
                load_balancer=balancer.full_name,
                address=balancer.loopback,
            )
            self._logs.take(balancer, "health_check_logs", line)

    def _flow(self, balancer: LoadBalancer, record: ConnectionRecord) -> None:
        """The proxy looks for a target when TLS is settled: that it has one says how long TLS took."""
        key = (record.connection_id, record.client)
        if record.event == "begin":
            self._settled[key] = record.duration
            if len(self._settled) > MOST_CONNECTIONS:
                self._settled.popitem(last=False)
        elif record.event == "end":
            seconds = self._settled.pop(key, 0.0) if record.tls_is_settled else None
            line = self._flow_line(balancer, msgspec.structs.replace(record, handshake=seconds))
            self._logs.take(balancer, "access_logs", line)

    def _flow_line(self, balancer: LoadBalancer, record: ConnectionRecord) -> str:
        listeners = self._store.find(LISTENERS, "load_balancer", balancer.arn)
        listener = next((one for one in listeners if one.port == record.port), None)
        return flow_line(
            record,
            load_balancer=balancer.full_name,
            listener=listener.arn.rpartition("/")[2] if listener is not None else "-",
            certificate=listener.certificates[0] if listener is not None and len(listener.certificates) == 1 else "-",
        )

    def _is_first(self, record: RequestRecord) -> bool:
        key = (record.connection_id, record.client)
        known = key in self._connections
        self._connections[key] = None
        self._connections.move_to_end(key)
        if len(self._connections) > MOST_CONNECTIONS:
            self._connections.popitem(last=False)
        return not known


def _words(kind: LogKind) -> str:
    return kind.replace("_", " ").removesuffix("s")
