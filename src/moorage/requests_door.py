"""The door behind `moor requests`: what the load balancers answered lately, and why.

    GET /_moorage/requests   after=<cursor> | last=<count>, load_balancer=<name, ARN or DNS name>, failed=true

`next` of an answer is the cursor to go on from. Nothing here changes anything.
"""

from __future__ import annotations

from typing import Any, Protocol

import msgspec
from aiohttp import web

from moorage.control.requests import Evidence, RequestLog
from moorage.decide.elbv2_access_log import log_line
from moorage.domain.request_record import RequestRecord

ALWAYS = ("status", "method", "host", "path", "duration", "at", "client")
"""Fields of a record that are told even when they are empty."""


class RequestSource(Protocol):
    """The proxy, as far as this door needs it."""

    async def read_requests(self) -> None: ...

    def api_port(self, port: int) -> int: ...


class RequestsDoor:
    path = "/_moorage/requests"

    def __init__(self, log: RequestLog, source: RequestSource) -> None:
        self._log = log
        self._source = source

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        query = request.query
        cursor, last = query.get("after", "0"), query.get("last")
        if not cursor.isdigit() or not (last or "0").isdigit():
            return web.json_response({"message": "`after` and `last` are whole numbers."}, status=400)
        await self._source.read_requests()
        balancer, failed = query.get("load_balancer", ""), query.get("failed") == "true"
        if last is not None:
            found, following = self._log.latest(int(last), load_balancer=balancer, failed=failed)
        else:
            found, following = self._log.after(int(cursor), load_balancer=balancer, failed=failed)
        return web.json_response({"requests": [self._shown(one) for one in found], "next": following})

    def _shown(self, one: Evidence) -> dict[str, Any]:
        record = one.record
        balancer = self._log.balancer(record)
        shown: dict[str, Any] = msgspec.to_builtins(one)
        for name in ALWAYS:
            shown["record"][name] = getattr(record, name)
        shown["load_balancer"] = balancer.name if balancer is not None else ""
        shown["line"] = self.line(record)
        return shown

    def line(self, record: RequestRecord) -> str:
        """AWS's access log line of a request."""
        return log_line(
            record,
            load_balancer=record.load_balancer,
            scheme="https" if record.tls_version else "http",
            port=self._source.api_port(record.local_port),
        )
