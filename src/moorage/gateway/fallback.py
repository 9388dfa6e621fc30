"""Services that are served elsewhere: the request is handed on as it came, CBOR is translated on the way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from moorage.gateway.exchange import Exchange
from moorage.wire.messages import WireResponse

if TYPE_CHECKING:
    from moorage.gateway.server import Gateway


async def forward(gateway: Gateway, exchange: Exchange) -> None:
    """Asks the fallback and answers what it answers."""
    from moorage.gateway.chain import context_of

    request = exchange.request
    assert gateway.fallback is not None
    status, headers, body = await gateway.fallback(
        exchange.service_name,
        context_of(exchange),
        request.method,
        request.path_and_query,
        request.headers,
        request.body,
    )
    exchange.response = WireResponse(status, dict(headers), body)
