"""What CloudWatch Logs refuses in the parameters of a call, and which events of a batch it drops."""

from __future__ import annotations

import itertools
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec

from moorage.domain.errors import AwsError
from moorage.domain.logs import RETENTIONS
from moorage.services.logs.common import invalid
from moorage.store.log_events_sql import OVERHEAD

MAX_BATCH_BYTES = 1_048_576
MAX_EVENTS = 10_000
HOUR = 3_600_000
DAY = 24 * HOUR
MAX_TAGS = 50

_GROUP_NAME = re.compile(r"[.\-_/#A-Za-z0-9]{1,512}")
_STREAM_NAME = re.compile(r"[^:*]{1,512}")


def _constraint(value: str, member: str, rule: str) -> AwsError:
    return invalid(
        f"1 validation error detected: Value '{value}' at '{member}' failed to satisfy constraint: "
        f"Member must satisfy regular expression pattern: {rule}"
    )


def group_name(name: str) -> str:
    if not _GROUP_NAME.fullmatch(name):
        raise _constraint(name, "logGroupName", r"[\.\-_/#A-Za-z0-9]+")
    if name.startswith("aws/"):
        raise invalid("Log groups starting with 'aws/' are reserved for AWS.")
    return name


def stream_name(name: str) -> str:
    if not _STREAM_NAME.fullmatch(name):
        raise _constraint(name, "logStreamName", "[^:*]*")
    return name


def retention(days: int) -> int:
    if days not in RETENTIONS:
        raise invalid(
            f"1 validation error detected: Value '{days}' at 'retentionInDays' failed to satisfy constraint: "
            f"Member must satisfy enum value set: [{', '.join(map(str, RETENTIONS))}]"
        )
    return days


def tags(added: Mapping[str, str], present: Mapping[str, str]) -> dict[str, str]:
    for key, value in added.items():
        if not 1 <= len(key) <= 128 or len(value) > 256 or key.lower().startswith("aws:"):
            raise invalid(
                "Tag keys have 1 to 128 characters and do not begin with 'aws:'; tag values have at most 256 characters."
            )
    merged = {**present, **added}
    if len(merged) > MAX_TAGS:
        raise AwsError("TooManyTagsException", f"A log group can have at most {MAX_TAGS} tags.")
    return merged


def without(present: Mapping[str, str], keys: Collection[str]) -> dict[str, str]:
    return {key: value for key, value in present.items() if key not in keys}


class Accepted(msgspec.Struct, frozen=True):
    """`events`: what is kept; `rejected`: the answer's rejectedLogEventsInfo, None when nothing was dropped."""

    events: tuple[tuple[int, str], ...]
    rejected: dict[str, int] | None


def batch(events: Sequence[Mapping[str, Any]], now: int, retention_days: int | None) -> Accepted:
    """Checks a batch of PutLogEvents. Dropped, not refused: older than 14 days or the retention, more than two hours
    ahead. The batch is in order, so that the dropped ones stand at its ends."""
    if not 1 <= len(events) <= MAX_EVENTS:
        edge = f"less than or equal to {MAX_EVENTS}" if events else "greater than or equal to 1"
        raise invalid(
            "1 validation error detected: Value at 'logEvents' failed to satisfy constraint: "
            f"Member must have length {edge}"
        )
    size = sum(len(event["message"].encode()) + OVERHEAD for event in events)
    if size > MAX_BATCH_BYTES:
        raise invalid(f"Upload too large: {size} bytes exceeds limit of {MAX_BATCH_BYTES}")
    if not all(event["message"] for event in events):
        raise invalid("Log event message must not be empty.")
    moments = [int(event["timestamp"]) for event in events]
    if any(later < earlier for earlier, later in itertools.pairwise(moments)):
        raise invalid("Log events in a single PutLogEvents request must be in chronological order.")
    if moments[-1] - moments[0] > DAY:
        raise invalid("The batch of log events in a single PutLogEvents request cannot span more than 24 hours.")
    too_old = sum(moment < now - 14 * DAY for moment in moments)
    expired = sum(moment < now - retention_days * DAY for moment in moments) if retention_days is not None else 0
    too_new = sum(moment > now + 2 * HOUR for moment in moments)
    rejected = {}
    if too_old:
        rejected["tooOldLogEventEndIndex"] = too_old
    if expired > too_old:
        rejected["expiredLogEventEndIndex"] = expired
    if too_new:
        rejected["tooNewLogEventStartIndex"] = len(events) - too_new
    kept = events[max(too_old, expired) : len(events) - too_new]
    return Accepted(tuple((int(event["timestamp"]), event["message"]) for event in kept), rejected or None)
