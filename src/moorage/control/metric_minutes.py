"""Observations, counted by the minute. Holds numbers only; what they mean is said in `decide/elbv2_metrics`.

A request is counted once per metric; that a metric is found under several dimensions is worked out when a minute is handed
over.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from moorage.decide.elbv2_metrics import COUNT, GROUP_ONLY, SECONDS, Datum, Dimensions, Measure, Sample, dimensions_of
from moorage.domain.load_balancer import LoadBalancer
from moorage.domain.scope import Scope

MINUTE = 60
KEPT = 180
"""Minutes."""
MOST_DATA = 25_000
"""Counts kept altogether; with more, the oldest minutes go first."""
STEP = math.log(1.1)
"""Times within a tenth of each other are one value: what percentiles are read from."""


class Counts:
    """Observations of one metric in one minute."""

    __slots__ = ("buckets", "least", "most", "samples", "total")

    def __init__(self, value: float) -> None:
        self.samples, self.total, self.least, self.most = 0.0, 0.0, value, value
        self.buckets: dict[int, list[float]] = {}
        """[observations, sum] by the logarithm of the value; of times only."""

    def add(self, value: float, unit: str) -> None:
        self.samples += 1
        self.total += value
        if value < self.least:
            self.least = value
        elif value > self.most:
            self.most = value
        if unit == SECONDS:
            bucket = self.buckets.setdefault(int(math.log(max(value, 1e-6)) / STEP), [0.0, 0.0])
            bucket[0] += 1
            bucket[1] += value

    def merge(self, other: Counts) -> None:
        self.samples += other.samples
        self.total += other.total
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        for index, (count, total) in other.buckets.items():
            bucket = self.buckets.setdefault(index, [0.0, 0.0])
            bucket[0] += count
            bucket[1] += total

    def datum(self, name: str, dimensions: Dimensions, unit: str, at: float) -> Datum:
        values = tuple(_values(self.buckets, self.least, self.most)) if self.buckets else ()
        return Datum(name, dimensions, unit, at, self.samples, self.total, self.least, self.most, values)


def _values(buckets: dict[int, list[float]], least: float, most: float) -> Iterator[tuple[float, float]]:
    """(value, how often), least first. Least and most are exact, and so is the sum."""
    first, last = min(buckets), max(buckets)
    for index in sorted(buckets):
        count, total = buckets[index]
        for extreme, of in ((least, first), (most, last)):
            if index == of and count > 1:
                yield extreme, 1.0
                count, total = count - 1, total - extreme
        yield total / count, count


class _Owner:
    """One load balancer's minute."""

    __slots__ = ("full_name", "gauges", "measured", "namespace", "scope", "zone")

    def __init__(self, balancer: LoadBalancer, namespace: str) -> None:
        self.scope = Scope(account=balancer.account, region=balancer.region)
        self.namespace = namespace
        self.full_name = balancer.full_name
        self.zone = balancer.subnets[0][1] if balancer.subnets else ""
        self.measured: dict[tuple[str, str, str], Counts] = {}
        """By (metric, unit, target group or "")."""
        self.gauges: dict[tuple[str, Dimensions], Counts] = {}

    def totals(self) -> dict[tuple[str, str], Counts]:
        """Of the load balancer as a whole, by (metric, unit)."""
        found: dict[tuple[str, str], Counts] = {}
        for (name, unit, _), counts in self.measured.items():
            if name not in GROUP_ONLY:
                found.setdefault((name, unit), Counts(counts.least)).merge(counts)
        return found

    def data(self, at: float) -> Iterator[Datum]:
        by_group = {key: counts for key, counts in self.measured.items() if key[2]}
        whole = {(name, unit, ""): counts for (name, unit), counts in self.totals().items()}
        for (name, unit, group), counts in {**whole, **by_group}.items():
            for dimensions in dimensions_of(self.full_name, group, self.zone):
                yield counts.datum(name, dimensions, unit, at)
        for (name, dimensions), counts in self.gauges.items():
            yield counts.datum(name, dimensions, COUNT, at)

    def __len__(self) -> int:
        return len(self.measured) + len(self.gauges)


class MetricMinutes:
    def __init__(self) -> None:
        self._minutes: OrderedDict[int, dict[str, _Owner]] = OrderedDict()

    def count(self, minute: int, balancer: LoadBalancer, namespace: str, measures: Iterable[Measure]) -> None:
        measured = self._of(minute, balancer, namespace).measured
        for name, value, unit, group in measures:
            key = (name, unit, group)
            counts = measured.get(key)
            if counts is None:
                counts = measured[key] = Counts(value)
            counts.add(value, unit)

    def look(self, minute: int, balancer: LoadBalancer, namespace: str, samples: Iterable[Sample]) -> None:
        """What was seen at the end of the minute."""
        gauges = self._of(minute, balancer, namespace).gauges
        for one in samples:
            gauges.setdefault((one.name, one.dimensions), Counts(one.value)).add(one.value, COUNT)

    def total(self, minute: int, balancer: LoadBalancer, name: str, group: str = "") -> Counts | None:
        """What a metric has come to: of the load balancer, or of one target group behind it."""
        owner = self._minutes.get(minute, {}).get(balancer.arn)
        if owner is None:
            return None
        if group:
            return next((one for (known, _, of), one in owner.measured.items() if (known, of) == (name, group)), None)
        return next((one for (known, _), one in owner.totals().items() if known == name), None)

    def minutes(self) -> list[int]:
        return list(self._minutes)

    def data(self, minute: int) -> dict[tuple[Scope, str], list[Datum]]:
        """By (whose, namespace)."""
        made: dict[tuple[Scope, str], list[Datum]] = {}
        for owner in self._minutes.get(minute, {}).values():
            made.setdefault((owner.scope, owner.namespace), []).extend(owner.data(float(minute * MINUTE)))
        return made

    def prune(self, current: int) -> list[int]:
        """Forgets what is too old or too much; the minutes that went."""
        gone = []
        while self._minutes and (min(self._minutes) < current - KEPT or self._size() > MOST_DATA):
            oldest = min(self._minutes)
            del self._minutes[oldest]
            gone.append(oldest)
        return gone

    def clear(self) -> None:
        self._minutes.clear()

    def _of(self, minute: int, balancer: LoadBalancer, namespace: str) -> _Owner:
        owners = self._minutes.get(minute)
        if owners is None:
            owners = self._minutes[minute] = {}
        owner = owners.get(balancer.arn)
        if owner is None:
            owner = owners[balancer.arn] = _Owner(balancer, namespace)
        return owner

    def _size(self) -> int:
        return sum(len(owner) for owners in self._minutes.values() for owner in owners.values())
