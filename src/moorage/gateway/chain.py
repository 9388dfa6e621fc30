"""The request path of an AWS call, as one list of named steps.

Each step fills its part of the `Exchange`; a step that sets `response` ends the list. Refusals (`AwsError`) and our own
failures leave through `refuse`, in the caller's protocol. Nothing here knows HTTP's mechanics (see `server`) or any
service's meaning.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from moorage.domain.errors import AwsError, MoorageError, Retryable
from moorage.gateway import fallback
from moorage.gateway.credentials import account_of, read_credentials
from moorage.gateway.exchange import Exchange
from moorage.gateway.routing import route
from moorage.wire import model
from moorage.wire.errors import unknown_operation
from moorage.wire.messages import WireResponse
from moorage.wire.protocols import guess_protocol, named_operation, protocol_of
from moorage.wire.validate import validate as check

if TYPE_CHECKING:
    from moorage.gateway.server import Gateway

log = logging.getLogger(__name__)

_REGION = re.compile(r"[a-z0-9-]{1,32}")

Step = Callable[["Gateway", Exchange], Awaitable[None] | None]


def read_signature(_gateway: Gateway, exchange: Exchange) -> None:
    exchange.credentials = read_credentials(exchange.request)


def find_service(gateway: Gateway, exchange: Exchange) -> None:
    name = route(exchange.request, exchange.credentials, gateway.own_services)
    if name is None:
        raise _nobody(exchange)
    exchange.service_name = name


def identify(gateway: Gateway, exchange: Exchange) -> None:
    """Account: a session of our own STS, a 12-digit access key id, else the configured one. Region: the signature's."""
    credentials, settings = exchange.credentials, gateway.settings
    exchange.region = credentials.region if _REGION.fullmatch(credentials.region) else settings.region
    key = credentials.access_key_id
    session = gateway.session_of(key, credentials.session_token) if key and gateway.session_lookup else None
    if session is not None:
        exchange.account, exchange.principal_arn = session
    else:
        exchange.account = account_of(key) or settings.account
        exchange.principal_arn = f"arn:aws:iam::{exchange.account}:root"


def find_operation(gateway: Gateway, exchange: Exchange) -> Awaitable[None] | None:
    """Our own handler if there is one; else the service is served elsewhere, or by nobody."""
    name = exchange.service_name
    handlers = gateway.handlers.get(name)
    if gateway.forwards(name):
        exchange.operation_name = named_operation(exchange.request)  # without a model: what is handed on needs none
        if handlers is None or (exchange.operation_name and exchange.operation_name not in handlers):
            return fallback.forward(gateway, exchange)
    service = exchange.service = model.service(name)
    protocol = exchange.protocol = protocol_of(service, exchange.request)
    operation_name = exchange.operation_name = protocol.operation_name(service, exchange.request)
    handler = handlers.get(operation_name) if handlers is not None else None
    if handler is None:
        if gateway.forwards(name):
            return fallback.forward(gateway, exchange)
        raise unknown_operation(name, operation_name, query=protocol.name in ("query", "ec2"))
    operation = service.operation(operation_name)
    if operation is None:
        raise unknown_operation(name, operation_name, query=protocol.name in ("query", "ec2"))
    exchange.handler, exchange.operation = handler, operation
    return None


def parse(_gateway: Gateway, exchange: Exchange) -> None:
    assert exchange.protocol is not None
    assert exchange.operation is not None
    exchange.params = exchange.protocol.parse(exchange.operation, exchange.request)


def validate(_gateway: Gateway, exchange: Exchange) -> None:
    assert exchange.operation is not None
    check(exchange.operation, exchange.params)


async def dispatch(_gateway: Gateway, exchange: Exchange) -> None:
    assert exchange.handler is not None
    exchange.result = await exchange.handler(exchange.context(), exchange.params) or {}


def serialise(_gateway: Gateway, exchange: Exchange) -> None:
    assert exchange.protocol is not None
    assert exchange.operation is not None
    exchange.response = exchange.protocol.serialize(exchange.operation, exchange.result, exchange.request_id)


STEPS: tuple[Step, ...] = (
    read_signature,
    find_service,
    identify,
    find_operation,
    parse,
    validate,
    dispatch,
    serialise,
)


async def answer(gateway: Gateway, exchange: Exchange) -> WireResponse:
    """Runs the steps; whatever happens, the caller gets an answer in its own protocol."""
    try:
        for step in STEPS:
            pending = step(gateway, exchange)
            if pending is not None:
                await pending
            if exchange.response is not None:
                return exchange.response
    except AwsError as error:
        return refuse(exchange, error)
    except MoorageError as error:
        log.warning("%s:%s: %s", exchange.service_name, exchange.operation_name, error)
        return refuse(exchange, _ours(error, exchange))
    except Exception:
        log.exception("%s:%s failed (request %s)", exchange.service_name, exchange.operation_name, exchange.request_id)
        return refuse(exchange, _bug(exchange))
    raise AssertionError("the last step always answers")


def refuse(exchange: Exchange, error: AwsError) -> WireResponse:
    """The refusal in the caller's protocol, as far as one is known."""
    try:
        if exchange.service is None and exchange.service_name:
            exchange.service = model.service(exchange.service_name)
        if exchange.service is not None:
            protocol = exchange.protocol or protocol_of(exchange.service, exchange.request)
            return protocol.serialize_error(exchange.service, error, exchange.request_id)
    except Exception:
        log.exception("The refusal %s could not be written", error.code)
    return guess_protocol(exchange.request)(error, exchange.request_id)


# What services call "we failed" in their own words; the others say InternalFailure.
_FAULT_CODES = {"ecs": "ServerException", "ecr": "ServerException", "dynamodb": "InternalServerError"}


def _ours(error: MoorageError, exchange: Exchange) -> AwsError:
    if isinstance(error, Retryable):
        return AwsError("ServiceUnavailable", str(error), status=503, sender=False)
    return AwsError(_fault_code(exchange), str(error), status=500, sender=False)


def _bug(exchange: Exchange) -> AwsError:
    sentence = (
        f"Moorage failed while answering {exchange.service_name or 'this request'}"
        f"{':' + exchange.operation_name if exchange.operation_name else ''}. This is a bug in Moorage, not in the "
        f"request; its log has the details under request id {exchange.request_id}."
    )
    return AwsError(_fault_code(exchange), sentence, status=500, sender=False)


def _fault_code(exchange: Exchange) -> str:
    return _FAULT_CODES.get(exchange.service_name, "InternalFailure")


def _nobody(exchange: Exchange) -> AwsError:
    signed = exchange.credentials.service
    target = exchange.request.headers.get("X-Amz-Target")
    if signed or target:
        return AwsError(
            "UnknownOperationException", f"Moorage knows no AWS service for {target or signed!r}.", status=404
        )
    return AwsError(
        "MissingAuthenticationToken",
        "This is Moorage's AWS endpoint, and this request names no AWS service (it is unsigned). Use an AWS client, for "
        f"example: aws --endpoint-url http://{exchange.request.headers.get('Host') or 'localhost:4566'} ecs list-clusters. "
        "Health is at /_moorage/health.",
        status=403 if exchange.request.path == "/" else 404,
    )
