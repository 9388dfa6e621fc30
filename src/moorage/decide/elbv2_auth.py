"""What the authentication actions of a listener decide, as far as it needs no key and no network. Pure.

Cookies in pieces, where users are sent, which claims hold. Source: semantics elbv2 §6.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from moorage.domain.load_balancer import AuthenticateOidc, JwtClaim, ValidateJwt

CALLBACK = "/oauth2/idpresponse"
NONCE_COOKIE = "AWSALBAuthNonce"
LOGIN_TIMEOUT = 900.0
"""Seconds that users may take to log in."""
COOKIE_LIFE = 7 * 24 * 3600
SHARD = 3900
"""Characters of the value of one cookie: browsers keep 4 KB with name and attributes."""
MOST_SHARDS = 4
LONGEST_CLAIMS = 11 * 1024
TOKEN_HEADERS = ("x-amzn-oidc-accesstoken", "x-amzn-oidc-identity", "x-amzn-oidc-data")
LEEWAY = 60.0
_BEARER = re.compile(r"bearer +(\S+) *", re.IGNORECASE)


def cookies_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The request's cookies; the first of a name counts."""
    found: dict[str, str] = {}
    for pair in headers.get("cookie", "").split(";"):
        name, equals, value = pair.strip().partition("=")
        if equals:
            found.setdefault(name, value)
    return found


def joined(cookies: Mapping[str, str], name: str) -> str:
    """The session cookie from its pieces `name-0`, `name-1` …; "" when there is none."""
    pieces: list[str] = []
    while (piece := cookies.get(f"{name}-{len(pieces)}")) is not None and len(pieces) < MOST_SHARDS:
        pieces.append(piece)
    return "".join(pieces)


def set_session(name: str, value: str) -> list[str]:
    """`Set-Cookie` values that hold the session, and end the pieces of an earlier, longer one."""
    pieces = [value[at : at + SHARD] for at in range(0, len(value), SHARD)]
    kept = [
        f"{name}-{number}={piece}; Max-Age={COOKIE_LIFE}; Path=/; Secure; HttpOnly; SameSite=None"
        for number, piece in enumerate(pieces)
    ]
    gone = [
        f"{name}-{number}=; Max-Age=0; Path=/; Secure; HttpOnly; SameSite=None"
        for number in range(len(pieces), MOST_SHARDS)
    ]
    return kept + gone


def set_nonce(value: str) -> str:
    return f"{NONCE_COOKIE}={value}; Max-Age={int(LOGIN_TIMEOUT)}; Path=/; Secure; HttpOnly; SameSite=None"


def redirect_uri(host: str) -> str:
    """Where the provider sends users back to."""
    return f"https://{host}{CALLBACK}"


def authorize_url(config: AuthenticateOidc, host: str, state: str) -> str:
    parts = urlsplit(config.authorization_endpoint)
    asked = {
        **dict(parse_qsl(parts.query)),
        **config.extra_params,
        "client_id": config.client_id,
        "redirect_uri": redirect_uri(host),
        "response_type": "code",
        "scope": config.scope,
        "state": state,
    }
    return parts._replace(query=urlencode(asked, quote_via=quote)).geturl()


def bearer_of(headers: Mapping[str, str]) -> str | None:
    """The token of `Authorization: Bearer …`."""
    found = _BEARER.fullmatch(headers.get("authorization", ""))
    return found.group(1) if found is not None else None


def why_invalid(claims: Mapping[str, Any], config: ValidateJwt, now: float) -> str | None:
    """Why a token with a good signature is not accepted; None: it is."""
    if claims.get("iss") != config.issuer:
        return "its issuer is another one" if "iss" in claims else "it names no issuer"
    expires = claims.get("exp")
    if not isinstance(expires, int | float):
        return "it has no expiry"
    if expires <= now:
        return "it has expired"
    for name in ("nbf", "iat"):
        value = claims.get(name, 0)
        if not isinstance(value, int | float) or value > now + LEEWAY:
            return f"its {name} is in the future"
    for claim in config.additional_claims:
        if not _holds(claim, claims.get(claim.name)):
            return f"its claim {claim.name} is not one of those that are asked for"
    return None


def _holds(claim: JwtClaim, value: Any) -> bool:
    if claim.format == "string-array":
        return isinstance(value, list) and any(one in claim.values for one in value)
    if not isinstance(value, str):
        return False
    if claim.format == "space-separated-values":
        return any(one in claim.values for one in value.split())
    return value in claim.values
