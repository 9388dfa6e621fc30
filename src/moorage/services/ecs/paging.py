"""maxResults and nextToken over a sorted list of strings: the token names the last item given out, so a page stays right
when items come and go between two calls."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

from moorage.domain.errors import AwsError


def page(
    items: Sequence[str], request: dict[str, Any], *, default: int = 100, most: int = 100
) -> tuple[list[str], str | None]:
    """`items` in the order of the answer. Raises InvalidParameterException for a token that is not ours."""
    size = default if request.get("maxResults") is None else request["maxResults"]
    if not 1 <= size <= most:
        raise AwsError("InvalidParameterException", f"maxResults must be between 1 and {most}.")
    start = 0
    token = request.get("nextToken")
    if token:
        start = _position(items, token)
    chosen = list(items[start : start + size])
    more = start + size < len(items)
    return chosen, _encode(chosen[-1], start + size) if more and chosen else None


def _encode(last: str, position: int) -> str:
    return base64.urlsafe_b64encode(f"{position}|{last}".encode()).decode()


def _position(items: Sequence[str], token: str) -> int:
    try:
        position, last = base64.urlsafe_b64decode(token.encode()).decode().split("|", 1)
        at = int(position)
    except (binascii.Error, UnicodeDecodeError, ValueError) as error:
        raise AwsError("InvalidParameterException", "Invalid token.") from error
    if at < 0:
        raise AwsError("InvalidParameterException", "Invalid token.")
    try:
        return items.index(last) + 1
    except ValueError:
        return min(at, len(items))
