"""`authenticate-oidc` and `jwt-validation` actions: parameters → records and back (semantics elbv2 §6)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import Action, AuthAction, AuthenticateOidc, JwtClaim, ValidateJwt
from moorage.services.elbv2 import validate
from moorage.services.elbv2.validate import unsupported

KINDS = ("authenticate-oidc", "authenticate-cognito", "jwt-validation")
LONGEST_URL = 256
LONGEST_CLIENT_ID = 1024
MOST_CLAIMS = 10
CHECKED_CLAIMS = ("exp", "iss", "nbf", "iat")
RESERVED_PARAMS = ("client_id", "redirect_uri", "response_type", "scope", "state")
_COOKIE_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def check_listener(kind: str, protocol: str) -> None:
    if kind in KINDS and protocol != "HTTPS":
        raise bad(f"Actions of type '{kind}' are supported only on HTTPS listeners")


def parse(given: Mapping[str, Any], before: Sequence[Action] = ()) -> AuthAction:
    """`before`: the actions that these replace, for `UseExistingClientSecret`."""
    kind = given["Type"]
    if kind == "authenticate-cognito":
        raise unsupported(
            "Moorage has no Amazon Cognito user pools that users could log in to: use an action of type "
            "'authenticate-oidc' with any OpenID Connect provider"
        )
    if kind == "jwt-validation":
        return _jwt(given.get("JwtValidationConfig"), given.get("Order"))
    return _oidc(given.get("AuthenticateOidcConfig"), given.get("Order"), before)


def kind_of(record: AuthAction) -> str:
    return "jwt-validation" if isinstance(record, ValidateJwt) else "authenticate-oidc"


def shown(record: AuthAction) -> dict[str, Any]:
    if isinstance(record, ValidateJwt):
        config: dict[str, Any] = {"JwksEndpoint": record.jwks_endpoint, "Issuer": record.issuer}
        if record.additional_claims:
            config["AdditionalClaims"] = [
                {"Format": claim.format, "Name": claim.name, "Values": list(claim.values)}
                for claim in record.additional_claims
            ]
        return {"Type": "jwt-validation", "JwtValidationConfig": config}
    config = {
        "Issuer": record.issuer,
        "AuthorizationEndpoint": record.authorization_endpoint,
        "TokenEndpoint": record.token_endpoint,
        "UserInfoEndpoint": record.user_info_endpoint,
        "ClientId": record.client_id,
        "SessionCookieName": record.session_cookie_name,
        "Scope": record.scope,
        "SessionTimeout": record.session_timeout,
        "OnUnauthenticatedRequest": record.on_unauthenticated,
    }
    if record.extra_params:
        config["AuthenticationRequestExtraParams"] = dict(record.extra_params)
    return {"Type": "authenticate-oidc", "AuthenticateOidcConfig": config}


def bad(message: str) -> AwsError:
    return AwsError("InvalidLoadBalancerAction", message)


def _oidc(given: Mapping[str, Any] | None, order: int | None, before: Sequence[Action]) -> AuthenticateOidc:
    if given is None:
        raise bad("An OIDC configuration must be specified for an action of type 'authenticate-oidc'")
    extra = given.get("AuthenticationRequestExtraParams") or {}
    if len(extra) > MOST_CLAIMS:
        raise bad(f"Up to '{MOST_CLAIMS}' authentication request extra params can be specified")
    for name in extra:
        if name in RESERVED_PARAMS:
            raise bad(f"The authentication request extra param '{name}' is set by the load balancer")
    if not 1 <= len(given["ClientId"]) <= LONGEST_CLIENT_ID:
        raise bad(f"The 'client id' field must be between 1 and {LONGEST_CLIENT_ID} characters in length")
    cookie = given.get("SessionCookieName") or "AWSELBAuthSessionCookie"
    if not _COOKIE_NAME.fullmatch(cookie):
        raise bad(f"The session cookie name '{cookie}' contains a character that is not valid")
    return AuthenticateOidc(
        issuer=_url("Issuer", given["Issuer"]),
        authorization_endpoint=_url("AuthorizationEndpoint", given["AuthorizationEndpoint"]),
        token_endpoint=_url("TokenEndpoint", given["TokenEndpoint"]),
        user_info_endpoint=_url("UserInfoEndpoint", given["UserInfoEndpoint"]),
        client_id=given["ClientId"],
        client_secret=_secret(given, before),
        session_cookie_name=cookie,
        scope=given.get("Scope") or "openid",
        session_timeout=validate.between("Session timeout", given.get("SessionTimeout") or 604800, 1, 604800),
        extra_params=dict(extra),
        on_unauthenticated=given.get("OnUnauthenticatedRequest") or "authenticate",
        order=order,
    )


def _secret(given: Mapping[str, Any], before: Sequence[Action]) -> str:
    secret = given.get("ClientSecret")
    if not given.get("UseExistingClientSecret"):
        if not secret:
            raise bad("A client secret must be specified for an action of type 'authenticate-oidc'")
        return str(secret)
    if secret:
        raise bad("A client secret cannot be specified when UseExistingClientSecret is true")
    known = next((action for action in before if isinstance(action, AuthenticateOidc)), None)
    if known is None:
        raise bad("There is no existing client secret to use")
    return known.client_secret


def _jwt(given: Mapping[str, Any] | None, order: int | None) -> ValidateJwt:
    if given is None:
        raise bad("A JWT validation configuration must be specified for an action of type 'jwt-validation'")
    issuer = given["Issuer"]
    if not 1 <= len(issuer) <= LONGEST_URL:
        raise bad(f"The Issuer cannot be longer than '{LONGEST_URL}' characters")
    claims = given.get("AdditionalClaims") or []
    if len(claims) > MOST_CLAIMS:
        raise bad(f"Up to '{MOST_CLAIMS}' additional claims can be specified")
    return ValidateJwt(
        jwks_endpoint=_url("JwksEndpoint", given["JwksEndpoint"], LONGEST_URL),
        issuer=issuer,
        additional_claims=tuple(_claim(claim) for claim in claims),
        order=order,
    )


def _claim(given: Mapping[str, Any]) -> JwtClaim:
    name, values = given["Name"], given["Values"]
    if name in CHECKED_CLAIMS:
        raise bad(f"The claim '{name}' cannot be specified: it is validated by default")
    if not 1 <= len(values) <= MOST_CLAIMS or any(not 1 <= len(value) <= LONGEST_URL for value in values):
        raise bad(f"A claim must have 1 to '{MOST_CLAIMS}' values of at most '{LONGEST_URL}' characters")
    if given["Format"] == "space-separated-values" and any(" " in value for value in values):
        raise bad("Values of a claim with the format 'space-separated-values' cannot contain spaces")
    return JwtClaim(given["Format"], name, tuple(values))


def _url(name: str, value: str, longest: int = 2048) -> str:
    try:
        parts = urlsplit(value)
        whole = parts.scheme == "https" and bool(parts.hostname) and parts.port != 0 and len(value) <= longest
    except ValueError:  # no IPv6 address between brackets, no number for a port
        whole = False
    if not whole or not value.isascii() or not value.isprintable() or " " in value:
        raise bad(f"The {name} '{value}' must be a full URL, including the HTTPS protocol, the domain, and the path")
    return value
