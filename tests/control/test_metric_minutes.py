from __future__ import annotations

import pytest

from moorage.control.metric_minutes import KEPT, MetricMinutes
from moorage.decide.elbv2_metrics import Datum, Sample
from moorage.domain.scope import Scope
from moorage.services.aws_backed.mend_cloudwatch import percentile
from proxy.builders import a_load_balancer

OF = (("LoadBalancer", "app/web/1"),)
HERE = (Scope("000000000000", "us-east-1"), "AWS/ApplicationELB")


def counted(*values: float, unit: str = "Seconds") -> Datum:
    minutes = MetricMinutes()
    minutes.add(5, a_load_balancer(), HERE[1], [Sample("TargetResponseTime", OF, value, unit) for value in values])
    (datum,) = minutes.data(5)[HERE]
    return datum


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
        minutes.add(minute, a_load_balancer(), HERE[1], [Sample("RequestCount", OF)])
    assert minutes.prune(100 + KEPT) == [1]
    assert minutes.minutes() == [100, 300]
