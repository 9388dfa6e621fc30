"""StartLiveTail: events as they arrive, one update a second. Source: semantics around §4.

At most 500 events an update; what comes beyond is left out and `sampled` says so. A session ends after three hours.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec

from moorage.domain.errors import AwsError
from moorage.domain.logs import LogEvent, LogGroup
from moorage.services.base import RequestContext, operation
from moorage.services.logs.common import Answer, LogsOperations, Params, find_group, invalid
from moorage.services.logs.filter_pattern import Predicate, compile_pattern
from moorage.services.logs.filter_values import InvalidPattern
from moorage.store.tables.logs import LOG_STREAMS

EVERY = 1.0
LONGEST_UPDATE = 500
LONGEST_SESSION = 3 * 3600.0
MOST_GROUPS = 10


class Selection(msgspec.Struct, frozen=True):
    """What a session shows. `groups` by their ids; empty `names` and `prefixes`: every stream."""

    groups: dict[str, LogGroup]
    names: tuple[str, ...]
    prefixes: tuple[str, ...]
    matches: Predicate | None

    def wants(self, stream_name: str, message: str) -> bool:
        if self.names and stream_name not in self.names:
            return False
        if self.prefixes and not stream_name.startswith(self.prefixes):
            return False
        return self.matches is None or self.matches(message)


class LiveTailOperations(LogsOperations):
    @operation("StartLiveTail")
    async def start_live_tail(self, context: RequestContext, params: Params) -> Answer:
        selection = self._selection(context, params)
        start: Answer = {
            "requestId": context.request_id,
            "sessionId": self._ids.uuid(),
            "logGroupIdentifiers": list(params["logGroupIdentifiers"]),
            "logStreamNames": list(selection.names),
            "logStreamNamePrefixes": list(selection.prefixes),
            "logEventFilterPattern": params.get("logEventFilterPattern", ""),
        }
        return {"responseStream": self._session(selection, start)}

    async def _session(self, selection: Selection, start: Answer) -> AsyncIterator[dict[str, Any]]:
        waiting: list[Answer] = []
        sampled = False

        def arrived(group_id: str, events: Sequence[LogEvent]) -> None:
            nonlocal sampled
            group = selection.groups.get(group_id)
            name = self._name_of(events[0].stream_id) if group is not None else None
            if group is None or name is None:
                return
            for event in events:
                if selection.wants(name, event.message):
                    if len(waiting) >= LONGEST_UPDATE:
                        sampled = True
                        return
                    waiting.append(_present(event, group, name))

        unwatch = self._events.watch(arrived)
        try:
            ends = self._clock.now() + LONGEST_SESSION
            yield {"sessionStart": start}
            while self._clock.now() < ends:
                await asyncio.sleep(EVERY)
                results, waiting[:] = list(waiting), []
                was_sampled, sampled = sampled, False
                yield {"sessionUpdate": {"sessionMetadata": {"sampled": was_sampled}, "sessionResults": results}}
            raise AwsError("SessionTimeoutException", "The session has timed out after 3 hours.")
        finally:
            unwatch()

    def _selection(self, context: RequestContext, params: Params) -> Selection:
        identifiers = params["logGroupIdentifiers"]
        if not 1 <= len(identifiers) <= MOST_GROUPS:
            raise invalid(f"Between 1 and {MOST_GROUPS} log group identifiers must be specified.")
        if not all(identifier.startswith("arn:") and not identifier.endswith("*") for identifier in identifiers):
            raise invalid("Log group identifiers must be ARNs that do not end with an asterisk.")
        names, prefixes = params.get("logStreamNames") or (), params.get("logStreamNamePrefixes") or ()
        if names and prefixes:
            raise invalid("logStreamNames and logStreamNamePrefixes are mutually exclusive.")
        if (names or prefixes) and len(identifiers) > 1:
            raise invalid("logStreamNames and logStreamNamePrefixes need exactly one log group.")
        groups = [find_group(self._store, context.scope, identifier) for identifier in identifiers]
        try:
            matches = compile_pattern(params.get("logEventFilterPattern") or "")
        except InvalidPattern as error:
            raise invalid(str(error)) from None
        return Selection({group.id: group for group in groups}, tuple(names), tuple(prefixes), matches)

    def _name_of(self, stream_id: str) -> str | None:
        return next((stream.name for stream in self._store.find(LOG_STREAMS, "id", stream_id)), None)


def _present(event: LogEvent, group: LogGroup, stream_name: str) -> Answer:
    return {
        "logStreamName": stream_name,
        "logGroupIdentifier": f"{group.account}:{group.name}",
        "message": event.message,
        "timestamp": event.timestamp,
        "ingestionTime": event.ingested_at,
    }
