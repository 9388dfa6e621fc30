"""The flows of network load balancers that are open now, and how many of their bytes were counted. Bounded."""

from __future__ import annotations

from collections import Counter

from moorage.domain.connection_record import ConnectionRecord

SILENT = 180.0
"""Seconds after which a flow that nothing was heard of is over: the proxy tells of each once a minute."""
MOST = 100_000


class OpenFlows:
    def __init__(self) -> None:
        self._flows: dict[tuple[str, str, int, str], list[float]] = {}
        """(load balancer, protocol, connection, client) → [bytes that were counted, when it was heard of]"""
        self._counts: Counter[tuple[str, str]] = Counter()
        """(load balancer, protocol) → how many are open"""

    def heard(self, record: ConnectionRecord, now: float) -> int:
        """The bytes that are new since it was last heard of."""
        key = (record.load_balancer_arn, record.protocol, record.connection_id, record.client)
        bytes_now = record.received_bytes + record.sent_bytes
        known = self._flows.get(key)
        before = int(known[0]) if known is not None else 0
        if record.event == "end":
            if known is not None:
                self._drop(key)
        elif known is not None:
            known[:] = [bytes_now, now]
        elif len(self._flows) < MOST:
            self._flows[key] = [bytes_now, now]
            self._counts[key[:2]] += 1
        return max(0, bytes_now - before)

    def open(self, load_balancer_arn: str) -> dict[str, int]:
        """How many are open, by protocol; those without any are not there."""
        return {kind: count for (arn, kind), count in self._counts.items() if arn == load_balancer_arn}

    def load_balancers(self) -> set[str]:
        return {arn for arn, _ in self._counts}

    def forget_silent(self, now: float) -> None:
        """Those whose end was not told, because the proxy was ended."""
        for key in [key for key, (_, heard) in self._flows.items() if now - heard > SILENT]:
            self._drop(key)

    def clear(self) -> None:
        self._flows.clear()
        self._counts.clear()

    def _drop(self, key: tuple[str, str, int, str]) -> None:
        del self._flows[key]
        self._counts[key[:2]] -= 1
        if not self._counts[key[:2]]:
            del self._counts[key[:2]]
