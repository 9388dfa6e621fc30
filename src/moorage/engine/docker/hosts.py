"""Where the engine listens: settings, DOCKER_HOST, the `docker` CLI's current context, then the usual sockets.

Decides an address only; nobody is called here. `ssh://` is refused with a sentence that says what to do instead.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from moorage.domain.errors import Permanent

DEFAULT_SOCKET = "/var/run/docker.sock"


class DockerHost(msgspec.Struct, frozen=True):
    """Either `socket` (a path) or `url` ("http://host:2375", "https://host:2376"). `certificates`: the directory with
    ca.pem, cert.pem and key.pem as `docker` uses it. `origin` says who named this host."""

    socket: str | None = None
    url: str = "http://docker"
    certificates: str | None = None
    origin: str = "default"

    @property
    def local(self) -> bool:
        return self.socket is not None

    def __str__(self) -> str:
        return f"unix://{self.socket}" if self.socket else self.url

    def ssl_context(self) -> ssl.SSLContext | None:
        if not self.url.startswith("https://") or self.certificates is None:
            return None
        folder = Path(self.certificates)
        context = ssl.create_default_context(cafile=str(folder / "ca.pem"))
        context.load_cert_chain(str(folder / "cert.pem"), str(folder / "key.pem"))
        return context


def find_host(configured: str | None, environment: Mapping[str, str], home: Path) -> DockerHost:
    """`configured` is `Settings.docker_host`. Raises Permanent for an address of a kind that we cannot speak to."""
    tls = environment.get("DOCKER_TLS_VERIFY", "") not in ("", "0")
    certificates = environment.get("DOCKER_CERT_PATH") or str(home / ".docker")
    for address, origin in (
        (configured, "settings"),
        (environment.get("DOCKER_HOST"), "DOCKER_HOST"),
        (_context_address(environment, home), "docker context"),
    ):
        if address:
            return parse_address(address, origin, certificates if tls else None)
    runtime = environment.get("XDG_RUNTIME_DIR")
    candidates = [
        DEFAULT_SOCKET,
        *([f"{runtime}/docker.sock"] if runtime else []),
        str(home / ".docker/run/docker.sock"),
        str(home / ".colima/default/docker.sock"),
        *([f"{runtime}/podman/podman.sock"] if runtime else []),
    ]
    found = next((path for path in candidates if Path(path).exists()), DEFAULT_SOCKET)
    return DockerHost(socket=found)


def parse_address(address: str, origin: str, certificates: str | None = None) -> DockerHost:
    parts = urlsplit(address)
    if parts.scheme == "unix":
        return DockerHost(socket=parts.path, origin=origin)
    if parts.scheme in ("tcp", "http", "https") and parts.netloc:
        scheme = "https" if certificates or parts.scheme == "https" else "http"
        return DockerHost(url=f"{scheme}://{parts.netloc}", certificates=certificates, origin=origin)
    raise Permanent(
        f"The Docker address {address!r} (from {origin}) is of a kind that Moorage cannot use",
        "it speaks to unix:// sockets and tcp:// addresses",
        "for ssh://, forward the socket first: ssh -NL /tmp/docker.sock:/var/run/docker.sock HOST &"
        " export DOCKER_HOST=unix:///tmp/docker.sock",
    )


def _context_address(environment: Mapping[str, str], home: Path) -> str | None:
    """The endpoint of the `docker` CLI's current context (Docker Desktop and Colima set one). Unreadable: none."""
    folder = Path(environment.get("DOCKER_CONFIG") or home / ".docker")
    try:
        name = environment.get("DOCKER_CONTEXT") or json.loads((folder / "config.json").read_text()).get(
            "currentContext"
        )
        if not name or name == "default":
            return None
        for meta in (folder / "contexts" / "meta").glob("*/meta.json"):
            context = json.loads(meta.read_text())
            if context.get("Name") == name:
                return context["Endpoints"]["docker"]["Host"] or None
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        return None
    return None


def current_host(configured: str | None) -> DockerHost:
    return find_host(configured, os.environ, Path.home())
