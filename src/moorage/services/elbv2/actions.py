"""Actions of listeners and rules: from the API's shape to records, with AWS's refusals (semantics elbv2 §3.2, §3.3)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import Action, AuthAction, FixedResponse, Forward, Redirect, WeightedTargetGroup
from moorage.services.elbv2 import auth_actions, validate
from moorage.services.elbv2.validate import invalid

MAX_TARGET_GROUPS = 5
CONTENT_TYPES = ("text/html", "application/json", "application/javascript", "text/css", "text/plain")
_ENDINGS = "'forward', 'redirect' or 'fixed-response'"
LAST = f"You must specify exactly one action of type {_ENDINGS}, and it must be the last action"
_MEMBERS = {
    "forward": ("TargetGroupArn", "ForwardConfig"),
    "redirect": ("RedirectConfig",),
    "fixed-response": ("FixedResponseConfig",),
    "authenticate-oidc": ("AuthenticateOidcConfig",),
    "authenticate-cognito": ("AuthenticateCognitoConfig",),
    "jwt-validation": ("JwtValidationConfig",),
}
_VISIBLE = re.compile(r"[\x20-\x7e]*")
_PLACEHOLDER = re.compile(r"#\{([^}]*)\}")


def parse(
    given: Sequence[Mapping[str, Any]], *, protocol: str, port: int, before: Sequence[Action] = ()
) -> tuple[Action, ...]:
    """`protocol` and `port` of the listener that will perform them, in the order in which it does. `before`: the actions
    that these replace."""
    if not given:
        raise invalid("An action must be specified")
    for action in given:
        _check_members(action)
        auth_actions.check_listener(action["Type"], protocol)
    if len(given) > 1:
        if any(action.get("Order") is None for action in given):
            raise _bad_action("An order must be specified for every action when there are several")
        if len({action["Order"] for action in given}) < len(given):
            raise _bad_action("Every action must have another order")
        given = sorted(given, key=lambda action: int(action["Order"]))
    *first, last = given
    for action in first:
        if action["Type"] not in auth_actions.KINDS:
            raise _bad_action(LAST)
    if last["Type"] in auth_actions.KINDS:
        auth_actions.parse(last, before)
        raise _bad_action(LAST)
    if len(first) > 1:
        raise _bad_action("You can specify only one action that authenticates")
    checked = [auth_actions.parse(action, before) for action in first]
    return (*checked, _action(last, protocol, port))


def _check_members(given: Mapping[str, Any]) -> None:
    """What belongs to an action of another type is refused rather than ignored."""
    for kind, members in _MEMBERS.items():
        for member in members:
            if kind != given["Type"] and given.get(member):
                raise _bad_action(f"'{member}' is not supported for an action of type '{given['Type']}'")


def check_at(records: Sequence[Action], *, protocol: str, port: int) -> None:
    """May a listener that becomes another go on with these actions?"""
    for record in records:
        if isinstance(record, AuthAction):
            auth_actions.check_listener(auth_actions.kind_of(record), protocol)
        elif isinstance(record, Redirect):
            _check_redirect(record, protocol, port)


def _action(given: Mapping[str, Any], protocol: str, port: int) -> Action:
    order = given.get("Order")
    if given["Type"] == "forward":
        return _forward(given, order)
    if given["Type"] == "redirect":
        return _redirect(given.get("RedirectConfig"), order, protocol, port)
    if given["Type"] == "fixed-response":
        return _fixed_response(given.get("FixedResponseConfig"), order)
    raise AwsError("InvalidLoadBalancerAction", f"The action type '{given['Type']}' is not valid")


def _forward(given: Mapping[str, Any], order: int | None) -> Forward:
    config = given.get("ForwardConfig") or {}
    groups = config.get("TargetGroups") or []
    single = given.get("TargetGroupArn")
    if single is not None:
        if groups and [group.get("TargetGroupArn") for group in groups] != [single]:
            raise invalid(
                "You must specify the same target group in the action's TargetGroupArn and in its ForwardConfig"
            )
        groups = groups or [{"TargetGroupArn": single}]
    if not groups:
        raise invalid("A target group ARN must be specified for an action of type 'forward'")
    if len(groups) > MAX_TARGET_GROUPS:
        raise invalid(f"A rule can only have '{MAX_TARGET_GROUPS}' target groups")
    weighted = tuple(_weighted(group, alone=len(groups) == 1) for group in groups)
    if len({group.arn for group in weighted}) < len(weighted):
        raise invalid("Target groups in a forward action must be unique")
    sticky = config.get("TargetGroupStickinessConfig") or {}
    seconds = _stickiness(sticky)
    if not sticky.get("Enabled"):
        return Forward(weighted, None, order, unused_stickiness_seconds=seconds)
    return Forward(weighted, seconds, order)


def _weighted(given: Mapping[str, Any], *, alone: bool) -> WeightedTargetGroup:
    arn = validate.arn("target group", given.get("TargetGroupArn") or "")
    weight = given.get("Weight")
    if weight is None:
        if not alone:
            raise invalid("A weight must be specified for every target group of a forward action")
        weight = 1
    return WeightedTargetGroup(arn, validate.between("Target group weight", weight, 0, 999))


def _stickiness(given: Mapping[str, Any]) -> int | None:
    seconds = given.get("DurationSeconds")
    if seconds is None and not given.get("Enabled"):
        return None
    if seconds is None:
        raise invalid("A duration must be specified when target group stickiness is enabled")
    return validate.between("Target group stickiness duration", seconds, 1, 604800)


def _redirect(given: Mapping[str, Any] | None, order: int | None, protocol: str, port: int) -> Redirect:
    if given is None:
        raise invalid("A redirect configuration must be specified for an action of type 'redirect'")
    redirect = Redirect(
        status_code=given["StatusCode"],
        protocol=given.get("Protocol") or "#{protocol}",
        host=given.get("Host") or "#{host}",
        port=given.get("Port") or "#{port}",
        path=given.get("Path") or "/#{path}",
        query=given.get("Query", "#{query}"),
        order=order,
    )
    if redirect.protocol not in ("HTTP", "HTTPS", "#{protocol}"):
        raise _bad_action("The Protocol parameter must be one of 'HTTP', 'HTTPS' or '#{protocol}'")
    if redirect.port != "#{port}" and not 1 <= (validate.number(redirect.port) or 0) <= 65535:
        raise _bad_action("The Port parameter must be a number between 1 and 65535 or '#{port}'")
    placeholders = _PLACEHOLDER.findall(redirect.path)
    once = len(set(placeholders)) == len(placeholders) and set(placeholders) <= {"path", "host", "port"}
    if not redirect.path.startswith("/") or not once:
        raise _bad_action(
            "The Path parameter must be a valid path, should start with a '/', and may contain up to one of each "
            "of these placeholders: '#{path}', '#{host}', '#{port}'."
        )
    for name, text in (("Host", redirect.host), ("Path", redirect.path), ("Query", redirect.query)):
        if not _VISIBLE.fullmatch(text):
            raise _bad_action(f"The {name} parameter contains a character that is not valid")
    _check_redirect(redirect, protocol, port)
    return redirect


def _check_redirect(redirect: Redirect, protocol: str, port: int) -> None:
    if protocol == "HTTPS" and redirect.protocol == "HTTP":
        raise _bad_action("You cannot redirect HTTPS to HTTP")
    same = (
        redirect.protocol in ("#{protocol}", protocol)
        and redirect.host == "#{host}"
        and redirect.port in ("#{port}", str(port))
        and redirect.path == "/#{path}"
    )
    if same:
        raise _bad_action("The redirect configuration is not valid because it creates a loop.")


def _fixed_response(given: Mapping[str, Any] | None, order: int | None) -> FixedResponse:
    if given is None:
        raise invalid("A fixed response configuration must be specified for an action of type 'fixed-response'")
    content_type, body = given.get("ContentType"), given.get("MessageBody")
    if not re.fullmatch(r"[245]\d\d", given["StatusCode"]):
        raise _bad_action("The StatusCode must be a 2XX, 4XX or 5XX status code")
    if content_type and content_type not in CONTENT_TYPES:
        allowed = ", ".join(f"'{name}'" for name in CONTENT_TYPES)
        raise _bad_action(f"The ContentType must be one of:{allowed}")
    if body is not None and len(body) > 1024:
        raise _bad_action("The MessageBody cannot be longer than 1024 characters")
    return FixedResponse(given["StatusCode"], content_type or None, body, order)


def _bad_action(message: str) -> AwsError:
    return AwsError("InvalidLoadBalancerAction", message)
