"""One simulated container: what its image's script makes it do from its start to its exit.

It decides nothing for the control plane; it is the program that a user might run. Time is the event loop's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Literal

import msgspec
from msgspec.structs import replace

from moorage.engine.driver import ContainerSpec, ObservedContainer, PortBinding

SIGKILLED = 137
Health = Literal["HEALTHY", "UNHEALTHY", "UNKNOWN"]


class SimulatedImage(msgspec.Struct, frozen=True, kw_only=True):
    """The script of an image. Seconds; None means never.

    `pull`, `start`: how long these take; `pull_failure`, `start_failure`: the engine's text when they fail.
    `listens_after` its start it answers on `ports` with `status`; `turns` are (seconds after start, status) later on.
    `exits_after` its start it exits by itself with `exit_code`; `oom_after`: it is killed for its memory.
    With a health check in the task definition it is HEALTHY after `healthy_after` and UNHEALTHY after `unhealthy_after`.
    On SIGTERM it stops listening, finishes the requests it has (unless `graceful` is False) and exits after `stop` with
    `stop_code`; `ignores_sigterm`: it must be killed. `freezes_after`: it accepts connections and answers nothing.
    """

    architecture: str = "amd64"
    pull: float = 0.5
    pull_failure: str | None = None
    start: float = 0.1
    start_failure: str | None = None
    ports: tuple[int, ...] = (80,)
    listens_after: float | None = 0.2
    status: int = 200
    turns: tuple[tuple[float, int], ...] = ()
    exits_after: float | None = None
    exit_code: int = 0
    oom_after: float | None = None
    healthy_after: float | None = 1.0
    unhealthy_after: float | None = None
    stop: float = 0.1
    stop_code: int = 143
    graceful: bool = True
    ignores_sigterm: bool = False
    freezes_after: float | None = None


class Request:
    """A request that a container is working on; `done` is its status, or ConnectionResetError when it is killed."""

    def __init__(self, ends_at: float, done: asyncio.Future[int]) -> None:
        self.ends_at = ends_at
        self.done = done


class SimulatedContainer:
    """`report` is called with "started", "died" or "health" when that happens to it."""

    def __init__(
        self,
        id: str,
        spec: ContainerSpec,
        labels: Mapping[str, str],
        sandbox_id: str,
        image: SimulatedImage,
        now: Callable[[], float],
        report: Callable[[SimulatedContainer, Literal["started", "died", "health"]], None],
    ) -> None:
        self.id = id
        self.spec = spec
        self.labels = labels
        self.sandbox_id = sandbox_id
        self.image = image
        self.state: Literal["created", "running", "stopped"] = "created"
        self.exit_code: int | None = None
        self.oom_killed = False
        self.health: Health = "UNKNOWN"
        self.was_healthy = False
        """HEALTHY at some time of its life."""
        self.started_at: float | None = None
        self.finished_at: float | None = None
        self.signalled_at: float | None = None
        self.frozen = False
        self.ports: tuple[PortBinding, ...] = ()
        """What it publishes on the host while it runs."""
        self.status: int | None = None
        """A status set from outside, instead of the script's."""
        self.listens_after = image.listens_after
        self.requests: set[Request] = set()
        self.exited = asyncio.Event()
        self._now = now
        self._report = report
        self._timers: list[asyncio.TimerHandle] = []

    # --- its life ----------------------------------------------------------------------------------------------------
    def start(self) -> None:
        """Starts it, or starts it again after its end."""
        self.state = "running"
        self.started_at, self.finished_at, self.signalled_at = self._now(), None, None
        self.exit_code, self.oom_killed, self.frozen, self.health = None, False, False, "UNKNOWN"
        self.exited.clear()
        image = self.image
        self._report(self, "started")
        self._after(image.exits_after, self.exit, image.exit_code)
        self._after(image.oom_after, self.run_out_of_memory)
        self._after(image.freezes_after, self.freeze)
        if self.spec.health_check is not None:
            self._after(image.healthy_after, self.turn, "HEALTHY")
            self._after(image.unhealthy_after, self.turn, "UNHEALTHY")

    def terminate(self, timeout: float) -> None:
        """SIGTERM, and SIGKILL after `timeout`."""
        if self.state != "running" or self.signalled_at is not None:
            return
        self.signalled_at = self._now()
        self._after(timeout, self.exit, SIGKILLED)
        if self.image.ignores_sigterm or self.frozen:
            return
        busy = max((request.ends_at for request in self.requests), default=0.0) - self._now()
        delay = max(self.image.stop, busy) if self.image.graceful else self.image.stop
        # A moment later than its last request, so that the answer is out.
        self._after(delay + 0.001, self.exit, self.image.stop_code)

    def exit(self, code: int) -> None:
        if self.state != "running":
            return
        self.state = "stopped"
        self.exit_code = code
        self.finished_at = self._now()
        self._cancel()
        for request in self.requests:
            if not request.done.done():
                request.done.set_exception(ConnectionResetError("the container is gone"))
        self.requests.clear()
        self.exited.set()
        self._report(self, "died")

    def kill(self) -> None:
        self.exit(SIGKILLED)

    def run_out_of_memory(self) -> None:
        self.oom_killed = self.state == "running"
        self.exit(SIGKILLED)

    def freeze(self) -> None:
        """It is there, but answers nothing and reacts to no SIGTERM any more."""
        self.frozen = True

    def turn(self, health: Health) -> None:
        if self.state == "running" and self.health != health:
            self.health = health
            self.was_healthy |= health == "HEALTHY"
            self._report(self, "health")

    def vanish(self) -> None:
        """Its host is gone: no exit, no event."""
        self._cancel()
        for request in self.requests:
            if not request.done.done():
                request.done.set_exception(ConnectionResetError("the host is gone"))
        self.exited.set()

    # --- what clients see --------------------------------------------------------------------------------------------
    def listens(self, port: int) -> bool:
        if self.state != "running" or self.started_at is None or port not in self.image.ports:
            return False
        after = self.listens_after
        return after is not None and self._now() >= self.started_at + after and self.signalled_at is None

    def answers_with(self) -> int:
        assert self.started_at is not None
        if self.status is not None:
            return self.status
        age = self._now() - self.started_at
        return next((code for after, code in reversed(self.image.turns) if age >= after), self.image.status)

    async def serve(self, seconds: float) -> int:
        """The status of a request that takes `seconds`; ConnectionResetError when the container does not live so
        long. A frozen container never answers."""
        loop = asyncio.get_running_loop()
        status = self.answers_with()
        ends_at = float("inf") if self.frozen else self._now() + seconds
        request = Request(ends_at, loop.create_future())
        self.requests.add(request)
        timer = None if self.frozen else loop.call_later(seconds, _answer, request.done, status)
        try:
            return await request.done
        finally:
            if timer is not None:
                timer.cancel()
            self.requests.discard(request)

    def observed(self) -> ObservedContainer:
        return ObservedContainer(
            id=self.id,
            labels=self.labels,
            state=self.state,
            exit_code=self.exit_code,
            oom_killed=self.oom_killed,
            health=self.health,
            started_at=self.started_at,
            finished_at=self.finished_at,
            ports=single(self.ports) if self.state == "running" else (),
            ipv4="172.17.0.2" if self.spec.network == "bridge" else None,
        )

    def _after(self, seconds: float | None, function: Callable[..., None], *arguments: object) -> None:
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._timers.append(loop.call_later(seconds, function, *arguments))

    def _cancel(self) -> None:
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()


def single(ports: tuple[PortBinding, ...]) -> tuple[PortBinding, ...]:
    """Ranges taken apart: one port a binding, as an engine tells them."""
    return tuple(
        replace(port, container_port=port.container_port + offset, host_port=port.host_port + offset, size=1)
        for port in ports
        for offset in range(port.size)
    )


def _answer(done: asyncio.Future[int], status: int) -> None:
    if not done.done():
        done.set_result(status)
