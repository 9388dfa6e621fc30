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


def refuse_nulls(value: Any) -> None:
    """Raises InvalidParameterException when a list or map holds null somewhere inside."""
    items = value.values() if value.__class__ is dict else value if value.__class__ is list else ()
    for item in items:
        if item is None:
            raise AwsError("InvalidParameterException", "Invalid parameter: a list or map must not contain null.")
        if item.__class__ is dict or item.__class__ is list:
            refuse_nulls(item)
