"""Actions that authenticate, through the provider."""

from __future__ import annotations

from typing import Any

import pytest

from .rig import Rig, certificate, fixed, path

OIDC = {
    "Issuer": "https://id.example.com",
    "AuthorizationEndpoint": "https://id.example.com/authorize",
    "TokenEndpoint": "https://id.example.com/token",
    "UserInfoEndpoint": "https://id.example.com/me",
    "ClientId": "shop",
}
JWT = {"JwksEndpoint": "https://id.example.com/keys", "Issuer": "https://id.example.com"}


def oidc(order: int | None = 1, **config: Any) -> dict[str, Any]:
    made = {"Type": "authenticate-oidc", "AuthenticateOidcConfig": {**OIDC, "ClientSecret": "hush", **config}}
    return {**made, "Order": order} if order is not None else made


def jwt(**config: Any) -> dict[str, Any]:
    return {"Type": "jwt-validation", "Order": 1, "JwtValidationConfig": {**JWT, **config}}


LAST = {**fixed(), "Order": 2}


@pytest.fixture
async def listener(elb: Rig) -> str:
    owner = (await elb.load_balancer())["LoadBalancerArn"]
    answer = await elb.call(
        "CreateListener",
        LoadBalancerArn=owner,
        Protocol="HTTPS",
        Port=443,
        Certificates=[{"CertificateArn": certificate("one")}],
        DefaultActions=[fixed()],
    )
    return str(answer["Listeners"][0]["ListenerArn"])


async def test_the_secret_is_kept_and_never_shown(elb: Rig, listener: str) -> None:
    rule = await elb.rule(listener, Actions=[LAST, oidc()])
    first, last = rule["Actions"]
    assert (first["Type"], first["Order"], last["Type"], last["Order"]) == ("authenticate-oidc", 1, "fixed-response", 2)
    assert first["AuthenticateOidcConfig"] == {
        **OIDC,
        "SessionCookieName": "AWSELBAuthSessionCookie",
        "Scope": "openid",
        "SessionTimeout": 604800,
        "OnUnauthenticatedRequest": "authenticate",
    }
    again = {"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": {**OIDC, "Scope": "openid email"}}
    refusal = await elb.refused("ModifyRule", RuleArn=rule["RuleArn"], Actions=[again, LAST])
    assert "client secret" in refusal.message
    again["AuthenticateOidcConfig"]["UseExistingClientSecret"] = True
    changed = await elb.call("ModifyRule", RuleArn=rule["RuleArn"], Actions=[again, LAST])
    assert changed["Rules"][0]["Actions"][0]["AuthenticateOidcConfig"]["Scope"] == "openid email"


async def test_tokens(elb: Rig, listener: str) -> None:
    claims = [{"Format": "string-array", "Name": "roles", "Values": ["admin"]}]
    rule = await elb.rule(listener, Actions=[jwt(AdditionalClaims=claims), LAST])
    assert rule["Actions"][0]["JwtValidationConfig"] == {**JWT, "AdditionalClaims": claims}


@pytest.mark.parametrize(
    ("actions", "code", "message"),
    [
        ([oidc(None)], "InvalidLoadBalancerAction", "it must be the last action"),
        ([oidc(), jwt()], "InvalidLoadBalancerAction", "Every action must have another order"),
        ([oidc(), {**jwt(), "Order": 2}, {**LAST, "Order": 3}], "InvalidLoadBalancerAction", "only one action"),
        ([oidc(), fixed()], "InvalidLoadBalancerAction", "An order must be specified"),
        ([oidc(Issuer="http://id.example.com"), LAST], "InvalidLoadBalancerAction", "must be a full URL"),
        ([oidc(SessionTimeout=604801), LAST], "ValidationError", "Session timeout '604801'"),
        ([oidc(AuthenticationRequestExtraParams={"state": "x"}), LAST], "InvalidLoadBalancerAction", "'state'"),
        ([oidc(ClientId=""), LAST], "InvalidLoadBalancerAction",
         "The 'client id' field must be between 1 and 1024 characters in length"),
        ([{**oidc(), "JwtValidationConfig": JWT}, LAST], "InvalidLoadBalancerAction",
         "'JwtValidationConfig' is not supported for an action of type 'authenticate-oidc'"),
        ([jwt(AdditionalClaims=[{"Format": "single-string", "Name": "exp", "Values": ["1"]}]), LAST],
         "InvalidLoadBalancerAction", "'exp'"),
        ([{"Type": "authenticate-cognito", "Order": 1}, LAST], "UnsupportedOperation", "Cognito"),
    ],
)  # fmt: skip
async def test_refusals(elb: Rig, listener: str, actions: list[dict[str, Any]], code: str, message: str) -> None:
    refusal = await elb.refused(
        "CreateRule", ListenerArn=listener, Priority=1, Conditions=[path("/a")], Actions=actions
    )
    assert (refusal.code, message in refusal.message) == (code, True), refusal.message
