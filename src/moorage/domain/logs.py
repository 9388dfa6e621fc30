"""CloudWatch Logs records: groups, streams, events. Source: semantics around §4. Times are epoch milliseconds.

Groups and streams are records of the store; events are far too many for that and live in `store/log_events.py`, keyed by
the ids below. A group or stream that is deleted and made again gets a new id, so old events can never come back.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

from moorage.domain.scope import Scope

LogGroupClass = Literal["STANDARD", "INFREQUENT_ACCESS", "DELIVERY", "ESSENTIALS"]
RETENTIONS = (1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653)

NO_GROUP = "The specified log group does not exist."
NO_STREAM = "The specified log stream does not exist."
GROUP_EXISTS = "The specified log group already exists"
STREAM_EXISTS = "The specified log stream already exists"


class LogGroup(msgspec.Struct, frozen=True):
    """`arn` without the trailing `:*`. `retention_days` None: kept for ever."""

    arn: str
    id: str
    account: str
    region: str
    name: str
    created_at: int
    retention_days: int | None = None
    kms_key_id: str | None = None
    group_class: LogGroupClass = "STANDARD"
    deletion_protected: bool = False
    tags: Mapping[str, str] = {}

    @property
    def scope(self) -> Scope:
        return Scope(self.account, self.region)


class LogStream(msgspec.Struct, frozen=True):
    arn: str
    id: str
    group_arn: str
    name: str
    created_at: int


class LogEvent(NamedTuple):
    """`sequence` orders events of the same millisecond and is unique in an installation."""

    timestamp: int
    sequence: int
    stream_id: str
    ingested_at: int
    message: str

    @property
    def event_id(self) -> str:
        """56 digits, as CloudWatch's; sorts like the events themselves."""
        return f"{self.timestamp:013d}{self.sequence:043d}"


def group_arn(scope: Scope, name: str) -> str:
    return scope.arn("logs", f"log-group:{name}")


def stream_arn(group: str, name: str) -> str:
    return f"{group}:log-stream:{name}"
