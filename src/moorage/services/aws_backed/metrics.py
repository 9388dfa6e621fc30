"""Metrics of the load balancers into the embedded CloudWatch: `control/elbv2_metrics.MetricSink`.

They are not written to its journal: whoever counts them keeps them, and gives them again to a process that was started
anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from moorage.decide.elbv2_metrics import Datum
from moorage.domain.scope import Scope
from moorage.services.aws_backed.forward import AwsBacked

MOST = 1000
"""Data that one PutMetricData takes."""


class MotoMetrics:
    def __init__(self, backed: AwsBacked) -> None:
        self._backed = backed

    def generation(self) -> object:
        worker = self._backed.worker
        return worker.pid if worker.running else None

    async def put(self, scope: Scope, namespace: str, data: Sequence[Datum]) -> None:
        for start in range(0, len(data), MOST):
            shapes = [
                {
                    "MetricName": one.name,
                    "Dimensions": [{"Name": name, "Value": value} for name, value in one.dimensions],
                    "Timestamp": datetime.fromtimestamp(one.at, UTC),
                    "Unit": one.unit,
                    **_numbers(one),
                }
                for one in data[start : start + MOST]
            ]
            await self._backed.call(
                scope, "cloudwatch", "PutMetricData", {"Namespace": namespace, "MetricData": shapes}, kept=False
            )


def _numbers(one: Datum) -> dict[str, Any]:
    if one.values:
        return {"Values": [value for value, _ in one.values], "Counts": [count for _, count in one.values]}
    return {
        "StatisticValues": {
            "SampleCount": one.samples,
            "Sum": one.total,
            "Minimum": one.least,
            "Maximum": one.most,
        }
    }
