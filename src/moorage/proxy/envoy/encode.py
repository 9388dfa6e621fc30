"""JSON form of an Envoy resource → its protobuf bytes and a version that is the same for the same content."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.config.route.v3.scoped_route_pb2 import ScopedRouteConfiguration
from envoy.config.trace.v3 import xray_pb2 as _xray
from envoy.extensions.access_loggers.file.v3 import file_pb2 as _file
from envoy.extensions.access_loggers.filters.cel.v3 import cel_pb2 as _cel
from envoy.extensions.filters.http.ext_authz.v3 import ext_authz_pb2 as _authz
from envoy.extensions.filters.http.header_mutation.v3 import header_mutation_pb2 as _mutation
from envoy.extensions.filters.http.header_to_metadata.v3 import header_to_metadata_pb2 as _to_metadata
from envoy.extensions.filters.http.lua.v3 import lua_pb2 as _lua
from envoy.extensions.filters.http.router.v3 import router_pb2 as _router
from envoy.extensions.filters.http.set_metadata.v3 import set_metadata_pb2 as _set_metadata
from envoy.extensions.filters.http.stateful_session.v3 import stateful_session_pb2 as _session
from envoy.extensions.filters.http.upstream_codec.v3 import upstream_codec_pb2 as _codec
from envoy.extensions.filters.listener.original_src.v3 import original_src_pb2 as _original
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2 as _inspector
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as _hcm
from envoy.extensions.filters.network.set_filter_state.v3 import set_filter_state_pb2 as _state
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2 as _tcp
from envoy.extensions.filters.udp.udp_proxy.v3 import route_pb2 as _udp_route
from envoy.extensions.filters.udp.udp_proxy.v3 import udp_proxy_pb2 as _udp
from envoy.extensions.http.early_header_mutation.header_mutation.v3 import header_mutation_pb2 as _early
from envoy.extensions.http.stateful_session.cookie.v3 import cookie_pb2 as _cookie
from envoy.extensions.load_balancing_policies.least_request.v3 import least_request_pb2 as _least
from envoy.extensions.matching.common_inputs.network.v3 import network_inputs_pb2 as _inputs
from envoy.extensions.request_id.uuid.v3 import uuid_pb2 as _uuid
from envoy.extensions.retry.host.previous_hosts.v3 import previous_hosts_pb2 as _previous
from envoy.extensions.string_matcher.lua.v3 import lua_pb2 as _lua_matcher
from envoy.extensions.transport_sockets.proxy_protocol.v3 import upstream_proxy_protocol_pb2 as _proxy_protocol
from envoy.extensions.transport_sockets.raw_buffer.v3 import raw_buffer_pb2 as _raw
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2 as _tls
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2 as _http
from envoy.type.matcher.v3 import http_inputs_pb2 as _http_inputs
from google.protobuf.json_format import ParseDict

CLUSTER = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
ENDPOINTS = "type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment"
LISTENER = "type.googleapis.com/envoy.config.listener.v3.Listener"
ROUTES = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
SCOPE = "type.googleapis.com/envoy.config.route.v3.ScopedRouteConfiguration"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"

_MESSAGES = {
    CLUSTER: Cluster,
    ENDPOINTS: ClusterLoadAssignment,
    LISTENER: Listener,
    ROUTES: RouteConfiguration,
    SCOPE: ScopedRouteConfiguration,
    SECRET: Secret,
}
# importing them makes their messages known to the JSON parser ("@type")
KNOWN_EXTENSIONS = (
    _cel, _cookie, _file, _hcm, _http, _inspector, _least, _lua, _mutation, _previous, _router, _session,
    _state, _tls, _tcp, _udp, _udp_route, _inputs, _proxy_protocol, _raw, _codec, _to_metadata, _authz,
    _original, _set_metadata, _uuid, _lua_matcher, _xray, _early, _http_inputs,
)  # fmt: skip


class Encoded(msgspec.Struct, frozen=True):
    body: bytes
    version: str


def encode(type_url: str, resource: dict[str, Any]) -> Encoded:
    """Raises google.protobuf.json_format.ParseError for a resource that Envoy's API does not know (a bug of ours)."""
    message: Any = ParseDict(resource, _MESSAGES[type_url]())
    if type_url == LISTENER:
        _keep_trace_context(message)
    body: bytes = message.SerializeToString(deterministic=True)
    return Encoded(body, hashlib.blake2b(body, digest_size=8).hexdigest())


def _keep_trace_context(listener: Any) -> None:
    """Sets `no_context_propagation` where a connection manager traces: the tracer must not overwrite X-Amzn-Trace-Id. The
    API types are older than the field (13, Envoy 1.38)."""
    for chain in listener.filter_chains:
        for one in chain.filters:
            manager = _hcm.HttpConnectionManager()
            if one.typed_config.Unpack(manager) and manager.HasField("tracing"):
                manager.tracing.MergeFromString(bytes([13 << 3, 1]))
                one.typed_config.value = manager.SerializeToString(deterministic=True)
