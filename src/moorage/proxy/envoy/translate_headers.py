"""Headers that a listener adds, overwrites and removes, on the way to the target and back. Pure. Source: semantics elbv2
§4 (attributes), §7.
"""

from __future__ import annotations

from typing import Any

from moorage.domain.load_balancer import Listener, LoadBalancer
from moorage.proxy.envoy.translate_tls import client_headers

_RESPONSE = "routing.http.response."
_INVALID_NAME = "[^-A-Za-z0-9:].*|[^:].*[^-A-Za-z0-9].*"
"""Header names that `routing.http.drop_invalid_header_fields.enabled` drops; those with a colon in front are HTTP/2's."""
_TLS = {"version": "%DOWNSTREAM_TLS_VERSION%", "cipher_suite": "%DOWNSTREAM_TLS_CIPHER%"}


def added_header(key: str, value: str, *, action: str = "OVERWRITE_IF_EXISTS_OR_ADD") -> dict[str, Any]:
    """Envoy's HeaderValueOption."""
    return {"header": {"key": key, "value": value}, "append_action": action}


def request_headers(load_balancer: LoadBalancer, listener: Listener) -> dict[str, Any]:
    """X-Forwarded-For, X-Amzn-*, and what must not reach a target. The connection manager writes X-Forwarded-Proto and
    -Port (`translate_listeners`); Envoy's own X-Forwarded-For shows another interface's address for loopback clients, so it
    is built here. What is removed is removed first: a client's own claims do not survive."""
    attributes = load_balancer.attributes
    add = [
        # what the script has put there stays
        added_header("x-amzn-trace-id", "Root=%TRACE_ID%", action="ADD_IF_ABSENT"),
    ]
    remove: list[str] = []
    made = dict(client_headers(listener))
    if attributes.get("routing.http.x_amzn_tls_version_and_cipher_suite.enabled") == "true":
        made |= {_tls_header(listener, name): value for name, value in _TLS.items()}
    for name, value in made.items():
        add.append(added_header(name, value))
        remove.append(name)
    mode = attributes.get("routing.http.xff_header_processing.mode", "append")
    if mode == "append":
        peer = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"
        if attributes.get("routing.http.xff_client_port.enabled") == "true":
            peer = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%"
        add.append(added_header("x-forwarded-for", f"%REQ(X-FORWARDED-FOR)%, {peer}", action="OVERWRITE_IF_EXISTS"))
        add.append(added_header("x-forwarded-for", peer, action="ADD_IF_ABSENT"))
    elif mode == "remove":
        remove.append("x-forwarded-for")
    return {"request_headers_to_add": add, "request_headers_to_remove": remove}


def response_headers(listener: Listener) -> dict[str, Any]:
    """What the listener's attributes put into every answer, a target's as well as its own."""
    made: dict[str, Any] = {}
    values = {
        key.removeprefix(_RESPONSE).removesuffix(".header_value").replace("_", "-"): value
        for key, value in sorted(listener.attributes.items())
        if key.startswith(_RESPONSE) and key.endswith(".header_value") and value
    }
    if values:
        made["response_headers_to_add"] = [added_header(name, _literal(value)) for name, value in values.items()]
    return made


def header_mutations(load_balancer: LoadBalancer, listener: Listener) -> dict[str, Any]:
    """Envoy's Mutations, for a filter that sees all names of a request and also what Envoy answers by itself."""
    made: dict[str, Any] = {}
    if load_balancer.attributes.get("routing.http.drop_invalid_header_fields.enabled") == "true":
        made["request_mutations"] = [{"remove_on_match": {"key_matcher": {"safe_regex": {"regex": _INVALID_NAME}}}}]
    if says_no_server(listener):
        made["response_mutations"] = [{"remove": "server"}]
    return made


def says_no_server(listener: Listener) -> bool:
    """Answers carry no Server header, neither a target's nor the load balancer's own."""
    return listener.attributes.get(f"{_RESPONSE}server.enabled") == "false"


def _tls_header(listener: Listener, name: str) -> str:
    return listener.attributes.get(f"routing.http.request.x_amzn_tls_{name}.header_name") or (
        f"x-amzn-tls-{name.replace('_', '-')}"
    )


def _literal(text: str) -> str:
    """Envoy's format strings begin commands with a percent sign."""
    return text.replace("%", "%%")
