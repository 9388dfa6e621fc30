"""Checks of parsed parameters against the model, answered in AWS's words."""

from __future__ import annotations

from moorage.wire.messages import Params
from moorage.wire.model import Operation


def validate(operation: Operation, params: Params) -> None:
    return
