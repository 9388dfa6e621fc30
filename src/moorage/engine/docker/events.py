"""Docker's event stream → `EngineEvent`, for ever: after each (re)connection a `resync`, then what happens.

Nothing is lost between the `resync` and the stream: events are asked for from the moment before the connection.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Literal

import msgspec

from moorage.domain.clock import Clock
from moorage.engine.docker.client import ApiError, Client
from moorage.engine.docker.names import observed_labels
from moorage.engine.docker.observe import health_of
from moorage.engine.driver import LABEL_INSTALLATION, EngineEvent, EngineUnavailable

_KINDS: dict[str, Literal["started", "died", "gone"]] = {
    "start": "started",
    "die": "died",
    "died": "died",  # Podman's word
    "destroy": "gone",
    "remove": "gone",  # Podman's word
}
# Health probes emit three exec_* events each: Docker is told to keep them.
_WANTED = ("start", "die", "destroy", "oom", "health_status")
_NOT_LABELS = frozenset(
    {"image", "name", "exitCode", "execID", "signal", "oldName", "execDuration", "containerExitCode"}
)
_FIRST_DELAY, _LONGEST_DELAY = 0.1, 2.0


def event_query(installation: str, since_ns: int) -> dict[str, str]:
    filters = {
        "type": ["container"],
        "event": list(_WANTED),
        "label": [f"{LABEL_INSTALLATION}={installation}"],
    }
    return {"filters": json.dumps(filters), "since": f"{since_ns // 10**9}.{since_ns % 10**9:09d}"}


def translate(raw: Mapping[str, Any], oom_killed: bool = False) -> EngineEvent | None:
    """One event of Docker's as ours; None for those that say nothing of a container's state."""
    action = str(raw.get("Action") or raw.get("status") or "")
    actor = raw.get("Actor") or {}
    attributes: dict[str, str] = actor.get("Attributes") or {}
    container_id = str(actor.get("ID") or raw.get("id") or "")
    at = int(raw.get("timeNano") or int(raw.get("time", 0)) * 10**9) / 1e9
    own = {name: value for name, value in attributes.items() if name not in _NOT_LABELS}
    labels = observed_labels(attributes.get("name", ""), own)
    if action.startswith("health_status"):
        status = action.partition(":")[2].strip() or attributes.get("health_status", "")
        return EngineEvent("health", container_id, labels, at, health=health_of(status))
    kind = _KINDS.get(action)
    if kind is None:
        return None
    code = attributes.get("exitCode", attributes.get("containerExitCode"))
    if kind == "died" and code is not None:
        return EngineEvent("died", container_id, labels, at, exit_code=int(code), oom_killed=oom_killed)
    return EngineEvent(kind, container_id, labels, at)


class Events:
    def __init__(self, client: Client, installation: str, clock: Clock) -> None:
        self._client = client
        self._installation = installation
        self._clock = clock

    async def follow(self) -> AsyncIterator[EngineEvent]:
        delay = _FIRST_DELAY
        last_ns = 0
        out_of_memory: set[str] = set()
        while True:
            since_ns = last_ns + 1 if last_ns else int(self._clock.now() * 1e9)
            query = event_query(self._installation, since_ns)
            try:
                async with self._client.stream("GET", "/events", query=query) as chunks:
                    delay = _FIRST_DELAY
                    yield EngineEvent("resync", "", {}, self._clock.now())
                    async for raw in _documents(chunks):
                        nanoseconds = int(raw.get("timeNano") or 0)
                        if last_ns and nanoseconds and nanoseconds < since_ns:
                            continue
                        last_ns = max(last_ns, nanoseconds)
                        event = await self._event(raw, out_of_memory)
                        if event is not None:
                            yield event
            except (EngineUnavailable, ApiError):
                # Who calls a verb meanwhile is told; here the only answer is to come back.
                self._client.renegotiate()
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY)

    async def _event(self, raw: Mapping[str, Any], out_of_memory: set[str]) -> EngineEvent | None:
        container_id = str((raw.get("Actor") or {}).get("ID") or raw.get("id") or "")
        action = raw.get("Action") or raw.get("status")
        if action == "oom":
            out_of_memory.add(container_id)
            return None
        event = translate(raw, container_id in out_of_memory)
        if event is None:
            return None
        if event.kind in ("died", "started", "gone"):
            out_of_memory.discard(container_id)
        if event.kind == "died" and event.exit_code == 137 and not event.oom_killed:
            # The oom event can come late or from before we listened; the container's state has it.
            return msgspec.structs.replace(event, oom_killed=await self._killed_by_memory(container_id))
        return event

    async def _killed_by_memory(self, container_id: str) -> bool:
        try:
            found = await self._client.call("GET", f"/containers/{container_id}/json")
        except (ApiError, EngineUnavailable):
            return False
        return bool(found["State"].get("OOMKilled"))


async def _documents(chunks: AsyncIterator[bytes]) -> AsyncIterator[dict[str, Any]]:
    """JSON documents, one a line."""
    rest = b""
    async for chunk in chunks:
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            if line.strip():
                yield msgspec.json.decode(line)
