"""CloudWatch Logs' tables, and making a group or stream in a transaction (the API and the log router both do)."""

from __future__ import annotations

from collections.abc import Mapping

from moorage.domain.logs import LogGroup, LogStream, group_arn, stream_arn
from moorage.domain.scope import Scope
from moorage.store.api import Table, Transaction

LOG_GROUPS: Table[LogGroup] = Table(
    "log_groups", LogGroup, key=lambda r: r.arn, indexes={"scope": lambda r: (r.account, r.region)}
)
LOG_STREAMS: Table[LogStream] = Table(
    "log_streams", LogStream, key=lambda r: r.arn, indexes={"group": lambda r: r.group_arn, "id": lambda r: r.id}
)
TABLES = (LOG_GROUPS, LOG_STREAMS)


def create_group(
    tx: Transaction, scope: Scope, name: str, identity: str, now: int, tags: Mapping[str, str] | None = None
) -> LogGroup:
    """A new group (the caller has made sure that there is none of that name). `identity`: a fresh id."""
    group = LogGroup(
        arn=group_arn(scope, name),
        id=identity,
        account=scope.account,
        region=scope.region,
        name=name,
        created_at=now,
        tags=dict(tags or {}),
    )
    return tx.put(LOG_GROUPS, group)


def create_stream(tx: Transaction, group: LogGroup, name: str, identity: str, now: int) -> LogStream:
    stream = LogStream(arn=stream_arn(group.arn, name), id=identity, group_arn=group.arn, name=name, created_at=now)
    return tx.put(LOG_STREAMS, stream)
