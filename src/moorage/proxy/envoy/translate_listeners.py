"""Listeners of load balancers → Envoy listeners, and the scopes by which a shared listener finds a load balancer. Pure.

Two doors lead to the same routes: the load balancer's own loopback address, which answers for every Host, and one *edge*
listener per port and address family on 127.0.0.1 and [::1], shared by all load balancers, which tells them apart by
Host. The edge listener never changes while it lives; load balancers come and go as scopes (Envoy's scoped routes), so a
change costs the same with one load balancer and with fifty, and no connection is drained by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from moorage.domain.desync import Mode
from moorage.domain.load_balancer import Listener, LoadBalancer
from moorage.proxy.driver import TrustAnchors
from moorage.proxy.envoy import desync, translate_auth, translate_transforms
from moorage.proxy.envoy.connection_log import tls_connections
from moorage.proxy.envoy.pages import SERVER, local_replies, plain_on_https
from moorage.proxy.envoy.request_log import access_log, refused_name
from moorage.proxy.envoy.script import script
from moorage.proxy.envoy.translate_conditions import PEER
from moorage.proxy.envoy.translate_headers import added_header, says_no_server
from moorage.proxy.envoy.translate_routes import LUA, MUTATE, NOBODYS_ADDRESS, STICKY, fixed
from moorage.proxy.envoy.translate_tls import client_filters, inspector, transport_socket

NOT_WEB_SOCKET = "(?i)(?:[^w].*|w(?:[^e].*)?)"
"""Protocols in an Upgrade header that are not served, told by their first letters."""
REQUESTS_OF_A_CONNECTION = 10_000
"""After which an HTTP/2 connection is told to go (semantics elbv2 §8)."""
MOST_HEADERS = 10_000
"""Of one request: their size is limited, not their number (Envoy's own limit is 100)."""
CONCURRENT_STREAMS = 128
"""Of one HTTP/2 connection (semantics elbv2 §7)."""

NOBODY = 1
"""A port (TCPMUX, out of use for decades) that answers no datagram."""

_EXT = "type.googleapis.com/envoy.extensions."
_HCM = _EXT + "filters.network.http_connection_manager.v3.HttpConnectionManager"
_HCM_NAME = "envoy.filters.network.http_connection_manager"
_SET_STATE = _EXT + "filters.network.set_filter_state.v3.Config"
_EARLY = _EXT + "http.early_header_mutation.header_mutation.v3.HeaderMutation"
_UUID = _EXT + "request_id.uuid.v3.UuidRequestIdConfig"
_XRAY = "type.googleapis.com/envoy.config.trace.v3.XRayConfig"
_ADS = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}


def own_listener(
    name: str,
    load_balancer: LoadBalancer,
    listener: Listener,
    bind_port: int,
    certificates: Sequence[str] = (),
    anchors: TrustAnchors | None = None,
) -> dict[str, Any]:
    """The envoy.config.listener.v3.Listener on the load balancer's own address. `name` is also the name of its route
    configuration. `bind_port`: of this machine. `certificates`: ARNs, for an HTTPS listener;
    `anchors`: of its trust store."""
    chains = [{"name": name, **_own_chain(name, load_balancer, listener, certificates, anchors)}]
    if listener.protocol == "HTTPS":
        chains.append(_plain_refused(refused_name(listener.default_rule_arn)))
    return _listener(name, load_balancer.loopback, bind_port, chains)


def named_chain(
    name: str,
    load_balancer: LoadBalancer,
    listener: Listener,
    certificates: Sequence[str],
    anchors: TrustAnchors | None = None,
    also: Sequence[str] = (),
) -> dict[str, Any]:
    """What an HTTPS listener is on the shared door of its port: chosen by the name that the client asks TLS for, the load
    balancer's own or one of `also`."""
    match = {"transport_protocol": "tls", "server_names": [load_balancer.dns_name.lower(), *also]}
    return {
        "name": name,
        "filter_chain_match": match,
        **_own_chain(name, load_balancer, listener, certificates, anchors),
    }


def edge_listener(
    name: str,
    address: str,
    port: int,
    bind_port: int,
    *,
    plain: bool = True,
    tls: Sequence[dict[str, Any]] = (),
    mode: Mode = "defensive",
    preserves_host: bool = False,
) -> dict[str, Any]:
    """The shared listener of a port. `plain`: some load balancer has an HTTP listener there; `tls`: the chains of those
    with HTTPS. `mode`: of desync mitigation, what the load balancers with HTTP make of it together; `preserves_host`: one
    of them wants the Host as it came. The plain one's idle timeout between requests is AWS's default for all; the idle
    timeout of a request is its load balancer's own (set on the route)."""
    if not plain:
        refused = [_plain_refused("")] if any(_speaks_http(chain) for chain in tls) else []
        return _listener(name, address, bind_port, [*tls, *refused])
    manager = _connection_manager(
        port,
        default_host="localhost",
        idle="60",
        keep_alive="3600",
        edge=True,
        secure=False,
        mode=mode,
        preserves_host=preserves_host,
    )
    host = {"name": ":authority", "index": 0}
    if not manager["strip_any_host_port"]:
        host["element_separator"] = ":"
    manager["scoped_routes"] = {
        "name": "edge",
        "rds_config_source": _ADS,
        "scope_key_builder": {
            "fragments": [
                {"header_value_extractor": {"name": "x-forwarded-port", "index": 0}},
                {"header_value_extractor": host},
            ]
        },
        "scoped_rds": {"scoped_rds_config_source": _ADS},
    }
    chain = _chain(manager)
    if tls:
        chain = {"name": "plain", "filter_chain_match": {"transport_protocol": "raw_buffer"}, **chain}
    return _listener(name, address, bind_port, [*tls, chain])


