"""Who calls, as far as a signature says it. Signatures are read, not verified; nothing here can fail on bad input."""

from __future__ import annotations

from typing import Protocol
from urllib.parse import parse_qs

import msgspec

from moorage.wire.messages import WireRequest


class Credentials(msgspec.Struct, frozen=True):
    """What a signature names; empty strings where it names nothing. `service` is the signing name."""

    access_key_id: str = ""
    region: str = ""
    service: str = ""
    session_token: str = ""


ANONYMOUS = Credentials()


class SessionLookup(Protocol):
    """Knows the access keys that our own STS issued."""

    def session_of(self, access_key_id: str, session_token: str) -> tuple[str, str] | None:
        """`(account, principal ARN)`, or None for a key it did not issue."""
        ...


def read_credentials(request: WireRequest) -> Credentials:
    """Signature version 4 (header or presigned URL), version 2 (S3, old query clients), or nobody."""
    headers = request.headers
    authorization = headers.get("Authorization")
    if authorization is not None:
        start = authorization.find("Credential=")
        if start >= 0:
            scope = authorization[start + 11 :]
            end = scope.find(",")
            return _from_scope(scope if end < 0 else scope[:end], headers.get("X-Amz-Security-Token", ""))
        if authorization.startswith("AWS ") and ":" in authorization:
            return Credentials(authorization[4:].partition(":")[0].strip(), service="s3")
        return ANONYMOUS
    query = request.query
    if "X-Amz-Credential" in query:
        values = _query(query)
        return _from_scope(values.get("X-Amz-Credential", ""), values.get("X-Amz-Security-Token", ""))
    if "AWSAccessKeyId=" in query:
        values = _query(query)
        return Credentials(values["AWSAccessKeyId"], service="" if "Action=" in query else "s3")
    return ANONYMOUS


def _query(query: str) -> dict[str, str]:
    return {key: values[0] for key, values in parse_qs(query, keep_blank_values=True).items()}


def _from_scope(scope: str, token: str) -> Credentials:
    """`AKID/20260101/us-east-1/ecs/aws4_request`; an access key id may itself contain a slash, so count from the right.
    Signature version 4A leaves the region out."""
    parts = scope.strip().split("/")
    if len(parts) >= 5:
        return Credentials("/".join(parts[:-4]), parts[-3], parts[-2], token)
    if len(parts) == 4:
        return Credentials(parts[0], "", parts[2], token)
    return Credentials(parts[0], session_token=token)


def account_of(access_key_id: str) -> str | None:
    """A 12-digit access key id names the account itself, as users of local clouds expect."""
    return access_key_id if len(access_key_id) == 12 and access_key_id.isascii() and access_key_id.isdigit() else None
