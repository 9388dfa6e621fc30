"""CloudWatch of moto with percentiles, and with dimensions that must match exactly. Only the worker imports this module.

Values that come with counts (PutMetricData `Values`, `Counts`) are kept as they are: moto makes a record of each single
observation. A percentile is read from them by the nearest rank; of aggregates without values (`StatisticValues`) it
is known, as on AWS, only where all observations were the same.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Any

from moorage.services.aws_backed.moto_modules import moto_module

_PERCENTILE = re.compile(r"[pP](\d{1,2}(?:\.\d+)?|100)")


def percentile_of(stat: str) -> float | None:
    """`p99.9` → 99.9; None for another statistic."""
    found = _PERCENTILE.fullmatch(stat)
    return float(found[1]) if found is not None else None


def percentile(values: Iterable[tuple[float, float]], wanted: float) -> float | None:
    """By the nearest rank. `values`: (value, how often). Of 1, 2, 3, 4: p50 is 2, p75 is 3, p76 is 4."""
    ordered = sorted(values)
    rank = float(max(1, math.ceil(wanted / 100 * sum(count for _, count in ordered) - 1e-9)))
    for value, count in ordered:
        rank -= count
        if rank <= 0:
            return value
    return None


def mend() -> None:
    models, responses = moto_module("cloudwatch.models"), moto_module("cloudwatch.responses")
    # moto compares the value of one dimension with the name of the other
    models.Dimension.__lt__ = lambda self, other: (self.name, self.value) < (other.name, other.value)
    _match_exactly(models.CloudWatchBackend)
    _keep_values(models)
    _read_percentiles(models.Statistics, models.MetricAggregatedDatum)
    _answer_percentiles(responses)


def _match_exactly(backend: Any) -> None:
    statistics, data = backend.get_metric_statistics, backend.get_metric_data

    def get_metric_statistics(
        self: Any, namespace: str, metric_name: str, *rest: Any, dimensions: list[dict[str, str]], **more: Any
    ) -> Any:
        """moto adds up all metrics that have these dimensions among others."""
        wanted = _dimensions(dimensions)
        found = [
            one
            for one in self.get_all_metrics()
            if (one.namespace, one.name) == (namespace, metric_name) and _of(one) == wanted
        ]
        self.get_all_metrics = lambda: found
        try:
            return statistics(self, namespace, metric_name, *rest, dimensions=dimensions, **more)
        finally:
            del self.get_all_metrics

    def get_metric_data(self: Any, queries: list[dict[str, Any]], *rest: Any, **more: Any) -> Any:
        """moto does not look at the namespace where there are dimensions, nor at dimensions where none are asked for.
        Queries that others make expressions of are left to it."""
        if any("MetricStat" not in query for query in queries):
            return data(self, queries, *rest, **more)
        return [one for query in queries for one in of_one(self, query, *rest, **more)]

    def of_one(self: Any, query: dict[str, Any], *rest: Any, **more: Any) -> Any:
        metric = query["MetricStat"]["Metric"]
        wanted = (metric["Namespace"], metric["MetricName"], _dimensions(metric.get("Dimensions") or []))
        found = [one for one in self.get_all_metrics() if (one.namespace, one.name, _of(one)) == wanted]
        self.get_all_metrics = lambda: found
        try:
            return data(self, [query], *rest, **more)
        finally:
            del self.get_all_metrics

    backend.get_metric_statistics = get_metric_statistics
    backend.get_metric_data = get_metric_data


def _dimensions(given: Iterable[dict[str, str]]) -> frozenset[tuple[str, str]]:
    return frozenset((one["Name"], one["Value"]) for one in given)


def _of(datum: Any) -> frozenset[tuple[str, str]]:
    return frozenset((one.name, one.value) for one in datum.dimensions)


def _keep_values(models: Any) -> None:
    put = models.CloudWatchBackend.put_metric_data

    def put_metric_data(self: Any, namespace: str, metric_data: list[dict[str, Any]]) -> None:
        with_values = [one for one in metric_data if one.get("Values")]
        for number, one in enumerate(metric_data, 1):
            self._validate_parameters_put_metric_data(one, number)
        put(self, namespace, [one for one in metric_data if not one.get("Values")])
        for one in with_values:
            counts = one.get("Counts") or [1.0] * len(one["Values"])
            pairs = zip(map(float, one["Values"]), map(float, counts), strict=True)
            if not (values := [pair for pair in pairs if pair[1]]):
                continue
            datum = models.MetricAggregatedDatum(
                namespace=namespace,
                name=one["MetricName"],
                min_stat=min(value for value, _ in values),
                max_stat=max(value for value, _ in values),
                sample_count=sum(count for _, count in values),
                sum_stat=sum(value * count for value, count in values),
                dimensions=one.get("Dimensions") or [],
                timestamp=one.get("Timestamp"),
                unit=one.get("Unit"),
            )
            datum.values = values
            self.metric_data.append(datum)

    models.CloudWatchBackend.put_metric_data = put_metric_data


def _read_percentiles(statistics: Any, aggregated: Any) -> None:
    plain = statistics.get_statistics_for_type

    def observations(self: Any) -> list[tuple[float, float]]:
        found = [(value, 1.0) for value in self.metric_single_values_list]
        for one in self.metric_aggregated_list:
            if one.min == one.max:
                found.append((one.min, one.sample_count))
            else:
                found += getattr(one, "values", ())
        return found

    def get_statistics_for_type(self: Any, stat: str) -> Any:
        wanted = percentile_of(stat)
        return plain(self, stat) if wanted is None else percentile(observations(self), wanted)

    def extended_statistics(self: Any) -> dict[str, float] | None:
        """What GetMetricStatistics shows of the percentiles that were asked for."""
        found = {stat: self.get_statistics_for_type(stat) for stat in self.stats if percentile_of(stat) is not None}
        return {stat: value for stat, value in found.items() if value is not None} or None

    statistics.get_statistics_for_type = get_statistics_for_type
    statistics.extended_statistics = property(extended_statistics)


def _answer_percentiles(responses: Any) -> None:
    answer = responses.CloudWatchResponse.get_metric_statistics

    def get_metric_statistics(self: Any) -> Any:
        """moto looks at `Statistics` only."""
        extended = self._get_param("ExtendedStatistics") or []
        for stat in extended:
            if percentile_of(stat) is None:
                raise responses.InvalidParameterValue(
                    f"The value {stat} for parameter ExtendedStatistics is not supported."
                )
        known = self._get_param

        def get_param(name: str, *default: Any, **more: Any) -> Any:
            found = known(name, *default, **more)
            return [*(found or []), *extended] if name == "Statistics" else found

        self._get_param = get_param
        try:
            return answer(self)
        finally:
            del self._get_param

    responses.CloudWatchResponse.get_metric_statistics = get_metric_statistics
