"""What all operations of CloudWatch Logs share: finding groups and streams, limits, pages, refusals."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from moorage.domain.clock import Clock, Ids
from moorage.domain.errors import AwsError
from moorage.domain.logs import NO_GROUP, NO_STREAM, LogGroup, LogStream, group_arn, stream_arn
from moorage.domain.scope import Scope
from moorage.services.base import Provider, RequestContext
from moorage.store.api import StoreApi, View
from moorage.store.log_events import LogEvents
from moorage.store.tables.logs import LOG_GROUPS, LOG_STREAMS

T = TypeVar("T")
Params = Mapping[str, Any]
Answer = dict[str, Any]

MAX_PAGE = 50


class LogsOperations(Provider):
    """The base of the groups of operations that make up `LogsProvider`."""

    service: ClassVar[str] = "logs"

    def __init__(self, store: StoreApi, clock: Clock, ids: Ids, events: LogEvents) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._events = events

    def _now(self) -> int:
        """Epoch milliseconds."""
        return int(self._clock.now() * 1000)

    def _group(self, view: View, context: RequestContext, params: Params) -> LogGroup:
        """The group named by `logGroupName` or `logGroupIdentifier` (a name or an ARN, with or without `:*`)."""
        name, identifier = params.get("logGroupName"), params.get("logGroupIdentifier")
        if (name is None) == (identifier is None):
            raise invalid("Exactly one of logGroupName and logGroupIdentifier must be specified")
        return find_group(view, context.scope, name or identifier or "")

    def _stream(self, view: View, group: LogGroup, name: str) -> LogStream:
        stream = view.get(LOG_STREAMS, stream_arn(group.arn, name))
        if stream is None:
            raise AwsError("ResourceNotFoundException", NO_STREAM)
        return stream

    def _oldest_kept(self, group: LogGroup) -> int:
        """Events before this moment (epoch milliseconds) have expired, deleted already or not."""
        return 0 if group.retention_days is None else self._now() - group.retention_days * 86_400_000


def find_group(view: View, scope: Scope, identifier: str) -> LogGroup:
    arn = identifier if identifier.startswith("arn:") else group_arn(scope, identifier)
    group = view.get(LOG_GROUPS, arn.removesuffix(":*"))
    if group is None or group.scope != scope:
        raise AwsError("ResourceNotFoundException", NO_GROUP)
    return group


def invalid(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


def limit(params: Params, default: int, most: int) -> int:
    value = params.get("limit")
    if value is None:
        return default
    if not 1 <= value <= most:
        edge = f"less than or equal to {most}" if value > most else "greater than or equal to 1"
        raise invalid(
            f"1 validation error detected: Value '{value}' at 'limit' failed to satisfy constraint: "
            f"Member must have value {edge}"
        )
    return int(value)


def page(items: Sequence[T], key: Callable[[T], str], params: Params) -> tuple[list[T], dict[str, str]]:
    """One page of `items`, whose order does not matter to the token: it names the last item shown."""
    items = list(items)
    start = 0
    if params.get("nextToken"):
        last = read_token(params["nextToken"])
        position = next((index for index, item in enumerate(items) if key(item) == last), None)
        if position is None:
            raise invalid("The specified nextToken is invalid.")
        start = position + 1
    size = limit(params, MAX_PAGE, MAX_PAGE)
    shown = items[start : start + size]
    more = start + size < len(items)
    return shown, {"nextToken": make_token(key(shown[-1]))} if more else {}


def make_token(content: str) -> str:
    return base64.urlsafe_b64encode(content.encode()).decode()


def read_token(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise invalid("The specified nextToken is invalid.") from None
