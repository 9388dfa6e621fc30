"""Amazon CloudWatch Logs. Source: semantics around §4."""

from __future__ import annotations

from moorage.services.logs.events import EventOperations
from moorage.services.logs.groups import GroupOperations


class LogsProvider(GroupOperations, EventOperations):
    """`LogsProvider(store, clock, ids, events)`; `events` is a `store.log_events.LogEvents`."""
