"""Nested parameters as records: what does not fit is AWS's refusal, never a traceback."""

from __future__ import annotations

from typing import Any, TypeVar

import msgspec

from moorage.domain.errors import AwsError

T = TypeVar("T")


def convert(value: Any, kind: type[T]) -> T:
    """`value` in the model's member names as a record of `kind`. Raises InvalidParameterException."""
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        raise AwsError("InvalidParameterException", f"Invalid parameter: {error}") from error
