"""CloudWatch alarms, read from the embedded CloudWatch: `services/lookups.AlarmLookup` and `control/ports.AlarmSource`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from moorage.domain.alarm import Alarm
from moorage.domain.scope import Scope
from moorage.services.aws_backed.forward import AwsBacked

MOST = 100
"""Names that one DescribeAlarms takes."""
_DEFAULT_WINDOW = 60.0


class MotoAlarms:
    def __init__(self, backed: AwsBacked) -> None:
        self._backed = backed

    async def alarms(self, scope: Scope, names: Sequence[str]) -> dict[str, Alarm]:
        """Those that exist, by name."""
        found: dict[str, Alarm] = {}
        wanted = list(dict.fromkeys(names))
        for start in range(0, len(wanted), MOST):
            some = wanted[start : start + MOST]
            answer = await self._backed.call(
                scope,
                "cloudwatch",
                "DescribeAlarms",
                {"AlarmNames": some, "AlarmTypes": ["MetricAlarm", "CompositeAlarm"], "MaxRecords": MOST},
            )
            listed = [*(answer.get("MetricAlarms") or ()), *(answer.get("CompositeAlarms") or ())]
            found |= {one["AlarmName"]: alarm(one) for one in listed if one["AlarmName"] in some}
        return found

    async def changed(self) -> None:
        """Returns with the next request that may have changed an alarm."""
        await self._backed.changed()


def alarm(shape: Mapping[str, Any]) -> Alarm:
    """From a metric or composite alarm as DescribeAlarms shows it. An alarm on an expression is as slow as its slowest
    metric."""
    periods = [shape.get("Period")]
    periods += [(one.get("MetricStat") or {}).get("Period") or one.get("Period") for one in shape.get("Metrics") or ()]
    period = max((float(p) for p in periods if p), default=_DEFAULT_WINDOW)
    return Alarm(shape["AlarmName"], str(shape.get("StateValue")), period * int(shape.get("EvaluationPeriods") or 1))
