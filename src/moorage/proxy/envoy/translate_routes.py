"""The rules of one listener → one Envoy RouteConfiguration. Pure. Source: semantics elbv2 §6, §7.

Rules in ascending priority, the default rule last; the first route that matches wins, as in AWS. The same route
configuration serves the load balancer's own address and the shared edge listener.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from moorage.domain.load_balancer import Action, FixedResponse, Forward, Listener, LoadBalancer, Redirect, Rule
from moorage.proxy.envoy import desync, translate_auth
from moorage.proxy.envoy.lua import LUA_PER_ROUTE, lua_per_route
from moorage.proxy.envoy.pages import page, server_header
from moorage.proxy.envoy.request_log import GRPC, refused_name, route_name
from moorage.proxy.envoy.script import MARK, TargetTraits, redirect_script, script
from moorage.proxy.envoy.sticky import Stickiness
from moorage.proxy.envoy.translate_conditions import path_beginnings, route_match
from moorage.proxy.envoy.translate_headers import added_header as _header
from moorage.proxy.envoy.translate_headers import header_mutations, request_headers, response_headers
from moorage.proxy.envoy.translate_index import Candidate, chosen_by_path
from moorage.proxy.envoy.translate_transforms import per_route

RETRIES = 5
DEFAULT_IDLE = "60"
LUA = "envoy.filters.http.lua"
MUTATE = "envoy.filters.http.header_mutation"
STICKY = "envoy.filters.http.stateful_session"
_MUTATE_PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute"
MOST_FORWARDERS = 30
LONGEST_PATH = 16_384
NOBODYS_ADDRESS = "255.255.255.255"
"""What Envoy is told to believe (it wants an address), and nobody may claim to be."""
_FILTER = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
_LUA_MATCHER = "type.googleapis.com/envoy.extensions.string_matcher.lua.v3.Lua"
_STICKY_PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.stateful_session.v3.StatefulSessionPerRoute"
_STICKY_COOKIE = "type.googleapis.com/envoy.extensions.http.stateful_session.cookie.v3.CookieBasedSessionState"
_LUA_OF_LISTENER = {"@type": LUA_PER_ROUTE, "filter_context": {}}
_PREVIOUS = "type.googleapis.com/envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"


class RouteContext(msgspec.Struct, frozen=True):
    """What the routes of a listener depend on beside its rules. `port_of` maps a port of the API to the port of this
    machine (redirects must lead to something that answers). `traits`: target group ARN → what is special about it."""

    load_balancer: LoadBalancer
    listener: Listener
    port_of: Callable[[int], int]
    traits: Mapping[str, TargetTraits] = {}

    @property
    def idle_timeout(self) -> dict[str, str]:
        """AWS's default is what the listeners have already; saying it again would cost every request a timer."""
        seconds = self.load_balancer.attributes.get("idle_timeout.timeout_seconds", DEFAULT_IDLE)
        return {} if seconds == DEFAULT_IDLE else {"idle_timeout": f"{seconds}s"}

    @property
    def preserve_host(self) -> bool:
        return self.load_balancer.preserves_host


def route_configuration(name: str, context: RouteContext, rules: Iterable[Rule]) -> dict[str, Any]:
    """The envoy.config.route.v3.RouteConfiguration of a listener."""
    default, port = context.listener, context.port_of(context.listener.port)
    ordered = tuple(sorted(rules, key=lambda rule: rule.priority))
    candidates = [Candidate(_named(0, default.default_rule_arn, translate_auth.callback(default, ordered, port)))]
    for rule in ordered:
        made_of_rule = _routes(route_match(rule.conditions), rule.actions, context)
        made_of_rule = translate_auth.guarded(made_of_rule, rule.actions, rule.arn, port)
        named = _named(rule.priority, rule.arn, _transformed(made_of_rule, rule))
        candidates.append(Candidate(named, path_beginnings(rule.conditions)))
    made_of_default = _routes(route_match(()), default.default_actions, context)
    made_of_default = translate_auth.guarded(made_of_default, default.default_actions, default.default_rule_arn, port)
    candidates.append(Candidate(_named(0, default.default_rule_arn, made_of_default)))
    refused = [_too_many_forwarders(), _too_long()]
    filters = desync.per_route(context.load_balancer)
    if context.preserve_host:
        filters[LUA] = lua_per_route(script(default.port, preserve_host=True))
    if not has_filters([route for one in candidates for route in one.routes]):
        refused += unusual(default.port, filters.get(LUA, _LUA_OF_LISTENER), context.preserve_host)
        filters[LUA] = {"@type": _FILTER, "disabled": True}
    name_of_refused = refused_name(default.default_rule_arn)
    refused = [{"name": name_of_refused, **route} for route in refused]
    made: dict[str, Any] = {
        "name": name,
        "vhost_header": ":method",
        "virtual_hosts": _by_method(name_of_refused, chosen_by_path(refused, candidates)),
        **request_headers(context.load_balancer, default),
        **response_headers(default),
    }
    if mutations := header_mutations(context.load_balancer, default):
        filters[MUTATE] = {"@type": _MUTATE_PER_ROUTE, "mutations": mutations}
    if filters:
        made["typed_per_filter_config"] = filters
    return made


