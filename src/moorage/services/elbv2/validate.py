"""Checks of parameters that need no store: names, ARNs, tags, ports, pages. AWS's codes and texts (semantics elbv2 §1–§3).

Every function returns what it checked, in the form that records use, or raises `AwsError`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope, scope_of

T = TypeVar("T")

MAX_TAGS = 50
MAX_NAMED = 20
_NAME = re.compile(r"[A-Za-z0-9-]*")
_ARN = r"arn:aws[a-z-]*:elasticloadbalancing:[a-z0-9-]+:\d{12}:"
_KINDS = {
    "load balancer": re.compile(_ARN + r"loadbalancer/(app|net|gwy)/[A-Za-z0-9-]+/[0-9a-f]+"),
    "target group": re.compile(_ARN + r"targetgroup/[A-Za-z0-9-]+/[0-9a-f]+"),
    "listener": re.compile(_ARN + r"listener/(app|net|gwy)/[A-Za-z0-9-]+/[0-9a-f]+/[0-9a-f]+"),
    "trust store": re.compile(_ARN + r"truststore/[A-Za-z0-9-]+/[0-9a-f]+"),
    "listener rule": re.compile(_ARN + r"listener-rule/(app|net|gwy)/[A-Za-z0-9-]+/[0-9a-f]+/[0-9a-f]+/[0-9a-f]+"),
}

_CERTIFICATE = re.compile(
    r"arn:aws[a-z-]*:(acm:(?P<region>[a-z0-9-]+):\d{12}:certificate/[\w.-]+|iam::\d{12}:server-certificate/[\w+=,.@/-]+)"
)


def invalid(message: str) -> AwsError:
    return AwsError("ValidationError", message)


def unsupported(message: str) -> AwsError:
    """What AWS does and Moorage does not do (yet): refused, never pretended."""
    return AwsError("UnsupportedOperation", message)


def load_balancer_name(name: str) -> str:
    subject = f"The load balancer name '{name}'"
    if not name:
        raise invalid("A load balancer name must be specified")
    if len(name) > 32:
        raise invalid(f"{subject} cannot be longer than '32' characters")
    if not _NAME.fullmatch(name):
        raise invalid(f"{subject} can only contain characters that are alphanumeric characters or hyphens(-)")
    if name.startswith("-"):
        raise invalid(f"{subject} cannot begin with a hyphen(-)")
    if name.endswith("-"):
        raise invalid(f"{subject} cannot end with a hyphen(-)")
    if name.startswith("internal-"):
        raise invalid(f"{subject} cannot begin with 'internal-'")
    return name


def target_group_name(name: str) -> str:
    subject = f"Target group name '{name}'"
    if not name:
        raise invalid("A target group name must be specified")
    if len(name) > 32:
        raise invalid(f"{subject} cannot be longer than '32' characters")
    if not _NAME.fullmatch(name):
        raise invalid(f"{subject} can only contain characters that are alphanumeric characters or hyphens(-)")
    if name.startswith("-") or name.endswith("-"):
        raise invalid(f"{subject} cannot begin or end with '-'")
    return name


def trust_store_name(name: str) -> str:
    subject = f"Trust store name '{name}'"
    if not 1 <= len(name) <= 32:
        raise invalid(f"{subject} must be between '1' and '32' characters long")
    if not _NAME.fullmatch(name):
        raise invalid(f"{subject} can only contain characters that are alphanumeric characters or hyphens(-)")
    if name.startswith("-") or name.endswith("-"):
        raise invalid(f"{subject} cannot begin or end with '-'")
    return name


def is_arn(kind: str, value: str) -> bool:
    return bool(_KINDS[kind].fullmatch(value))


def arn(kind: str, value: str) -> str:
    """`kind`: "load balancer", "target group", "listener", "listener rule" or "trust store"."""
    if not is_arn(kind, value):
        raise invalid(f"'{value}' is not a valid {kind} ARN")
    return value


def is_certificate(scope: Scope, value: str) -> bool:
    """May this be the ARN of a certificate that a load balancer of `scope` serves: of ACM in its region, or of IAM?"""
    found = _CERTIFICATE.fullmatch(value)
    return found is not None and found["region"] in (None, scope.region)


def own_arn(scope: Scope, kind: str, value: str) -> str:
    """An ARN of the caller's account and region: any other is no more valid to AWS than a malformed one."""
    if not here(scope, arn(kind, value)):
        raise invalid(f"'{value}' is not a valid {kind} ARN")
    return value


def here(scope: Scope, value: str) -> bool:
    """Does this ARN (of the right form) belong to the caller's account and region?"""
    return scope_of(value) == scope


def at_most_named(count: int, what: str) -> None:
    if count > MAX_NAMED:
        raise invalid(f"The maximum number of {what} that can be specified in a call is '{MAX_NAMED}'")


def tags(given: Iterable[Mapping[str, Any]] | None) -> dict[str, str]:
    """The `Tags` parameter as a map."""
    found: dict[str, str] = {}
    for tag in given or ():
        key = tag["Key"]
        if key in found:
            raise AwsError("DuplicateTagKeys", f"Tag key '{key}' was specified more than once")
        if key.lower().startswith("aws:"):
            raise invalid("Tag keys cannot start with the reserved prefix 'aws:'")
        found[key] = tag.get("Value") or ""
    return limited_tags(found)


def limited_tags(merged: dict[str, str]) -> dict[str, str]:
    if len(merged) > MAX_TAGS:
        raise AwsError("TooManyTags", f"The maximum number of tags per resource is '{MAX_TAGS}'")
    return merged


def between(what: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        raise invalid(f"{what} '{value}' must be between '{low}' and '{high}'")
    return value


def number(text: str) -> int | None:
    """What the digits 0 to 9 of `text` mean; None when there is anything else in it (`isdigit` also likes "²")."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 else None


def page(
    params: Mapping[str, Any], items: Iterable[T], position: Callable[[T], str], *, default_size: int = 400
) -> tuple[list[T], dict[str, str]]:
    """One page of `items` in the order of `position` (unique texts), and the `NextMarker` member if more follow.
    A marker names the last item shown, so that items that come and go meanwhile shift nothing."""
    size = params.get("PageSize", default_size)
    if not 1 <= size <= 400:
        bound = "greater than or equal to 1" if size < 1 else "less than or equal to 400"
        raise invalid(
            f"1 validation error detected: Value '{size}' at 'pageSize' failed to satisfy constraint: "
            f"Member must have value {bound}"
        )
    ordered = sorted(items, key=position)
    if marker := params.get("Marker"):
        after = _unpack(marker)
        ordered = [item for item in ordered if position(item) > after]
    shown = ordered[:size]
    if len(ordered) <= size:
        return shown, {}
    return shown, {"NextMarker": base64.urlsafe_b64encode(position(shown[-1]).encode()).decode()}


def _unpack(marker: str) -> str:
    try:
        return base64.b64decode(marker.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise invalid(f"Invalid marker '{marker}'") from None


def only_one(*choices: object) -> bool:
    """At most one of these was given."""
    return sum(choice is not None and choice != [] for choice in choices) <= 1


def listing(values: Sequence[str]) -> str:
    return ", ".join(values)
