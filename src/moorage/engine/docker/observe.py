"""What Docker says of a container → `ObservedContainer`. Pure, except for `Observer.list`, which asks."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

from moorage.engine.docker.client import ApiError, Client
from moorage.engine.docker.names import observed_labels
from moorage.engine.driver import EVERYWHERE, LABEL_INSTALLATION, LABEL_SANDBOX, ObservedContainer, PortBinding

Health = Literal["HEALTHY", "UNHEALTHY", "UNKNOWN"]
_HEALTH: dict[str, Health] = {"healthy": "HEALTHY", "unhealthy": "UNHEALTHY"}
_INSPECTING_AT_ONCE = 8
# Of what a health check said, this much is kept (characters).
_LONGEST_OUTPUT = 256
_TIMESTAMP = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)")


def health_of(status: str | None) -> Health:
    return _HEALTH.get(status or "", "UNKNOWN")


def epoch_nanoseconds(timestamp: str) -> int | None:
    """Docker's RFC 3339 timestamps; None for the zero time ("0001-01-01T00:00:00Z") and anything else."""
    match = _TIMESTAMP.match(timestamp)
    if match is None or timestamp.startswith("0001"):
        return None
    seconds, fraction, zone = match.groups()
    moment = datetime.fromisoformat(seconds + ("+00:00" if zone == "Z" else zone)).astimezone(UTC)
    return int(moment.timestamp()) * 10**9 + int((fraction or "0").ljust(9, "0"))


def epoch(timestamp: str | None) -> float | None:
    nanoseconds = epoch_nanoseconds(timestamp or "")
    return None if nanoseconds is None else nanoseconds / 1e9


def observed(inspected: Mapping[str, Any]) -> ObservedContainer:
    """From GET /containers/{id}/json."""
    state = inspected["State"]
    labels = observed_labels(inspected["Name"], inspected["Config"].get("Labels") or {})
    status = state.get("Status") or ("running" if state.get("Running") else "exited")
    stopped = status in ("exited", "dead", "removing", "stopped")
    health = state.get("Health") or {}
    probes = health.get("Log") or ()
    # A container whose start failed stays "created" and carries the failure's exit code: it never ran.
    phase: Literal["created", "running", "stopped"] = (
        "stopped" if stopped else "created" if status in ("created", "initialized", "configured") else "running"
    )
    return ObservedContainer(
        id=inspected["Id"],
        labels=labels,
        state=phase,
        sandbox=LABEL_SANDBOX in labels,
        exit_code=state.get("ExitCode") if stopped else None,
        oom_killed=bool(state.get("OOMKilled")) if stopped else False,
        health=health_of(health.get("Status")),
        started_at=epoch(state.get("StartedAt")),
        finished_at=epoch(state.get("FinishedAt")) if stopped else None,
        ports=published(inspected),
        ipv4=(inspected.get("NetworkSettings") or {}).get("IPAddress") or None,
        failed_checks=int(health.get("FailingStreak") or 0),
        check_output=str(probes[-1].get("Output") or "").strip()[:_LONGEST_OUTPUT] if probes else "",
    )


def published(inspected: Mapping[str, Any]) -> tuple[PortBinding, ...]:
    """The ports that the host forwards to it now, one binding a port; IPv4 only, as we publish them."""
    found = []
    for key, entries in ((inspected.get("NetworkSettings") or {}).get("Ports") or {}).items():
        port, _, protocol = key.partition("/")
        found += [
            PortBinding(int(port), int(entry["HostPort"]), protocol or "tcp", entry.get("HostIp") or EVERYWHERE)
            for entry in entries or ()
            if ":" not in (entry.get("HostIp") or "")
        ]
    return tuple(found)


async def inspect(client: Client, container_id: str) -> ObservedContainer | None:
    try:
        return observed(await client.call("GET", f"/containers/{container_id}/json"))
    except ApiError as error:
        if error.status == 404:
            return None
        raise


async def list_ids(client: Client, installation: str) -> list[str]:
    filters = json.dumps({"label": [f"{LABEL_INSTALLATION}={installation}"]})
    found = await client.call("GET", "/containers/json", query={"all": "true", "filters": filters})
    return [str(entry["Id"]) for entry in found or []]


async def list_observed(client: Client, installation: str) -> list[ObservedContainer]:
    """The list alone knows neither exit codes nor times: each is inspected, a few at a time."""
    gate = asyncio.Semaphore(_INSPECTING_AT_ONCE)

    async def one(container_id: str) -> ObservedContainer | None:
        async with gate:
            return await inspect(client, container_id)

    found = await asyncio.gather(*(one(container_id) for container_id in await list_ids(client, installation)))
    return [container for container in found if container is not None]