def _too_many_forwarders() -> dict[str, Any]:
    """463: more than 30 addresses in X-Forwarded-For (semantics elbv2 §8), or one that is no client's."""
    forged = NOBODYS_ADDRESS.replace(".", r"\.")
    many = {"safe_regex": {"regex": f"(?:[^,]*,){{{MOST_FORWARDERS}}}.*|[^,]*{forged}[^,]*"}}
    match = {"prefix": "/", "headers": [{"name": "x-forwarded-for", "string_match": many}]}
    return {"match": match, **fixed(463, page(463), "text/html")}


def _too_long() -> dict[str, Any]:
    """414. A regular expression that counts that far is 16,385 states: 3 ms and half a megabyte for each listener."""
    source = f"function envoy_match(path) return #path > {LONGEST_PATH} end"
    matcher = {"@type": _LUA_MATCHER, "source_code": {"inline_string": source}}
    long = {"custom": {"name": "envoy.string_matcher.lua", "typed_config": matcher}}
    match = {"prefix": "/", "headers": [{"name": ":path", "string_match": long}]}
    return {"match": match, **fixed(414, page(414), "text/html")}


def unusual(port: int, program: dict[str, Any], preserve_host: bool) -> list[dict[str, Any]]:
    """Routes for requests that need the script, before those of the rules: what brings a trace id, or a Host that must
    change. Their route switches the script on (entering Lua costs as much as everything
    else here together), the script marks the request and has its route chosen again, and then these are passed over.
    That must not be so where a rule's own filters are switched on by its route: which filters a request passes is
    settled with its first route (`has_filters`)."""
    conditions: list[dict[str, Any]] = [{"name": "x-amzn-trace-id", "present_match": True}]
    if not preserve_host and port in (80, 443):
        conditions.append({"name": ":authority", "string_match": {"contains": ":"}})
    elif not preserve_host:
        conditions.append({"name": ":authority", "string_match": {"suffix": f":{port}"}, "invert_match": True})
    unmarked = {"filter": MARK, "path": [{"key": MARK}], "value": {"present_match": True}, "invert": True}
    return [
        {
            "match": {"prefix": "/", "headers": [condition], "dynamic_metadata": [unmarked]},
            **fixed(500, page(500), "text/html"),  # should the script fail
            "typed_per_filter_config": {LUA: program},
        }
        for condition in conditions
    ]


def has_filters(routes: Sequence[dict[str, Any]]) -> bool:
    """Does any of them switch on or configure a filter?"""
    clusters = (c for r in routes for c in r.get("route", {}).get("weighted_clusters", {}).get("clusters", ()))
    return any("typed_per_filter_config" in one for one in itertools.chain(routes, clusters))


def _transformed(routes: list[dict[str, Any]], rule: Rule) -> list[dict[str, Any]]:
    """Only what is forwarded is rewritten."""
    filters = per_route(rule.transforms)
    if not filters:
        return routes
    return [
        {**route, "typed_per_filter_config": {**route.get("typed_per_filter_config", {}), **filters}}
        if "route" in route
        else route
        for route in routes
    ]


