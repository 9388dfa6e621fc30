"""Amazon CloudWatch Logs. Source: semantics around §4."""

from __future__ import annotations

from moorage.services.logs.events import EventOperations
from moorage.services.logs.groups import GroupOperations
from moorage.services.logs.live_tail import LiveTailOperations


class LogsProvider(GroupOperations, EventOperations, LiveTailOperations):
    """`LogsProvider(store, clock, ids, events)`; `events` is a `store.log_events.LogEvents`."""
