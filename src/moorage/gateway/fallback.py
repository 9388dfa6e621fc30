"""Services that are served elsewhere: the request is handed on as it came. Whoever serves them reads the protocols that it
can, and translates the others with `wire` (see services.aws_backed.translate for CBOR)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from multidict import CIMultiDict

from moorage.gateway.exchange import Exchange
from moorage.gateway.routing import bucket_of
from moorage.wire.messages import WireRequest, WireResponse
from moorage.wire.protocols.base import REQUEST_ID

if TYPE_CHECKING:
    from moorage.gateway.server import Gateway


# Headers that concern one connection; ours has its own.
HOP_BY_HOP = frozenset({"connection", "keep-alive", "date", "server", "transfer-encoding"})


async def forward(gateway: Gateway, exchange: Exchange) -> None:
    """Asks the fallback and answers what it answers."""
    request = path_style(exchange.request) if exchange.service_name == "s3" else exchange.request
    assert gateway.fallback is not None
    status, headers, body = await gateway.fallback(
        exchange.service_name,
        exchange.context(),
        request.method,
        request.path_and_query,
        request.headers,
        request.body,
    )
    answered = CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in HOP_BY_HOP)
    answered.setdefault("x-amz-request-id" if exchange.service_name == "s3" else REQUEST_ID, exchange.request_id)
    exchange.response = WireResponse(status, dict(answered), body)


def path_style(request: WireRequest) -> WireRequest:
    """A virtual-host style S3 request (`bucket.s3.…/key`) as the path-style one (`/bucket/key`); others as they are."""
    host = request.headers.get("Host", "")
    bucket = bucket_of(host)
    if bucket is None:
        return request
    headers = CIMultiDict(request.headers)
    headers["Host"] = host[len(bucket) + 1 :]
    return WireRequest(request.method, f"/{bucket}{request.path}", request.query, headers, request.body)
