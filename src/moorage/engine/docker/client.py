"""The connection to a Docker engine: one HTTP client, one mapping of failures, no knowledge of tasks.

An engine that does not answer is `EngineUnavailable`, quickly: a refused connection at once, a frozen engine within
about ten seconds even in the middle of a long call, because every waiting call asks `/_ping` now and then. An engine
that answers with a refusal is `ApiError`, which the callers turn into the error names of ECS.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import aiohttp
import msgspec

from moorage.engine.docker.hosts import DockerHost
from moorage.engine.driver import EngineError, EngineUnavailable

# The newest API whose shapes are known here; an engine that no longer speaks it names its own minimum.
NEWEST_API = (1, 47)
OLDEST_API = (1, 41)
# How long a call may be silent before the engine is asked whether it still lives, and how long that may take.
PROBE_SECONDS = 5.0
# How long a call may take at an engine that lives, unless the caller says otherwise.
PATIENCE_SECONDS = 120.0

_CONNECTION_FAILURES = (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, ConnectionError, TimeoutError)
# Refusals that mean "the engine is going or its parts are gone", not "this cannot be done".
_UNAVAILABLE_TEXTS = (
    "daemon is shutting down",
    "transport is closing",
    "containerd.sock: connect: connection refused",
    "containerd: connection refused",
    'connection error: desc = "transport',
)
_Result = TypeVar("_Result")


class ApiError(EngineError):
    """The engine answered with a status of 400 or more. `message` is its own text, `text` as `docker` and the ECS agent
    print it. The parts of the driver turn it into the error names of ECS; what none of them expected stays this."""

    def __init__(self, status: int, message: str) -> None:
        self.status = status
        self.message = message
        self.text = f"Error response from daemon: {message}"
        super().__init__(self.text)


class EngineVersion(msgspec.Struct, frozen=True):
    """`api`: the version we speak with this engine. `architecture`: Go's name ("amd64", "arm64")."""

    api: tuple[int, int]
    architecture: str
    version: str
    name: str = "Docker"


