"""Names as the registry and its clients write them: repositories, digests, references, hosts. Pure.

Source: semantics around §1.1 (repository names), distribution specification (tags, digests).
"""

from __future__ import annotations

import re

import msgspec

from moorage.domain.scope import Scope

_COMPONENT = r"[a-z0-9]+(?:[._-][a-z0-9]+)*"
REPOSITORY_PATTERN = rf"(?:{_COMPONENT}/)*{_COMPONENT}"
DIGEST_PATTERN = r"sha256:[0-9a-f]{64}"
TAG_PATTERN = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"

_REPOSITORY = re.compile(REPOSITORY_PATTERN)
_DIGEST = re.compile(DIGEST_PATTERN)
_TAG = re.compile(TAG_PATTERN)
_HOST = re.compile(
    r"(?P<account>\d{12})\.dkr\.ecr\.(?P<region>[a-z0-9-]+)\.(?P<suffix>[A-Za-z0-9.-]+)(?::(?P<port>\d+))?"
)
_LOOPBACK = re.compile(r"(?:localhost|127\.0\.0\.1|\[::1\]):(?P<port>\d+)")
_AWS_SUFFIXES = ("amazonaws.com", "amazonaws.com.cn")


def is_repository_name(name: str) -> bool:
    return 2 <= len(name) <= 256 and _REPOSITORY.fullmatch(name) is not None


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    return _TAG.fullmatch(text) is not None


def scope_of_host(host: str) -> Scope | None:
    """The scope that a registry host names (`<account>.dkr.ecr.<region>.<anything>[:port]`), or None."""
    match = _HOST.fullmatch(host)
    return Scope(match["account"], match["region"]) if match else None


class Reference(msgspec.Struct, frozen=True):
    """An image of ours. `scope` None: the caller's. Exactly one of `tag` and `digest` decides (digest wins)."""

    scope: Scope | None
    name: str
    tag: str | None
    digest: str | None


def parse_reference(image: str, port: int) -> Reference | None:
    """The reference when `image` names this registry, else None.

    "localhost:4566/web"                                        → caller's scope, web, latest
    "127.0.0.1:4566/team/web:v2"                                → caller's scope, team/web, v2
    "111122223333.dkr.ecr.eu-west-1.amazonaws.com/web@sha256:…" → 111122223333 in eu-west-1
    "111122223333.dkr.ecr.eu-west-1.localhost:4566/web:v2"      → the same
    "docker.io/library/nginx", "nginx", "localhost:5000/web"    → None
    """
    host, slash, rest = image.partition("/")
    if not slash:
        return None
    scope: Scope | None = None
    if match := _HOST.fullmatch(host):
        ours = match["port"] is None and match["suffix"] in _AWS_SUFFIXES
        ours = ours or (match["suffix"] == "localhost" and match["port"] == str(port))
        if not ours:
            return None
        scope = Scope(match["account"], match["region"])
    elif not ((match := _LOOPBACK.fullmatch(host)) and match["port"] == str(port)):
        return None
    rest, _, digest = rest.partition("@")
    name, _, tag = rest.partition(":")
    return Reference(scope, name, tag or (None if digest else "latest"), digest or None)
