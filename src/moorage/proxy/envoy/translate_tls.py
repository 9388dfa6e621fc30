"""HTTPS: certificates → Envoy secrets, security policies → TLS parameters. Pure. Source: semantics elbv2 §3.2.

Certificates travel as secrets of their own, so that a certificate that is imported again under its ARN is swapped
without touching a listener or a connection. Envoy picks among the certificates of a listener by the name the client
asks for; a client that asks for none, or for one that no certificate has, gets the first, the default.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable
from typing import Any

from moorage.domain.load_balancer import Listener, LoadBalancer
from moorage.domain.ssl_policies import DEFAULT_POLICY, SSL_POLICIES
from moorage.domain.trust_store import MutualAuthentication
from moorage.proxy.driver import Certificate, TrustAnchors

_TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"
_INSPECTOR = "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"
_ADS = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
_VERSIONS = {"TLSv1": "TLSv1_0", "TLSv1.1": "TLSv1_1", "TLSv1.2": "TLSv1_2", "TLSv1.3": "TLSv1_3"}
_ORDER = tuple(_VERSIONS)
_KNOWN_CIPHERS = frozenset(
    f"{exchange}{cipher}"
    for exchange in ("ECDHE-ECDSA-", "ECDHE-RSA-", "")
    for cipher in ("AES128-GCM-SHA256", "AES256-GCM-SHA384", "AES128-SHA", "AES256-SHA")
)
"""What Envoy's TLS library still has; the CBC ciphers with SHA-2 of AWS's lists it has dropped."""


def secret(certificate: Certificate) -> dict[str, Any]:
    """The envoy.extensions.transport_sockets.tls.v3.Secret, named by the certificate's ARN."""
    return {
        "name": certificate.arn,
        "tls_certificate": {
            "certificate_chain": {"inline_bytes": base64.b64encode(certificate.chain).decode()},
            "private_key": {"inline_bytes": base64.b64encode(certificate.key).decode()},
        },
    }


def transport_socket(
    load_balancer: LoadBalancer, listener: Listener, arns: Iterable[str], anchors: TrustAnchors | None = None
) -> dict[str, Any]:
    """`arns`: the certificates that there are, the default one first. `anchors`: of the listener's trust store."""
    protocols, ciphers = SSL_POLICIES[listener.ssl_policy or DEFAULT_POLICY]
    versions = sorted(protocols, key=_ORDER.index)
    parameters: dict[str, Any] = {
        "tls_minimum_protocol_version": _VERSIONS[versions[0]],
        "tls_maximum_protocol_version": _VERSIONS[versions[-1]],
    }
    if old := [cipher for cipher in ciphers if cipher in _KNOWN_CIPHERS]:
        parameters["cipher_suites"] = old
    clients = _clients(listener.mutual, anchors)
    http2 = load_balancer.attributes.get("routing.http2.enabled", "true") == "true"
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _TLS,
            "common_tls_context": {
                "tls_params": parameters,
                "alpn_protocols": ["h2", "http/1.1"] if http2 else ["http/1.1"],
                "tls_certificate_sds_secret_configs": [
                    {"name": arn, "sds_config": _ADS} for arn in dict.fromkeys(arns)
                ],
                **({"validation_context": clients} if clients is not None else {}),
            },
            **({"require_client_certificate": True} if anchors is not None else {}),
        },
    }


def _clients(mutual: MutualAuthentication | None, anchors: TrustAnchors | None) -> dict[str, Any] | None:
    """The CertificateValidationContext for client certificates; None: clients are not asked for one. Revocation lists
    are about clients only: those of an authority in the middle would be asked of every authority above it."""
    if mutual is None:
        return None
    if anchors is None:
        return {"trust_chain_verification": "ACCEPT_UNTRUSTED"}
    context: dict[str, Any] = {"trusted_ca": {"inline_bytes": base64.b64encode(anchors.bundle).decode()}}
    if anchors.revoked:
        context["crl"] = {"inline_bytes": base64.b64encode(anchors.revoked).decode()}
        context["only_verify_leaf_cert_crl"] = True
    if mutual.ignore_expiry:
        context["allow_expired_certificate"] = True
    return context


CLIENT = "moorage.client"
_LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
_TELL = f"""
function envoy_on_request(h)
  local info = h:streamInfo()
  local client = info:downstreamSslConnection()
  if not client or not client:peerCertificatePresented() then return end
  local metadata = info:dynamicMetadata()
  metadata:set("{CLIENT}", "serial", client:serialNumberPeerCertificate():upper())
  metadata:set("{CLIENT}", "chain", client:urlEncodedPemEncodedPeerCertificateChain())
end
"""
_VERIFIED_CLIENT = {
    "clientcert-serial-number": f"%DYNAMIC_METADATA({CLIENT}:serial)%",
    "clientcert-issuer": "%DOWNSTREAM_PEER_ISSUER%",
    "clientcert-subject": "%DOWNSTREAM_PEER_SUBJECT%",
    "clientcert-validity": (
        "NotBefore=%DOWNSTREAM_PEER_CERT_V_START(%Y-%m-%dT%H:%M:%SZ)%;"
        "NotAfter=%DOWNSTREAM_PEER_CERT_V_END(%Y-%m-%dT%H:%M:%SZ)%"
    ),
    "clientcert-leaf": "%DOWNSTREAM_PEER_CERT%",
}
_SHOWN_CLIENT = {"clientcert": f"%DYNAMIC_METADATA({CLIENT}:chain)%"}


def client_filters(listener: Listener) -> list[dict[str, Any]]:
    """For the connection manager of a listener that asks clients for certificates: what Envoy's formatters do not know of
    them, or only in lower case."""
    if listener.mutual is None:
        return []
    tell = {"@type": _LUA, "default_source_code": {"inline_string": _TELL}, "clear_route_cache": False}
    return [{"name": CLIENT, "typed_config": tell}]


def client_headers(listener: Listener) -> dict[str, str]:
    """Header name → Envoy format, of what a target learns about the client's certificate. The names can be changed by
    listener attributes (semantics elbv2 §4)."""
    if listener.mutual is None:
        return {}
    shown = _VERIFIED_CLIENT if listener.mutual.mode == "verify" else _SHOWN_CLIENT
    return {_client_header(listener, name): value for name, value in shown.items()}


def _client_header(listener: Listener, name: str) -> str:
    attribute = f"routing.http.request.x_amzn_mtls_{name.replace('-', '_')}.header_name"
    return listener.attributes.get(attribute) or f"x-amzn-mtls-{name}"


def inspector() -> dict[str, Any]:
    """Reads the name that a client asks for before a filter chain is chosen."""
    return {"name": "envoy.filters.listener.tls_inspector", "typed_config": {"@type": _INSPECTOR}}
