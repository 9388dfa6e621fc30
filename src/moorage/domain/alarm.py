"""A CloudWatch alarm as far as deployments look at it. Source: semantics ecs-services §3.7."""

from __future__ import annotations

import msgspec

ALARM = "ALARM"


class Alarm(msgspec.Struct, frozen=True):
    """`state`: OK | ALARM | INSUFFICIENT_DATA. `window`: seconds that it needs to notice anything: its period times the
    number of periods that it evaluates."""

    name: str
    state: str
    window: float = 60.0
