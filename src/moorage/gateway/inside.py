"""Calls of AWS APIs from inside: the same handlers that a client's request reaches, without HTTP between.

For controllers that make what people could make themselves (Express Mode). Parameters are in the model's member names and
are checked against the model like a client's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from moorage.domain.clock import Ids
from moorage.domain.scope import Scope
from moorage.services.base import Handler, RequestContext
from moorage.wire import model
from moorage.wire.errors import unknown_operation
from moorage.wire.validate import validate


class Neighbour(Protocol):
    """Who answers the services that have no provider of ours."""

    async def call(
        self, scope: Scope, service: str, operation: str, params: Mapping[str, Any]
    ) -> Mapping[str, Any]: ...


class InsideCalls:
    """`handlers`: service → operation → handler (a gateway's); set once they are known."""

    def __init__(self, ids: Ids, neighbour: Neighbour | None = None) -> None:
        self.handlers: Mapping[str, Mapping[str, Handler]] = {}
        self._ids = ids
        self._neighbour = neighbour

    async def call(
        self, scope: Scope, service: str, operation: str, params: Mapping[str, Any], *, principal: str = ""
    ) -> Mapping[str, Any]:
        """The result in the model's member names. Raises `AwsError` as the service words it."""
        handler = self.handlers.get(service, {}).get(operation)
        if handler is None:
            if self._neighbour is None:
                raise unknown_operation(service, operation, query=False)
            return await self._neighbour.call(scope, service, operation, params)
        shape = model.service(service).operation(operation)
        assert shape is not None, "a handler is one of an operation of the model"
        given = dict(params)
        validate(shape, given)
        context = RequestContext(
            account=scope.account,
            region=scope.region,
            service=service,
            operation=operation,
            request_id=self._ids.uuid(),
            access_key_id="",
            principal_arn=principal or f"arn:aws:iam::{scope.account}:root",
        )
        return dict(await handler(context, given) or {})