def _own_chain(
    name: str,
    load_balancer: LoadBalancer,
    listener: Listener,
    certificates: Sequence[str],
    anchors: TrustAnchors | None,
) -> dict[str, Any]:
    attributes = load_balancer.attributes
    manager = _connection_manager(
        listener.port,
        default_host=load_balancer.dns_name,
        idle=attributes.get("idle_timeout.timeout_seconds", "60"),
        keep_alive=attributes.get("client_keep_alive.seconds", "3600"),
        edge=False,
        secure=listener.protocol == "HTTPS",
        server="" if says_no_server(listener) else SERVER,
        mode=desync.mode_of(load_balancer),
        preserves_host=load_balancer.preserves_host,
    )
    manager["rds"] = {"config_source": _ADS, "route_config_name": name}
    if listener.protocol != "HTTPS":
        return _chain(manager)
    manager["codec_type"] = "AUTO"
    manager["http_filters"] = [*client_filters(listener), *manager["http_filters"]]
    manager["access_log"] = access_log(tls=True, watched=desync.mode_of(load_balancer) != "defensive")
    manager["http2_protocol_options"] = {"max_concurrent_streams": CONCURRENT_STREAMS}
    manager["common_http_protocol_options"]["max_requests_per_connection"] = REQUESTS_OF_A_CONNECTION
    return {**_chain(manager), "transport_socket": transport_socket(load_balancer, listener, certificates, anchors)}


def _speaks_http(chain: dict[str, Any]) -> bool:
    """And not what a network load balancer passes on."""
    return bool(chain["filters"][-1]["name"] == _HCM_NAME)


def _plain_refused(route: str) -> dict[str, Any]:
    """What a client gets that speaks plain HTTP on a port of HTTPS. `route`: what the request log is told."""
    answer = {"match": {"prefix": "/"}, "name": route, **fixed(400, plain_on_https(), "text/html")}
    manager = {
        "@type": _HCM,
        "stat_prefix": "alb",
        "codec_type": "HTTP1",
        "generate_request_id": False,
        "server_header_transformation": "PASS_THROUGH",
        "common_http_protocol_options": {"idle_timeout": "60s", "max_requests_per_connection": 1},
        "http_protocol_options": {"accept_http_10": True, "default_host_for_http_10": "localhost"},
        "local_reply_config": local_replies(unknown_host=False),
        "access_log": access_log(),
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        "http_filters": [_router()],
    }
    return {
        "name": "plain",
        "filter_chain_match": {"transport_protocol": "raw_buffer"},
        "filters": [{"name": _HCM_NAME, "typed_config": manager}],
    }


def scopes(name: str, load_balancer: LoadBalancer, port: int, also: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """ScopedRouteConfigurations (by name) that lead Host and port (of the API: what the connection manager writes into
    X-Forwarded-Port) to the route configuration `name`: the DNS name as AWS gives it and in lower case (the script lowers
    any other spelling), and the names in `also`."""
    hosts = sorted({load_balancer.dns_name, load_balancer.dns_name.lower(), *also})
    return {
        f"{name}/{host}": {
            "name": f"{name}/{host}",
            "route_configuration_name": name,
            "key": {"fragments": [{"string_key": str(port)}, {"string_key": host}]},
        }
        for host in hosts
    }


def _listener(name: str, address: str, port: int, chains: list[dict[str, Any]]) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": name,
        "stat_prefix": "listener",
        "address": {"socket_address": {"address": address, "port_value": port}},
        # without reuse_port a port that another program holds is refused instead of silently shared
        "enable_reuse_port": False,
        "connection_balance_config": {"exact_balance": {}},
        "filter_chains": chains,
    }
    if any("transport_socket" in chain for chain in chains):
        made["listener_filters"] = [inspector()]
        made["access_log"] = tls_connections()
    return made


def _chain(manager: dict[str, Any]) -> dict[str, Any]:
    remember = {
        "object_key": PEER,
        "format_string": {"text_format_source": {"inline_string": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}},
    }
    return {
        "filters": [
            {
                "name": "envoy.filters.network.set_filter_state",
                "typed_config": {"@type": _SET_STATE, "on_new_connection": [remember]},
            },
            {"name": _HCM_NAME, "typed_config": manager},
        ]
    }


