"""Host ports for container port ranges: as many free ones next to each other as the range is long (ecs-tasks §16).

Docker finds one free port by itself, but no run of them. What Docker publishes is taken; what was promised here a moment
ago is too. A port that another program of the host holds is noticed when the container starts: Docker refuses it by name.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from msgspec.structs import replace

from moorage.engine.docker.client import Client
from moorage.engine.driver import CannotCreateContainerError, PortBinding

# Where the ECS agent looks: Linux's range of ephemeral ports.
FIRST, LAST = 32768, 60999
# Docker hands out single ports from the lower end.
MIDDLE = (FIRST + LAST) // 2


def free_run(size: int, taken: Collection[int], start: int = FIRST) -> int | None:
    """The first port of a run of `size` free ones, from `start` on and then from the beginning; None when there is none."""
    for first, last in ((start, LAST), (FIRST, min(LAST, start + size - 1))):
        run = 0
        for port in range(first, last + 1):
            run = 0 if port in taken else run + 1
            if run == size:
                return port - size + 1
    return None


class PortRanges:
    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = asyncio.Lock()
        self._next = MIDDLE

    async def chosen(self, ports: tuple[PortBinding, ...]) -> tuple[PortBinding, ...]:
        """The same, with host ports for the ranges that have none. The next one asks further up, so that a promise that
        has not become a container yet is not given twice."""
        async with self._lock:
            taken = {
                int(entry["PublicPort"])
                for container in await self._client.call("GET", "/containers/json") or ()
                for entry in container.get("Ports") or ()
                if entry.get("PublicPort")
            }
            found = []
            for port in ports:
                if port.size > 1 and not port.host_port:
                    first = free_run(port.size, taken, self._next)
                    if first is None:
                        raise CannotCreateContainerError(
                            f"no {port.size} free host ports next to each other between {FIRST} and {LAST}"
                        )
                    self._next = first + port.size if first + port.size < LAST else MIDDLE
                    taken |= set(range(first, first + port.size))
                    found.append(replace(port, host_port=first))
                else:
                    found.append(port)
            return tuple(found)