def _named(priority: int, rule_arn: str, routes: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The name is what the request log knows of the rule. (What a route has for a name already is a remark in it.)"""
    return [{**route, "name": route_name(priority, rule_arn, route.get("name", ""))} for route in routes]


def _by_method(name_of_refused: str, chosen: dict[str, Any]) -> list[dict[str, Any]]:
    """Virtual hosts told apart by the method instead of the Host: what may be repeated, what may not, and what is not
    served at all. `chosen`: how they choose a route."""
    refused = {"name": name_of_refused, "match": {"prefix": "/"}, **fixed(405, page(405), "text/html")}
    return [
        {"name": "safe", "domains": ["GET", "HEAD"], **chosen, "retry_policy": _retry_policy(",reset")},
        {"name": "trace", "domains": ["TRACE"], "routes": [refused]},
        {"name": "other", "domains": ["*"], **chosen, "retry_policy": _retry_policy("")},
    ]


def _retry_policy(also: str) -> dict[str, Any]:
    """A request that reached no target is repeated on another one; GET and HEAD (`also` reset) even when the connection
    broke after the request was written."""
    return {
        "retry_on": f"connect-failure,refused-stream,reset-before-request{also}",
        "num_retries": RETRIES,
        "retry_host_predicate": [
            {"name": "envoy.retry_host_predicates.previous_hosts", "typed_config": {"@type": _PREVIOUS}}
        ],
        "host_selection_retry_max_attempts": 5,
        "retry_back_off": {"base_interval": "0.010s", "max_interval": "0.100s"},
    }


def _routes(match: dict[str, Any], actions: Iterable[Action], context: RouteContext) -> list[dict[str, Any]]:
    action = next(reversed(tuple(actions)), None)
    if isinstance(action, Forward):
        return _forward(match, action, context)
    if isinstance(action, Redirect):
        return [{"match": match, **_redirect(action, context)}]
    if isinstance(action, FixedResponse):
        return [{"match": match, **fixed(int(action.status_code), action.body or "", action.content_type)}]
    return [{"match": match, **_unavailable()}]


def _forward(match: dict[str, Any], action: Forward, context: RouteContext) -> list[dict[str, Any]]:
    """All weights zero answers 503 (AWS's behaviour is not known)."""
    groups = [g for g in action.target_groups if g.weight > 0]
    if not groups:
        return [{"match": match, **_unavailable()}]
    common = {"timeout": "0s", **context.idle_timeout}
    named = {"name": GRPC} if all(_speaks_grpc(g.arn, context) for g in action.target_groups) else {}
    if len(action.target_groups) == 1:
        arn = groups[0].arn
        return [
            *_no_grpc(match, [arn], context),
            {**named, "match": match, "route": {"cluster": arn, **common}, **_special(arn, context)},
        ]
    seconds = action.stickiness_seconds
    shares = [{"name": g.arn, "weight": g.weight, **_special(g.arn, context, group_seconds=seconds)} for g in groups]
    weighted = {**named, "match": match, "route": {"weighted_clusters": {"clusters": shares}, **common}}
    refused = _no_grpc(match, [g.arn for g in groups], context)
    if seconds is None:
        return [*refused, weighted]
    # a group that gets nobody new keeps those who are its own already
    stuck = [
        {
            **named,
            "match": _with_cookie(match, g.arn),
            "route": {"cluster": g.arn, **common},
            **_special(g.arn, context, group_seconds=seconds, led=True),
        }
        for g in action.target_groups
    ]
    return [*refused, *stuck, weighted]


def _speaks_grpc(arn: str, context: RouteContext) -> bool:
    return arn in context.traits and context.traits[arn].version == "GRPC"


def _no_grpc(match: dict[str, Any], arns: Iterable[str], context: RouteContext) -> list[dict[str, Any]]:
    """464: gRPC that would go to targets which speak HTTP/1.1 (semantics elbv2 §7). gRPC needs HTTP/2, so HTTPS."""
    if context.listener.protocol != "HTTPS":
        return []
    if any(context.traits[arn].version != "HTTP1" for arn in arns if arn in context.traits):
        return []
    return [{"name": "464", "match": {**match, "grpc": {}}, **fixed(464, page(464), "text/html")}]


def _special(arn: str, context: RouteContext, *, group_seconds: int | None = None, led: bool = False) -> dict[str, Any]:
    """What a route to this target group needs beside its cluster: target stickiness by a cookie, and a program of its own.
    `group_seconds`: of target group stickiness; `led`: its cookie leads here."""
    traits = context.traits.get(arn)
    if traits in (None, TargetTraits(zonal=True)) and group_seconds is None:
        return {}
    seconds = traits.sticky_seconds if traits is not None else None
    application = traits.app_cookie if traits is not None else ""
    stickiness = None
    if seconds is not None or group_seconds is not None:
        token = "" if group_seconds is None else _token(arn)
        stickiness = Stickiness(seconds, application, token, group_seconds or 0, led)
    host = context.preserve_host
    source = script(context.listener.port, preserve_host=host, traits=traits, stickiness=stickiness)
    filters = {LUA: lua_per_route(source)}
    if seconds is not None:
        cookie = {"name": "AWSALBAPP-0" if application else "AWSALB", "path": "/", "ttl": f"{seconds}s"}
        state = {
            "name": "envoy.http.stateful_session.cookie",
            "typed_config": {"@type": _STICKY_COOKIE, "cookie": cookie},
        }
        filters[STICKY] = {"@type": _STICKY_PER_ROUTE, "stateful_session": {"session_state": state}}
    return {"typed_per_filter_config": filters}


def _token(arn: str) -> str:
    return hashlib.sha256(arn.encode()).hexdigest()[:32]


def _with_cookie(match: dict[str, Any], arn: str) -> dict[str, Any]:
    regex = rf"(?:.*;\s*)?AWSALBTG(?:CORS)?={_token(arn)}\.\d+(?:;.*)?"
    cookie = {"name": "cookie", "string_match": {"safe_regex": {"regex": regex}}}
    return {**match, "headers": [*match.get("headers", []), cookie]}


def _redirect(redirect: Redirect, context: RouteContext) -> dict[str, Any]:
    """Envoy's own redirect where it can say the same (it keeps the query and prints the port), else the script."""
    here = context.listener.protocol.lower()
    protocol = redirect.protocol.replace("#{protocol}", here).lower()
    port = context.port_of(int(redirect.port.replace("#{port}", str(context.listener.port))))
    status = int(redirect.status_code.removeprefix("HTTP_"))
    plain = _plain_redirect(redirect)
    if plain is None:
        resolved = msgspec.structs.replace(redirect, protocol=protocol, port=str(port))
        source = redirect_script(
            resolved, protocol=here, port=context.port_of(context.listener.port), status=status, body=page(status)
        )
        return {**fixed(500, page(500), "text/html"), "typed_per_filter_config": {LUA: lua_per_route(source)}}
    code = "MOVED_PERMANENTLY" if status == 301 else "FOUND"
    return {"redirect": {"scheme_redirect": protocol, "port_redirect": port, "response_code": code, **plain}}


def _plain_redirect(redirect: Redirect) -> dict[str, Any] | None:
    """The host, path and query part of Envoy's RedirectAction, or None when placeholders need the script."""
    made: dict[str, Any] = {}
    if redirect.host != "#{host}":
        if "#{" in redirect.host:
            return None
        made["host_redirect"] = redirect.host
    same_path, same_query = redirect.path == "/#{path}", redirect.query == "#{query}"
    if (not same_path and "#{" in redirect.path) or (not same_query and "#{" in redirect.query):
        return None
    if same_path and redirect.query and not same_query:
        return None
    if not same_path:
        made["path_redirect"] = redirect.path + (f"?{redirect.query}" if redirect.query and not same_query else "")
    if not redirect.query:
        made["strip_query"] = True
    return made


def fixed(status: int, body: str, content_type: str | None) -> dict[str, Any]:
    """The action of a route that answers by itself."""
    response: dict[str, Any] = {"status": status}
    if body:
        response["body"] = {"inline_string": body}
    headers = [_header("content-type", content_type or "text/plain; charset=utf-8"), server_header()]
    return {"direct_response": response, "response_headers_to_add": headers}


def _unavailable() -> dict[str, Any]:
    return fixed(503, page(503), "text/html")
