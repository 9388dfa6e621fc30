"""One request on its way through the chain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from moorage.gateway.credentials import ANONYMOUS, Credentials
from moorage.services.base import Handler, RequestContext
from moorage.wire.messages import Params, WireRequest, WireResponse
from moorage.wire.model import Operation, Service
from moorage.wire.protocols.base import WireProtocol

# (service, context, method, path and query, headers, body) -> (status, headers, body)
Forward = Callable[
    [str, RequestContext, str, str, Mapping[str, str], bytes], Awaitable[tuple[int, Mapping[str, str], bytes]]
]


class Exchange:
    """Filled from left to right by the steps; `response` set early ends the chain."""

    __slots__ = (
        "account", "credentials", "handler", "operation", "operation_name", "params", "principal_arn",
        "protocol", "region", "request", "request_id", "response", "result", "service", "service_name", "source_ip",
    )  # fmt: skip

    def __init__(self, request: WireRequest, request_id: str, source_ip: str) -> None:
        self.request = request
        self.request_id = request_id
        self.source_ip = source_ip
        self.credentials: Credentials = ANONYMOUS
        self.account = self.region = self.principal_arn = ""
        self.service_name = ""
        self.operation_name = ""
        self.service: Service | None = None
        self.protocol: WireProtocol | None = None
        self.operation: Operation | None = None
        self.handler: Handler | None = None
        self.params: Params = {}
        self.result: Mapping[str, Any] = {}
        self.response: WireResponse | None = None

    def context(self) -> RequestContext:
        """Who calls what, where, as handlers get it."""
        return RequestContext(
            account=self.account,
            region=self.region,
            service=self.service_name,
            operation=self.operation_name,
            request_id=self.request_id,
            access_key_id=self.credentials.access_key_id,
            principal_arn=self.principal_arn,
            source_ip=self.source_ip,
        )
