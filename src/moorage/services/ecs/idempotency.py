"""clientToken: the same token with the same parameters answers with the first call's result, with others it is a
conflict (semantics ecs-tasks §9.1). Tokens are durable and kept for 24 hours."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from moorage.domain.client_token import ClientToken
from moorage.domain.clock import Clock
from moorage.domain.errors import AwsError
from moorage.services.base import RequestContext
from moorage.store.api import Transaction
from moorage.store.tables.ecs import CLIENT_TOKENS

KEPT = 24 * 3600.0


class Idempotency:
    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def replayed(self, tx: Transaction, ctx: RequestContext, name: str, request: dict[str, Any]) -> list[str] | None:
        """The ARNs of the first call with this token, or None when this is the first. Raises ConflictException."""
        token = request.get("clientToken")
        if not token:
            return None
        record = tx.get(CLIENT_TOKENS, _key(ctx, name, token))
        if record is None or self._clock.now() - record.created_at > KEPT:
            return None
        if record.fingerprint != _fingerprint(request):
            raise AwsError(
                "ConflictException",
                "The client token was already used with different parameters.",
                resourceIds=list(record.arns),
            )
        return list(record.arns)

    def remember(
        self, tx: Transaction, ctx: RequestContext, name: str, request: dict[str, Any], arns: list[str]
    ) -> None:
        token = request.get("clientToken")
        if token:
            record = ClientToken(_key(ctx, name, token), _fingerprint(request), tuple(arns), self._clock.now())
            tx.put(CLIENT_TOKENS, record)


def _key(ctx: RequestContext, name: str, token: str) -> str:
    return f"{ctx.account}/{ctx.region}/{name}/{token}"


def _fingerprint(request: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True, default=str).encode()).hexdigest()
