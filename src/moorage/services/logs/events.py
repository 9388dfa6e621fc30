"""Log events: put, get, filter. Source: semantics around §4.

Tokens of GetLogEvents name a position in the stream (`f/…` onwards from it, `b/…` back from it), so that the same token
comes back when there is nothing more, which is how clients see the end.
"""

from __future__ import annotations

import re

from moorage.domain.logs import LogEvent, LogGroup
from moorage.services.base import RequestContext, operation
from moorage.services.logs import present, validate
from moorage.services.logs.common import Answer, LogsOperations, Params, invalid, limit, make_token, read_token
from moorage.services.logs.filter_pattern import Predicate, compile_pattern
from moorage.services.logs.filter_values import InvalidPattern
from moorage.store.log_events_sql import EventQuery, Position
from moorage.store.tables.logs import LOG_STREAMS

MAX_EVENTS = 10_000
BAD_TOKEN = "The specified nextToken is invalid."

_TOKEN = re.compile(r"(?P<direction>[fb])/(?P<timestamp>\d{13})(?P<sequence>\d{43})/s")


class EventOperations(LogsOperations):
    @operation("PutLogEvents")
    async def put_log_events(self, context: RequestContext, params: Params) -> Answer:
        group = self._group(self._store, context, params)
        stream = self._stream(self._store, group, params["logStreamName"])
        now = self._now()
        accepted = validate.batch(params["logEvents"], now, group.retention_days)
        await self._events.append(group.id, stream.id, accepted.events, now)
        answer: Answer = {"nextSequenceToken": present.sequence_token(now)}
        if accepted.rejected:
            answer["rejectedLogEventsInfo"] = accepted.rejected
        return answer

    @operation("GetLogEvents")
    async def get_log_events(self, context: RequestContext, params: Params) -> Answer:
        group = self._group(self._store, context, params)
        stream = self._stream(self._store, group, params["logStreamName"])
        start = max(params.get("startTime", 0), self._oldest_kept(group))
        forward, after = bool(params.get("startFromHead", False)), None
        if params.get("nextToken"):
            forward, after = _read_position(params["nextToken"])
        page = await self._events.read(
            EventQuery(
                group_id=group.id,
                stream_id=stream.id,
                start=start,
                end=params.get("endTime", 1 << 62),
                after=after,
                forward=forward,
                limit=limit(params, MAX_EVENTS, MAX_EVENTS),
            )
        )
        events = list(page.events) if forward else list(reversed(page.events))
        ahead, behind = _bounds(events, forward, after, start)
        return {
            "events": [present.output_event(event) for event in events],
            "nextForwardToken": _write_position("f", ahead),
            "nextBackwardToken": _write_position("b", behind),
        }

    @operation("FilterLogEvents")
    async def filter_log_events(self, context: RequestContext, params: Params) -> Answer:
        group = self._group(self._store, context, params)
        forward = bool(params.get("startFromHead", True))
        after = _read_filter_token(params["nextToken"]) if params.get("nextToken") else None
        streams = self._chosen_streams(group, params)
        if streams is not None and not streams:
            return {"events": [], "searchedLogStreams": []}
        page = await self._events.read(
            EventQuery(
                group_id=group.id,
                stream_id=next(iter(streams)) if streams is not None and len(streams) == 1 else None,
                stream_ids=streams,
                start=max(params.get("startTime", 0), self._oldest_kept(group)),
                end=params.get("endTime", 1 << 61) + 1,
                after=after,
                forward=forward,
                limit=limit(params, MAX_EVENTS, MAX_EVENTS),
                matches=_predicate(params.get("filterPattern", "")),
            )
        )
        names = {stream_id: self._stream_name(stream_id) for stream_id in {event.stream_id for event in page.events}}
        answer: Answer = {"events": [], "searchedLogStreams": []}
        for event in page.events:
            name = names[event.stream_id]
            if name is not None:
                answer["events"].append(present.filtered_event(event, name))
        if not page.exhausted and page.position is not None:
            answer["nextToken"] = make_token("{}:{}".format(*page.position))
        return answer

    def _chosen_streams(self, group: LogGroup, params: Params) -> frozenset[str] | None:
        """The ids of the streams that the call names; None: all of the group."""
        names, prefix = params.get("logStreamNames"), params.get("logStreamNamePrefix")
        if names and prefix is not None:
            raise invalid("Cannot specify both logStreamNames and logStreamNamePrefix.")
        if names:
            return frozenset(self._stream(self._store, group, name).id for name in names)
        if prefix is None:
            return None
        streams = self._store.find(LOG_STREAMS, "group", group.arn)
        return frozenset(stream.id for stream in streams if stream.name.startswith(prefix))

    def _stream_name(self, stream_id: str) -> str | None:
        """None when the stream was deleted while its events were read."""
        return next((stream.name for stream in self._store.find(LOG_STREAMS, "id", stream_id)), None)


def _predicate(pattern: str) -> Predicate | None:
    try:
        return compile_pattern(pattern)
    except InvalidPattern as error:
        raise invalid(str(error)) from None


def _bounds(events: list[LogEvent], forward: bool, after: Position | None, start: int) -> tuple[Position, Position]:
    """Where reading goes on: ahead of the last event, and behind the first.

    Without events, in the direction of reading the position stays (the same token again); in the other direction it
    moves by one, so that the event at the position itself is seen when the reader turns round."""
    if events:
        return (events[-1].timestamp, events[-1].sequence), (events[0].timestamp, events[0].sequence)
    if after is None:
        return (start, 0), (start, 0)
    timestamp, sequence = after
    if forward:
        return after, (timestamp, sequence + 1)
    return (timestamp, max(0, sequence - 1)), after


def _write_position(direction: str, position: Position) -> str:
    return f"{direction}/{position[0]:013d}{position[1]:043d}/s"


def _read_position(token: str) -> tuple[bool, Position]:
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise invalid(BAD_TOKEN)
    return match["direction"] == "f", (int(match["timestamp"]), int(match["sequence"]))


def _read_filter_token(token: str) -> Position:
    timestamp, _, sequence = read_token(token).partition(":")
    if not (timestamp.isdigit() and sequence.isdigit()):
        raise invalid(BAD_TOKEN)
    return int(timestamp), int(sequence)
