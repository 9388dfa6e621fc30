"""Observations, counted by the minute. Holds numbers only; what they mean is said in `decide/elbv2_metrics`."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable, Iterator

from moorage.decide.elbv2_metrics import SECONDS, Datum, Dimensions, Sample
from moorage.domain.load_balancer import LoadBalancer
from moorage.domain.scope import Scope

MINUTE = 60
KEPT = 180
"""Minutes."""
MOST_DATA = 50_000
"""Kept altogether; with more, the oldest minutes go first."""
STEP = math.log(1.1)
"""Times within a tenth of each other are one value: what percentiles are read from."""

_Place = tuple[Scope, str]
"""(whose, namespace)"""
_Key = tuple[_Place, str, Dimensions, str]
"""(place, metric, dimensions, unit)"""


class _Count:
    """Observations of one metric in one minute."""

    __slots__ = ("buckets", "least", "most", "samples", "total")

    def __init__(self, value: float) -> None:
        self.samples, self.total, self.least, self.most = 0.0, 0.0, value, value
        self.buckets: dict[int, list[float]] = {}
        """[observations, sum] by the logarithm of the value; of times only."""

    def add(self, one: Sample) -> None:
        value = one.value
        self.samples += 1
        self.total += value
        self.least = min(self.least, value)
        self.most = max(self.most, value)
        if one.unit == SECONDS:
            bucket = self.buckets.setdefault(int(math.log(max(value, 1e-6)) / STEP), [0.0, 0.0])
            bucket[0] += 1
            bucket[1] += value

    def values(self) -> tuple[tuple[float, float], ...]:
        """(value, how often), least first. Least and most are exact, and so is the sum."""
        return tuple(_values(self.buckets, self.least, self.most)) if self.buckets else ()


def _values(buckets: dict[int, list[float]], least: float, most: float) -> Iterator[tuple[float, float]]:
    first, last = min(buckets), max(buckets)
    for index in sorted(buckets):
        count, total = buckets[index]
        for extreme, of in ((least, first), (most, last)):
            if index == of and count > 1:
                yield extreme, 1.0
                count, total = count - 1, total - extreme
        yield total / count, count


class MetricMinutes:
    def __init__(self) -> None:
        self._minutes: OrderedDict[int, dict[_Key, _Count]] = OrderedDict()

    def add(self, minute: int, owner: LoadBalancer, namespace: str, samples: Iterable[Sample]) -> None:
        counts = self._minutes.setdefault(minute, {})
        place = (Scope(account=owner.account, region=owner.region), namespace)
        for one in samples:
            key = (place, one.name, one.dimensions, one.unit)
            found = counts.get(key)
            if found is None:
                found = counts[key] = _Count(one.value)
            found.add(one)

    def total(self, minute: int, owner: LoadBalancer, namespace: str, name: str, dimensions: Dimensions) -> float:
        """The sum that a count has reached in a minute."""
        return self._found(minute, owner, namespace, name, dimensions, "total")

    def most(self, minute: int, owner: LoadBalancer, namespace: str, name: str, dimensions: Dimensions) -> float:
        return self._found(minute, owner, namespace, name, dimensions, "most")

    def minutes(self) -> list[int]:
        return list(self._minutes)

    def data(self, minute: int) -> dict[_Place, list[Datum]]:
        made: dict[_Place, list[Datum]] = {}
        for (place, name, dimensions, unit), one in self._minutes.get(minute, {}).items():
            at = float(minute * MINUTE)
            datum = Datum(name, dimensions, unit, at, one.samples, one.total, one.least, one.most, one.values())
            made.setdefault(place, []).append(datum)
        return made

    def prune(self, current: int) -> list[int]:
        """Forgets what is too old or too much; the minutes that went."""
        gone = []
        while self._minutes and (
            min(self._minutes) < current - KEPT or sum(map(len, self._minutes.values())) > MOST_DATA
        ):
            oldest = min(self._minutes)
            del self._minutes[oldest]
            gone.append(oldest)
        return gone

    def clear(self) -> None:
        self._minutes.clear()

    def _found(
        self, minute: int, owner: LoadBalancer, namespace: str, name: str, dimensions: Dimensions, what: str
    ) -> float:
        place = (Scope(account=owner.account, region=owner.region), namespace)
        for unit in ("Count", "Bytes"):
            one = self._minutes.get(minute, {}).get((place, name, dimensions, unit))
            if one is not None:
                return float(getattr(one, what))
        return 0.0
