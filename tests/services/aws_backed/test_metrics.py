"""Metrics of load balancers, read back through boto3 from the embedded CloudWatch."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from front import Front

from moorage.decide.elbv2_metrics import Datum
from moorage.domain.scope import Scope
from moorage.services.aws_backed.metrics import MotoMetrics

SCOPE = Scope("000000000000", "us-east-1")
DIMENSIONS = (("LoadBalancer", "app/web/50dc"),)


def test_what_was_put_is_seen_and_not_kept_on_disk(front: Front, client: Callable[..., Any]) -> None:
    sink = MotoMetrics(front.backed)
    at = datetime.now(UTC).timestamp() // 60 * 60 - 60
    data = [Datum("RequestCount", DIMENSIONS, "Count", at, 3, 3, 1, 1)]
    before = sink.generation()
    front.run(sink.put(SCOPE, "AWS/ApplicationELB", data * 1200))
    found = client("cloudwatch").get_metric_statistics(
        Namespace="AWS/ApplicationELB",
        MetricName="RequestCount",
        Dimensions=[{"Name": name, "Value": value} for name, value in DIMENSIONS],
        StartTime=datetime.fromtimestamp(at - 60, UTC),
        EndTime=datetime.fromtimestamp(at + 120, UTC),
        Period=60,
        Statistics=["Sum", "SampleCount", "Average"],
    )["Datapoints"]
    assert [(one["Sum"], one["SampleCount"]) for one in found] == [(3600.0, 3600.0)]
    assert sink.generation() is not None
    assert before in (None, sink.generation())


def test_percentiles_of_response_times(front: Front, client: Callable[..., Any]) -> None:
    at = datetime.now(UTC).timestamp() // 60 * 60 - 60
    values = ((0.1, 90.0), (0.5, 9.0), (2.0, 1.0))
    datum = Datum("TargetResponseTime", DIMENSIONS, "Seconds", at, 100, 15.5, 0.1, 2.0, values)
    front.run(MotoMetrics(front.backed).put(SCOPE, "AWS/ApplicationELB", [datum]))
    cloudwatch = client("cloudwatch")
    asked = {
        "Namespace": "AWS/ApplicationELB",
        "MetricName": "TargetResponseTime",
        "Dimensions": [{"Name": name, "Value": value} for name, value in DIMENSIONS],
    }
    window = {"StartTime": datetime.fromtimestamp(at - 60, UTC), "EndTime": datetime.fromtimestamp(at + 120, UTC)}
    (both,) = cloudwatch.get_metric_statistics(
        **asked, **window, Period=60, Statistics=["Average", "Maximum"], ExtendedStatistics=["p50", "p99", "p99.9"]
    )["Datapoints"]
    assert (both["Average"], both["Maximum"]) == (pytest.approx(0.155), 2.0)
    assert both["ExtendedStatistics"] == {"p50": 0.1, "p99": 0.5, "p99.9": 2.0}
    (only,) = cloudwatch.get_metric_statistics(**asked, **window, Period=60, ExtendedStatistics=["p90"])["Datapoints"]
    assert only["ExtendedStatistics"] == {"p90": 0.1}
    queries = [
        {"Id": name, "MetricStat": {"Metric": asked, "Period": 60, "Stat": stat}}
        for name, stat in (("a", "p95"), ("b", "SampleCount"), ("c", "Sum"))
    ]
    found = {
        one["Id"]: one["Values"]
        for one in cloudwatch.get_metric_data(MetricDataQueries=queries, **window)["MetricDataResults"]
    }
    assert found == {"a": [0.5], "b": [100.0], "c": [pytest.approx(15.5)]}
    with pytest.raises(ClientError, match="ExtendedStatistics"):
        cloudwatch.get_metric_statistics(**asked, **window, Period=60, ExtendedStatistics=["q9"])


def test_a_percentile_of_what_was_put_in_one_by_one(front: Front, client: Callable[..., Any]) -> None:
    cloudwatch, at = client("cloudwatch"), datetime.now(UTC)
    for value in (1, 2, 3, 4):
        cloudwatch.put_metric_data(Namespace="mine", MetricData=[{"MetricName": "m", "Value": value, "Timestamp": at}])
    cloudwatch.put_metric_data(
        Namespace="mine", MetricData=[{"MetricName": "m", "Values": [5, 6], "Counts": [1, 5], "Timestamp": at}]
    )
    (found,) = cloudwatch.get_metric_statistics(
        Namespace="mine", MetricName="m", Period=3600, StartTime=at - timedelta(hours=1), EndTime=at + timedelta(hours=1),
        Statistics=["SampleCount", "Sum"], ExtendedStatistics=["p40", "p90"],
    )["Datapoints"]  # fmt: skip
    assert (found["SampleCount"], found["Sum"]) == (10, 45)
    assert found["ExtendedStatistics"] == {"p40": 4, "p90": 6}


def test_dimensions_match_exactly(front: Front, client: Callable[..., Any]) -> None:
    cloudwatch, at = client("cloudwatch"), datetime.now(UTC)
    pairs = {"a": {"Name": "A", "Value": "z"}, "b": {"Name": "B", "Value": "a"}}
    for namespace, value in (("one", 1), ("two", 100)):
        for given in ("", "a", "b", "ab"):
            dimensions = [pairs[each] for each in given]
            datum = {"MetricName": "m", "Dimensions": dimensions, "Value": value * (len(given) + 1), "Timestamp": at}
            cloudwatch.put_metric_data(Namespace=f"exact/{namespace}", MetricData=[datum])
    window = {"StartTime": at - timedelta(hours=1), "EndTime": at + timedelta(hours=1)}
    queries, found = [], {}
    for given in ("", "a", "ab", "ba"):
        metric = {"Namespace": "exact/one", "MetricName": "m", "Dimensions": [pairs[each] for each in given]}
        (datum,) = cloudwatch.get_metric_statistics(**metric, **window, Period=7200, Statistics=["Sum"])["Datapoints"]
        found[given] = datum["Sum"]
        queries.append({"Id": f"q{given}", "MetricStat": {"Metric": metric, "Period": 7200, "Stat": "Sum"}})
    assert found == {"": 1, "a": 2, "ab": 3, "ba": 3}
    answer = cloudwatch.get_metric_data(MetricDataQueries=queries, **window)["MetricDataResults"]
    assert {one["Id"]: sum(one["Values"]) for one in answer} == {"q": 1, "qa": 2, "qab": 3, "qba": 3}
