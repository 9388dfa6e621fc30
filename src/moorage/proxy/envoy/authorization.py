"""The gRPC service that Envoy asks about requests of rules that authenticate: protobuf ↔ `AuthRequest` and `AuthAnswer`.

It decides nothing: whoever is set as `authorizer` does. Nobody set: everything is refused.
"""

from __future__ import annotations

import logging
from typing import Any

import grpc
import grpc.aio
from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse

from moorage.domain.load_balancer import listener_of
from moorage.proxy.driver import AuthAnswer, Authorizer, AuthRequest
from moorage.proxy.envoy.pages import SERVER, TITLES, page

log = logging.getLogger("moorage.proxy")

SERVICE = "envoy.service.auth.v3.Authorization"
PERMISSION_DENIED = 7
APPEND, OVERWRITE = HeaderValueOption.APPEND_IF_EXISTS_OR_ADD, HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD


class Authorization:
    def __init__(self) -> None:
        self.authorizer: Authorizer | None = None

    def handler(self) -> grpc.GenericRpcHandler:
        method = grpc.unary_unary_rpc_method_handler(
            self._check,
            request_deserializer=CheckRequest.FromString,
            response_serializer=CheckResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Check": method})

    async def _check(self, asked: CheckRequest, _context: grpc.aio.ServicerContext) -> CheckResponse:
        if self.authorizer is None:
            return answer_of(AuthAnswer(status=503, why="nobody can say who this is"))
        try:
            return answer_of(await self.authorizer(request_of(asked)))
        except Exception:
            log.exception("a request could not be authenticated")
            return answer_of(AuthAnswer(status=500, why="an error of ours"))


def request_of(asked: CheckRequest) -> AuthRequest:
    http = asked.attributes.request.http
    context = dict(asked.attributes.context_extensions)
    rule = context.get("rule", "")
    return AuthRequest(
        rule=rule,
        listener=context.get("listener") or listener_of(rule),
        method=http.method,
        host=_host(http.host, context.get("port", "443")),
        path=http.path,
        headers=dict(http.headers),
        client=_client(asked.attributes.source.address.socket_address),
    )


def _client(socket: Any) -> str:
    """As the request log writes it."""
    address = f"[{socket.address}]" if ":" in socket.address else socket.address
    return f"{address}:{socket.port_value}"


def _host(named: str, port: str) -> str:
    """With the port where users reach this machine: the Host rules of load balancers have taken 443 away."""
    bare = named.endswith("]") or ":" not in named
    return f"{named}:{port}" if bare and port != "443" else named


def answer_of(answer: AuthAnswer) -> CheckResponse:
    made: Any = CheckResponse()
    if answer.status is None:
        for name, value in answer.add.items():
            _header(made.ok_response.headers.add(), name, value, OVERWRITE)
        made.ok_response.headers_to_remove.extend(name for name in answer.remove if name not in answer.add)
        for name, value in answer.answer_headers:
            _header(made.ok_response.response_headers_to_add.add(), name, value, APPEND)
        made.ok_response.SetInParent()
        return made
    made.status.code = PERMISSION_DENIED
    denied = made.denied_response
    denied.status.code = answer.status
    _header(denied.headers.add(), "server", SERVER, OVERWRITE)
    for name, value in answer.answer_headers:
        _header(denied.headers.add(), name, value, APPEND)
    if answer.status in TITLES:
        _header(denied.headers.add(), "content-type", "text/html", OVERWRITE)
        denied.body = page(answer.status)
    return made


def _header(option: Any, name: str, value: str, action: int) -> None:
    option.header.key, option.header.value, option.append_action = name, value, action
