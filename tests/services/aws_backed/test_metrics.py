"""Metrics of load balancers, read back through boto3 from the embedded CloudWatch."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

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
