"""Finds a Docker engine that answers, or says in one sentence what is wrong and which command mends it. It only asks
`/_ping`: everything else about engines is the engine driver's."""

from __future__ import annotations

import http.client
import os
import shutil
import socket
import sys
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from moorage.domain.errors import Permanent

DEFAULT = "unix:///var/run/docker.sock"


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def find() -> str:
    """The address of an engine that answers (`unix:///…` or `tcp://…`): DOCKER_HOST when set, else the usual places."""
    named = os.environ.get("DOCKER_HOST")
    problems: dict[str, OSError] = {}
    for address in [named] if named else _usual():
        try:
            _ping(address)
        except (OSError, http.client.HTTPException) as error:
            problems[address] = error if isinstance(error, OSError) else OSError(str(error))
        else:
            return address
    where = named or DEFAULT
    raise Permanent(*_refusal(where, problems.get(where)))


def _usual() -> Iterator[str]:
    yield DEFAULT
    home = Path.home()
    for socket_path in (home / ".docker/run/docker.sock", home / ".colima/default/docker.sock"):
        if socket_path.exists():
            yield f"unix://{socket_path}"
    rootless = Path(os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.getuid()}")) / "docker.sock"
    if rootless.exists():
        yield f"unix://{rootless}"


def _ping(address: str) -> None:
    parts = urllib.parse.urlsplit(address)
    connection: http.client.HTTPConnection
    if parts.scheme == "unix":
        connection = _UnixConnection(parts.path)
    elif parts.scheme in {"tcp", "http"}:
        connection = http.client.HTTPConnection(parts.hostname or "localhost", parts.port or 2375, timeout=5)
    else:
        raise OSError(f"DOCKER_HOST={address}: only unix:// and tcp:// are understood")
    try:
        connection.request("GET", "/_ping")
        status = connection.getresponse().status
    finally:
        connection.close()
    if status != 200:
        raise OSError(f"answered HTTP {status}")


def _refusal(address: str, problem: OSError | None) -> tuple[str, str, str]:
    what = f"Moorage needs a Docker engine and none answers at {address}"
    if isinstance(problem, PermissionError):
        return what, "this user may not open the socket", "Mend it: sudo usermod -aG docker $USER && newgrp docker"
    if os.environ.get("DOCKER_HOST"):
        return what, f"DOCKER_HOST names it: {problem}", "Mend it: unset DOCKER_HOST, or start that engine"
    if sys.platform == "darwin":
        return what, "", "Start one: open -a Docker (or: colima start)"
    if shutil.which("dockerd") is None:
        return what, "no dockerd is installed", "Install and start one: sudo apt-get install -y docker.io"
    if Path("/run/systemd/system").exists():
        return what, "dockerd is installed but does not run", "Start it: sudo systemctl start docker"
    return what, "dockerd is installed but does not run", "Start it: sudo sh -c 'dockerd >/var/log/dockerd.log 2>&1 &'"
