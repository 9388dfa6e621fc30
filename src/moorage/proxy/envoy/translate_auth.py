"""Actions that authenticate → Envoy's external authorization, asked of the control plane. Pure.

The filter is on only for routes of rules that authenticate; it tells the control plane which rule asks. While the control
plane is away, such requests are answered 503: rather closed than open.
"""

from __future__ import annotations

from typing import Any

from moorage.domain.load_balancer import Action, AuthenticateOidc, Listener, Rule, auth_of

AUTH = "moorage.auth"
CALLBACK = "/oauth2/idpresponse"
_FILTER = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"
_PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute"
PATIENCE = "30s"
"""A provider is asked meanwhile."""


def filters() -> list[dict[str, Any]]:
    """For every connection manager, before what rewrites requests; off until a route switches it on."""
    return [
        {
            "name": AUTH,
            "disabled": True,
            "typed_config": {
                "@type": _FILTER,
                "transport_api_version": "V3",
                "grpc_service": {"envoy_grpc": {"cluster_name": "moorage"}, "timeout": PATIENCE},
                "status_on_error": {"code": "ServiceUnavailable"},
            },
        }
    ]


def guarded(
    routes: list[dict[str, Any]], actions: tuple[Action, ...], rule_arn: str, port: int
) -> list[dict[str, Any]]:
    """The routes of a rule, behind its authentication if it has one. `port` of this machine, to which users come back."""
    if auth_of(actions) is None:
        return routes
    asks = per_route(rule=rule_arn, port=str(port))
    return [
        {**route, "typed_per_filter_config": {**route.get("typed_per_filter_config", {}), **asks}} for route in routes
    ]


def callback(listener: Listener, rules: tuple[Rule, ...], port: int) -> list[dict[str, Any]]:
    """The door to which providers send users back; before all rules of a listener where users log in."""
    of_all = (listener.default_actions, *(rule.actions for rule in rules))
    if not any(isinstance(auth_of(actions), AuthenticateOidc) for actions in of_all):
        return []
    return [
        {
            "match": {"path": CALLBACK},
            "direct_response": {"status": 404},
            "typed_per_filter_config": per_route(listener=listener.arn, port=str(port)),
        }
    ]


def per_route(**context: str) -> dict[str, Any]:
    return {AUTH: {"@type": _PER_ROUTE, "check_settings": {"context_extensions": context}}}