def _connection_manager(
    port: int,
    *,
    default_host: str,
    idle: str,
    keep_alive: str,
    edge: bool,
    secure: bool,
    server: str = SERVER,
    mode: Mode = "defensive",
    preserves_host: bool = False,
) -> dict[str, Any]:
    # a client's own claims do not survive; the scheme is then written by the connection manager
    forwarded: list[dict[str, Any]] = [
        {"append": added_header("x-forwarded-port", str(port))},
        {"remove": "x-forwarded-proto"},
    ]
    return {
        "@type": _HCM,
        "stat_prefix": "alb",
        "codec_type": "HTTP1",
        # nobody is internal: no client's X-Envoy headers are believed. X-Forwarded-* are our own business, and Envoy's
        # other way of asking for this (`use_remote_address`) writes headers that would have to be taken away again;
        # without it, who claims nobody's address would be internal, and is refused by a route
        "use_remote_address": False,
        "forward_client_cert_details": "ALWAYS_FORWARD_ONLY",  # a header like any other
        "internal_address_config": {"cidr_ranges": [{"address_prefix": NOBODYS_ADDRESS, "prefix_len": 32}]},
        # the target's Host has no port where it is the usual one
        "strip_any_host_port": port in (80, 443) and not preserves_host,
        "tracing": _trace_ids(),
        # a client's X-Request-Id is not written to
        "request_id_extension": {
            "typed_config": {"@type": _UUID, "pack_trace_reason": False, "use_request_id_for_trace_sampling": False}
        },
        "generate_request_id": False,
        "preserve_external_request_id": True,
        # a target's own Server header passes; the load balancer's own answers carry its own
        "server_header_transformation": "PASS_THROUGH",
        "normalize_path": False,
        "merge_slashes": False,
        "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
        "max_request_headers_kb": 64,
        "stream_idle_timeout": f"{idle}s",
        "common_http_protocol_options": {
            "idle_timeout": f"{idle}s",
            "max_connection_duration": f"{keep_alive}s",
            "max_headers_count": MOST_HEADERS,
        },
        "http_protocol_options": {
            "accept_http_10": True,
            "default_host_for_http_10": default_host,
            "allow_custom_methods": True,
            # Envoy then believes Transfer-Encoding and takes Content-Length away; otherwise both together are refused
            "allow_chunked_length": mode == "monitor",
            # an offer to speak something else is the hop's business: the request is served as it is
            "ignore_http_11_upgrade": [{"safe_regex": {"regex": NOT_WEB_SOCKET}}],
        },
        "upgrade_configs": [{"upgrade_type": "websocket"}],
        "local_reply_config": local_replies(unknown_host=edge, server=server),
        "access_log": access_log(watched=mode != "defensive"),
        "early_header_mutation_extensions": [_mutated_early([*forwarded, *desync.early_mutations(mode)])],
        "http_filters": [
            *desync.filters(mode),
            {
                "name": LUA,
                "typed_config": {
                    "@type": _EXT + "filters.http.lua.v3.Lua",
                    "default_source_code": {"inline_string": script(port, edge=edge)},
                    # by itself it would choose the route of every request a second time; the script says when to
                    "clear_route_cache": False,
                },
            },
            {
                "name": MUTATE,
                "disabled": True,  # listeners that drop header fields switch it on for their routes
                "typed_config": {"@type": _EXT + "filters.http.header_mutation.v3.HeaderMutation"},
            },
            {
                "name": STICKY,
                "disabled": True,  # target groups with stickiness switch it on for their routes
                "typed_config": {"@type": _EXT + "filters.http.stateful_session.v3.StatefulSession"},
            },
            # only HTTPS listeners authenticate; there it must be from the first connection on
            *(translate_auth.filters() if secure else ()),
            *translate_transforms.filters(),
            _router(),
        ],
    }


def _mutated_early(mutations: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "name": "envoy.http.early_header_mutation.header_mutation",
        "typed_config": {"@type": _EARLY, "mutations": mutations},
    }


def _router() -> dict[str, Any]:
    return {
        "name": "envoy.filters.http.router",
        "typed_config": {
            "@type": _EXT + "filters.http.router.v3.Router",
            "suppress_envoy_headers": True,
            "dynamic_stats": False,  # nobody reads them
        },
    }


def _trace_ids() -> dict[str, Any]:
    """Envoy's X-Ray tracer, for nothing but its ids (`%TRACE_ID%`), which have the form that an ALB gives them: no trace
    is ever sampled unless a client says so, and what is then sent goes to a port where nobody listens."""
    never = msgspec.json.encode({"version": 2, "default": {"fixed_target": 0, "rate": 0}}).decode()
    config = {
        "@type": _XRAY,
        "segment_name": "moorage",
        "daemon_endpoint": {"protocol": "UDP", "address": "127.0.0.1", "port_value": NOBODY},
        "sampling_rule_manifest": {"inline_string": never},
    }
    nothing = {"value": 0}
    return {
        "client_sampling": nothing,
        "random_sampling": nothing,
        "overall_sampling": nothing,
        "provider": {"name": "envoy.tracers.xray", "typed_config": config},
    }
