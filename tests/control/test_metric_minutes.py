from __future__ import annotations

import pytest

from moorage.control.metric_minutes import KEPT, MetricMinutes
from moorage.decide.elbv2_metrics import Datum, Measure, Sample
from moorage.domain.scope import Scope
from moorage.services.aws_backed.mend_cloudwatch import percentile
from proxy.builders import a_load_balancer

HERE = (Scope("000000000000", "us-east-1"), "AWS/ApplicationELB")


def counted(*values: float, unit: str = "Seconds") -> Datum:
    minutes = MetricMinutes()
    measures = [Measure("TargetResponseTime", value, unit) for value in values]
    minutes.count(5, a_load_balancer(), HERE[1], measures)
    whole, by_zone = minutes.data(5)[HERE]
    assert whole.values == by_zone.values
    return whole


def test_times_keep_their_distribution_and_exact_sums() -> None:
    values = [0.001 * n for n in range(1, 1001)]
    datum = counted(*values)
    assert (datum.samples, datum.least, datum.most) == (1000, 0.001, 1.0)
    assert sum(count for _, count in datum.values) == 1000
    assert sum(value * count for value, count in datum.values) == pytest.approx(datum.total)
    assert len(datum.values) < 150  # what one PutMetricData takes
    for wanted in (1, 50, 90, 99):
        assert percentile(datum.values, wanted) == pytest.approx(wanted / 100, rel=0.1)
    assert (percentile(datum.values, 0), percentile(datum.values, 100)) == (0.001, 1.0)


def test_one_value_and_no_time_at_all() -> None:
    assert counted(0.25).values == ((0.25, 1),)
    assert counted(0.0, 0.0).values == ((0.0, 1), (0.0, 1))
    assert counted(1.0, unit="Count").values == ()


def test_old_minutes_go() -> None:
    minutes = MetricMinutes()
    for minute in (1, 100, 300):
        minutes.count(minute, a_load_balancer(), HERE[1], [Measure("RequestCount")])
    assert minutes.prune(100 + KEPT) == [1]
    assert minutes.minutes() == [100, 300]


def test_a_load_balancer_is_the_sum_of_its_target_groups() -> None:
    minutes, balancer = MetricMinutes(), a_load_balancer()
    for group, seconds in (("targetgroup/a/1", 0.5), ("targetgroup/a/1", 1.0), ("targetgroup/b/1", 2.0)):
        minutes.count(5, balancer, HERE[1], [Measure("TargetResponseTime", seconds, "Seconds", group)])
        minutes.count(5, balancer, HERE[1], [Measure("UnhealthyRoutingRequestCount", 1, "Count", group)])
    minutes.look(5, balancer, HERE[1], [Sample("HealthyHostCount", (("TargetGroup", "targetgroup/a/1"),), 3)])
    found = {(one.name, one.dimensions): one for one in minutes.data(5)[HERE]}
    of, zone = ("LoadBalancer", balancer.full_name), ("AvailabilityZone", "us-east-1a")
    group = ("TargetGroup", "targetgroup/a/1")
    whole = found["TargetResponseTime", (of,)]
    assert (whole.samples, whole.total, whole.least, whole.most) == (3, 3.5, 0.5, 2.0)
    assert sum(count for _, count in whole.values) == 3
    assert found["TargetResponseTime", (group, zone, of)].total == 1.5
    assert found["UnhealthyRoutingRequestCount", (group, of)].total == 2
    assert ("UnhealthyRoutingRequestCount", (of,)) not in found
    assert found["HealthyHostCount", (group,)].most == 3
    total = minutes.total(5, balancer, "TargetResponseTime")
    assert total is not None
    assert total.total == 3.5
    assert minutes.total(5, balancer, "RequestCount") is None
