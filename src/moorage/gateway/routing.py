"""Which AWS service a request is for: by signature scope, target header, path, query version and host, in this order.

Decides a name only; whether anybody serves it is the chain's business. Never raises: None means that nothing in the request
names a service.
"""

from __future__ import annotations

import functools
import re
from urllib.parse import unquote

from moorage.gateway.credentials import Credentials
from moorage.wire import model
from moorage.wire.messages import WireRequest
from moorage.wire.protocols.form_values import form_items

_RPC_PATH = re.compile(r"^/(?:.*/)?service/([^/]+)/operation/([^/]+)/?$")
_AWS_HOST = re.compile(
    r"^(?P<name>[a-z0-9.-]+?)(?:[.-](?P<region>[a-z]{2}(?:-[a-z]+)+-\d))?\.(?:amazonaws\.com(?:\.cn)?|aws|api\.aws)$"
)
_S3_HOST = re.compile(r"^(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])\.s3(?:[.-][a-z0-9-]+)*\.", re.ASCII)
# Prefixes that botocore puts before the endpoint's host without being asked ("data-localhost").
HOST_PREFIXES = ("data-", "stream-", "streaming-", "api-", "control-", "sync-", "query-", "ingest-")


def route(request: WireRequest, credentials: Credentials, own: model.ServiceIndex | None = None) -> str | None:
    """The botocore name of the service. `own` is an index of the services that are served here: what it knows for certain
    needs no index of all services, which takes a moment to make."""
    target = request.headers.get("X-Amz-Target")
    if own is not None:
        name = _among_own(own, request, target, credentials.service)
        if name is not None:
            return name
    if target:
        return _by_target(target.rpartition(".")[0], credentials.service)
    if request.path != "/" and "/operation/" in request.path:
        rpc = _RPC_PATH.match(request.path)
        if rpc:
            return _by_rpc_path(unquote(rpc[1]), credentials.service)
    if credentials.service:
        return _by_signing_name(credentials.service, request)
    return _unsigned(request)


def _among_own(own: model.ServiceIndex, request: WireRequest, target: str | None, signing_name: str) -> str | None:
    """By target prefix, or by signing name and query version together."""
    if target:
        names = own.by_target_prefix(target.rpartition(".")[0])
        return names[0] if len(names) == 1 else None
    for name in own.by_signing_name(signing_name) if signing_name else ():
        if own.metadata(name)["protocol"] in ("query", "ec2") and _version(request) == own.metadata(name)["apiVersion"]:
            return name
    return None


def _by_target(prefix: str, signing_name: str) -> str | None:
    names = _target_names(prefix)
    if len(names) > 1 and signing_name:
        signed = [name for name in names if name in model.index().by_signing_name(signing_name)]
        names = signed or names
    if len(names) > 0:
        return names[0]
    candidates = model.index().by_signing_name(signing_name) if signing_name else []
    return candidates[0] if candidates else None


@functools.lru_cache(maxsize=1024)
def _target_names(prefix: str) -> list[str]:
    return model.index().by_target_prefix(prefix)


def _by_rpc_path(prefix: str, signing_name: str) -> str | None:
    names = model.index().by_target_prefix(prefix) or (
        model.index().by_signing_name(signing_name) if signing_name else []
    )
    return names[0] if names else None


def _by_signing_name(signing_name: str, request: WireRequest) -> str | None:
    names = model.index().by_signing_name(signing_name)
    if len(names) < 2:
        return names[0] if names else None
    version = _version(request)
    if version is not None:
        versioned = [name for name in names if name in model.index().by_query_version(version)]
        return versioned[0] if versioned else names[0]
    return _by_path(names, request) or names[0]


def _version(request: WireRequest) -> str | None:
    content_type = request.headers.get("Content-Type", "")
    if "x-www-form-urlencoded" not in content_type and "Version=" not in request.query:
        return None
    try:
        items = form_items(request)
    except Exception:
        return None
    return next((value for key, value in items if key == "Version"), None)


def _by_path(names: list[str], request: WireRequest) -> str | None:
    """Among REST services that share a signing name, the first with an operation for this method and path."""
    from moorage.wire.protocols.uri import router_of

    for name in names:
        rest = model.index().metadata(name)["protocol"].startswith("rest-")
        if rest and router_of(model.service(name)).match(request) is not None:
            return name
    return None


def _unsigned(request: WireRequest) -> str | None:
    """No signature: the query version, then the host, tell. Public S3 objects and anonymous STS calls come this way."""
    version = _version(request)
    if version is not None:
        names = model.index().by_query_version(version)
        if names:
            return names[0]
    return by_host(request.headers.get("Host", ""))


def by_host(host: str) -> str | None:
    """`ecs.us-east-1.amazonaws.com`, `ecs.localhost`, `api.ecr.…`, `bucket.s3.…`; None for plain host names."""
    name = host.rpartition(":")[0].lower() if ":" in host and not host.endswith("]") else host.lower()
    if _S3_HOST.match(name):
        return "s3"
    aws = _AWS_HOST.match(name)
    labels = (aws["name"] if aws else name).split(".")
    for label in reversed(labels) if aws else labels:
        for candidate in (label, *(label.removeprefix(prefix) for prefix in HOST_PREFIXES if label.startswith(prefix))):
            names = model.index().by_signing_name(candidate) if candidate not in ("", "localhost", "api") else []
            if names:
                return names[0]
    return None


def bucket_of(host: str) -> str | None:
    """The bucket that a virtual-host style S3 request names in its host."""
    found = _S3_HOST.match(host.lower())
    return found["bucket"] if found else None
