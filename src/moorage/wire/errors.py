"""Refusals that the wire itself makes, before any service has seen the call."""

from __future__ import annotations

from moorage.domain.errors import AwsError


class Malformed(ValueError):
    """The bytes do not say what the model expects. Each protocol answers it with its own error code; the text is
    AWS's ("STRING_VALUE can not be converted to an Integer")."""


def malformed_json(reason: str) -> AwsError:
    """What JSON, REST and CBOR services answer to bytes they cannot read."""
    return AwsError("SerializationException", reason)


def unknown_operation(service: str, operation: str, *, query: bool, status: int = 400) -> AwsError:
    """The model knows no such operation, or nobody has implemented it: names it and stays AWS-shaped."""
    sentence = f"Moorage does not implement {service}:{operation} yet."
    return AwsError("InvalidAction" if query else "UnknownOperationException", sentence, status=status)