class Client:
    """`probe`: see PROBE_SECONDS; a test of a frozen engine wants less."""

    def __init__(self, host: DockerHost, probe: float = PROBE_SECONDS) -> None:
        self.host = host
        self._probe = probe
        self._session: aiohttp.ClientSession | None = None
        self._version: EngineVersion | None = None
        self._negotiating = asyncio.Lock()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def version(self) -> EngineVersion:
        """Asked once per client; too old an engine is `EngineUnavailable` with the reason."""
        if self._version is None:
            async with self._negotiating:
                if self._version is None:
                    asked = self._call("GET", "/version", None, None, None)
                    self._version = _negotiate(await self._patiently("GET /version", asked, PATIENCE_SECONDS))
        return self._version

    def renegotiate(self) -> None:
        """The engine went away: what comes back may be another version."""
        self._version = None

    async def call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        data: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        patience: float = PATIENCE_SECONDS,
    ) -> Any:
        """One request, the decoded JSON answer (None when empty). `patience`: seconds, at an engine that lives."""
        versioned = await self._versioned(path)
        if body is not None:
            data = msgspec.json.encode(body)
            headers = {"Content-Type": "application/json", **(headers or {})}
        what = f"{method} {path}"
        return await self._patiently(what, self._call(method, versioned, query, data, headers), patience)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Yields the chunks of an endless or long answer. While it is silent the engine is probed."""
        versioned = await self._versioned(path)
        what = f"{method} {path}"
        response = await self._patiently(what, self._open(method, versioned, query, headers), PATIENCE_SECONDS)
        try:
            if response.status >= 400:
                raise _api_error(response.status, await response.read(), self.host)
            yield self._chunks(response, what)
        finally:
            response.close()

    async def alive(self) -> bool:
        try:
            async with asyncio.timeout(self._probe):
                async with self._open_session().get(f"{self.host.url}/_ping") as response:
                    return response.status == 200
        except (*_CONNECTION_FAILURES, OSError):
            return False

    async def _versioned(self, path: str) -> str:
        major, minor = (await self.version()).api
        return f"/v{major}.{minor}{path}"

    async def _call(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None,
        data: bytes | None,
        headers: Mapping[str, str] | None,
    ) -> Any:
        try:
            async with self._open_session().request(
                method, self.host.url + path, params=query, data=data, headers=headers
            ) as response:
                content = await response.read()
                status = response.status
                is_json = response.content_type == "application/json"
        except _CONNECTION_FAILURES as error:
            raise unavailable(self.host, error) from error
        if status >= 400:
            raise _api_error(status, content, self.host)
        if not content:
            return None
        return msgspec.json.decode(content) if is_json else content

    async def _open(
        self, method: str, path: str, query: Mapping[str, str] | None, headers: Mapping[str, str] | None
    ) -> aiohttp.ClientResponse:
        try:
            return await self._open_session().request(method, self.host.url + path, params=query, headers=headers)
        except _CONNECTION_FAILURES as error:
            raise unavailable(self.host, error) from error

    async def _chunks(self, response: aiohttp.ClientResponse, what: str) -> AsyncIterator[bytes]:
        """Reads with a timer instead of a task per chunk: a log follower costs next to nothing while it waits."""
        content = response.content
        while True:
            try:
                async with asyncio.timeout(6 * self._probe):
                    chunk = await content.readany()
            except TimeoutError:
                if not await self.alive():
                    raise unavailable(self.host, None, f"{what} fell silent") from None
                continue
            except _CONNECTION_FAILURES as error:
                raise unavailable(self.host, error) from error
            if not chunk:
                return
            yield chunk

    async def _patiently(self, what: str, call: Coroutine[Any, Any, _Result], patience: float) -> _Result:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        task = loop.create_task(call)
        try:
            while True:
                await asyncio.wait({task}, timeout=min(self._probe, max(0.0, deadline - loop.time())))
                if task.done():
                    return task.result()
                if not await self.alive() and not task.done():
                    raise unavailable(self.host, None, f"{what} got no answer and neither did a ping")
                if loop.time() >= deadline and not task.done():
                    raise unavailable(self.host, None, f"{what} was not done after {patience:.0f} s")
        finally:
            if not task.done():
                task.cancel()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            # No limit: every followed log holds a connection.
            connector: aiohttp.BaseConnector = (
                aiohttp.UnixConnector(path=self.host.socket, limit=0)
                if self.host.socket
                else aiohttp.TCPConnector(limit=0, ssl=self.host.ssl_context() or True)
            )
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._probe)
            self._session = aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=2**18)
        return self._session


def unavailable(host: DockerHost, error: BaseException | None, why: str = "") -> EngineUnavailable:
    """What, why and the next command, for the ways in which an engine can be away."""
    cause = getattr(error, "os_error", None) or error
    if isinstance(cause, PermissionError):
        return EngineUnavailable(
            f"Docker at {host} does not let this user in",
            "the socket belongs to the group docker",
            "run: sudo usermod -aG docker $USER && newgrp docker",
        )
    if isinstance(cause, FileNotFoundError):
        why = why or f"there is no socket {host.socket}"
    elif isinstance(cause, ConnectionRefusedError):
        why = why or "nobody listens there"
    return EngineUnavailable(
        f"Docker does not answer at {host}",
        why or str(error or "no answer"),
        "start it with: scripts/ensure-docker (or: sudo systemctl start docker)",
    )


def _api_error(status: int, content: bytes, host: DockerHost) -> Exception:
    try:
        answer = msgspec.json.decode(content)
        message = str(answer.get("message") or answer.get("cause") or answer)
    except (msgspec.DecodeError, AttributeError):
        message = content.decode(errors="replace").strip() or f"HTTP status {status}"
    if any(text in message for text in _UNAVAILABLE_TEXTS):
        return unavailable(host, None, message)
    return ApiError(status, message)


def _negotiate(answer: Mapping[str, Any]) -> EngineVersion:
    newest = _parse_api(answer["ApiVersion"])
    least = _parse_api(answer.get("MinAPIVersion") or "1.12")
    name = (answer.get("Components") or [{}])[0].get("Name") or "Docker"
    if newest < OLDEST_API:
        raise EngineUnavailable(
            f"This {name} {answer.get('Version')} is too old",
            f"it speaks API {answer['ApiVersion']}, Moorage needs {OLDEST_API[0]}.{OLDEST_API[1]} (Docker 20.10)",
            "upgrade Docker",
        )
    return EngineVersion(
        api=max(min(newest, NEWEST_API), least),
        architecture=str(answer.get("Arch", "")),
        version=str(answer.get("Version", "")),
        name="Docker" if name == "Engine" else name,
    )


def _parse_api(text: str) -> tuple[int, int]:
    major, minor = text.split(".")[:2]
    return int(major), int(minor)
