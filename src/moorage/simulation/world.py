"""A world in which the real control plane runs: the real store, API providers and control loops around a simulated
engine, proxy and network, in virtual time.

    async with World(seed=1, images={"web": SimulatedImage()}) as world:
        front = await world.create_load_balancer("web")
        await world.create_service("web", desired=2, front=front)
        await world.stable("web")

The world breaks the moment that an invariant does, or a control loop fails with an unexpected error. The control plane
can be killed and started again at any moment: only what the log made durable, the engine and the proxy live on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from moorage.control.interruptions import interrupt, set_shortage
from moorage.domain.clock import Ids
from moorage.domain.service import Service, ServiceEvent
from moorage.domain.task import Task
from moorage.engine.simulated import SimulatedEngine
from moorage.engine.simulated_container import SimulatedContainer, SimulatedImage
from moorage.engine.simulated_host import Latencies
from moorage.proxy.simulated import SimulatedProxy
from moorage.services.base import RequestContext
from moorage.simulation.alarms import SimulatedAlarms
from moorage.simulation.calls import CLUSTER, Calls
from moorage.simulation.host_groups import SimulatedHostGroups
from moorage.simulation.invariants import Invariants, Violated
from moorage.simulation.loop import VirtualClock, VirtualTimeLoop
from moorage.simulation.network import SCOPE, Networks, SimulatedProber, Users
from moorage.simulation.process import Process
from moorage.store.log_memory import MemoryDisk, MemoryLog
from moorage.store.tables.ecs import SERVICE_EVENTS, SERVICES, TASKS

COMMIT = 0.002
POLL = 0.1


class ControlPlaneDown(ConnectionError):
    """The control plane went away before it answered: the call may or may not have happened."""


class NeverHappened(AssertionError):
    """What a story waited for did not come; the message says what the control plane was doing instead."""


class World(Calls):
    """`images`: scripts by image name. `latencies`: of the engine. `tolerate`: words of known problems that must not end
    the story, while they are being mended."""

    def __init__(
        self,
        seed: int = 0,
        *,
        images: Mapping[str, SimulatedImage] | None = None,
        latencies: Latencies = Latencies(),  # noqa: B008 immutable
        tolerate: Sequence[str] = (),
    ) -> None:
        self.seed = seed
        self.tolerate = tuple(tolerate)
        self.clock = VirtualClock(asyncio.get_running_loop())
        self.ids = Ids(seed)
        self.engine = SimulatedEngine(self.clock, seed=seed, images=images, latencies=latencies)
        self.proxy = SimulatedProxy(self.clock, seed=seed)
        self.users = Users(self.clock, self.engine, self.proxy)
        self.disk = MemoryDisk()
        self.networks = Networks()
        self.alarms = SimulatedAlarms()
        self.groups = SimulatedHostGroups(seed)
        self.invariants = Invariants(self.clock, self.engine, self.alarms)
        self.process: Process | None = None
        self.mended_at = 0
        """The step of the event loop at which the faults of a story ended."""
        self._errors = _Errors(self.invariants.note)
        self._restarting = asyncio.Lock()
        self._restarts: set[asyncio.Task[None]] = set()

    # === its existence ===============================================================================================
    async def __aenter__(self) -> Self:
        logging.getLogger("moorage").addHandler(self._errors)
        await self.start_control_plane()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.kill_control_plane()
        logging.getLogger("moorage").removeHandler(self._errors)
        if error is None:
            self.check()

    async def start_control_plane(self) -> None:
        assert self.process is None, "there is one control plane at a time"
        log = MemoryLog(self.disk, latency=COMMIT)
        self.process = await Process.open(
            log,
            self.clock,
            self.ids,
            self.engine,
            self.proxy,
            SimulatedProber(self.engine),
            self.networks,
            alarms=self.alarms,
            groups=self.groups,
        )
        self.invariants.watch(self.process.store, log)
        self.invariants.passes.watch(self.process.store, self.process.plane.services.loop)
        await self.process.begin()

    async def kill_control_plane(self) -> None:
        """`kill -9`: what is not durable is lost, nobody is answered, every loop is gone in the middle of its work."""
        process, self.process = self.process, None
        self.invariants.unwatch()
        if process is not None:
            await process.kill()

    def crash_after(self, steps: int, *, away: float = 0.0) -> None:
        """The control plane dies that many steps of its coroutines from now, at whatever `await` each of them is then, and
        comes back `away` seconds later. Its own start is no exception."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)

        def crash() -> None:
            if self.process is not None:
                self.process.die()
                task = loop.create_task(self.restart_control_plane(away), name="restart")
                self._restarts.add(task)
                task.add_done_callback(self._restarted)

        loop.after_steps(steps, crash)

    def _restarted(self, task: asyncio.Task[None]) -> None:
        self._restarts.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.invariants.note(f"the control plane does not start: {error!r}")

    async def recovered(self) -> None:
        """No crash is coming any more, and the control plane is back from the last one."""
        loop = asyncio.get_running_loop()
        if isinstance(loop, VirtualTimeLoop):
            loop.forget_hooks()
            await asyncio.sleep(0)  # one may have been called for already
        while self._restarts:
            await asyncio.gather(*self._restarts)
        if self.process is None:
            await self.start_control_plane()

    def note_mended(self) -> None:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        self.mended_at = loop.steps

    async def restart_control_plane(self, after: float = 0.0) -> None:
        async with self._restarting:
            await self.kill_control_plane()
            await asyncio.sleep(after)
            await self.start_control_plane()

    @property
    def store(self) -> Any:
        return self._living().store

    @property
    def log(self) -> MemoryLog:
        return self._living().log

    def check(self) -> None:
        """Raises `Violated` when anything was broken so far."""
        broken = self._not_tolerated(
            self.invariants.broken + [f"the engine: {what}" for what in self.engine.violations]
        )
        if broken:
            raise Violated("; ".join(broken[:10]))

    # === calls ======================================================================================================
    async def call(self, service: str, operation: str, /, **request: Any) -> dict[str, Any]:
        """One API call as the gateway makes it, after it has checked it against the model."""
        process = self._living()
        context = RequestContext(
            account=SCOPE.account,
            region=SCOPE.region,
            service=service,
            operation=operation,
            request_id=self.ids.uuid(),
            access_key_id="test",
            principal_arn=f"arn:aws:iam::{SCOPE.account}:root",
        )
        given = {name: value for name, value in request.items() if value is not None}
        return await process.call(context, given)

    async def ask(self, question: Awaitable[Any]) -> None:
        """Something that the control plane does, unless it goes away meanwhile: ConnectionResetError."""
        await self._living().ask(question)

    async def reset(self) -> None:
        """Somebody empties the whole state, whatever runs."""
        await self.ask(self.store.reset())

    async def interrupt(self, arns: Sequence[str]) -> None:
        """Those of the tasks that run on Fargate Spot are taken away."""
        await self.ask(interrupt(self.store, self.clock, arns))

    async def lack_spot(self, seconds: float) -> None:
        """There is no Fargate Spot capacity for a while."""
        await self.ask(set_shortage(self.store, self.clock, SCOPE, seconds))

    # === what is there ==============================================================================================
    def service(self, name: str = "web", *, cluster: str = CLUSTER) -> Service:
        found: Service | None = self.store.get(SERVICES, SCOPE.arn("ecs", f"service/{cluster}/{name}"))
        assert found is not None, f"there is no service {name}"
        return found

    def task(self, arn: str) -> Task:
        found: Task | None = self.store.get(TASKS, arn)
        assert found is not None, f"there is no task {arn}"
        return found

    def tasks(self, name: str = "web", *, all: bool = False) -> list[Task]:
        """The service's tasks that should run, oldest first; `all`: also those that stop or have stopped."""
        found = self.store.find(TASKS, "service_all", self.service(name).arn)
        return [task for task in found if all or task.desired_status == "RUNNING"]

    def living_tasks(self) -> list[Task]:
        """Every task that has not stopped, oldest first."""
        return list(self.store.find(TASKS, "live", True))

    def standalone(self) -> list[Task]:
        """Those of them that no service looks after."""
        return [task for task in self.living_tasks() if task.service_arn is None]

    def running(self, name: str = "web", *, revision: int | None = None) -> list[Task]:
        """Tasks that are RUNNING and shall be, of one revision of their family if that is given."""
        return [
            task
            for task in self.tasks(name)
            if task.last_status == "RUNNING" and (revision is None or task.task_definition_arn.endswith(f":{revision}"))
        ]

    def container(self, task: Task, name: str = "app") -> SimulatedContainer:
        return next(c for c in self.engine.of_task(task.arn) if c.spec.name == name)

    def events(self, name: str = "web") -> list[str]:
        """The service's messages, oldest first."""
        found: Sequence[ServiceEvent] = self.store.find(SERVICE_EVENTS, "service", self.service(name).arn)
        return [event.message for event in found]

    def is_stable(self, name: str = "web") -> bool:
        """As `aws ecs wait services-stable` sees it: one deployment and all tasks running; and COMPLETED."""
        service = self.service(name)
        return (
            len(service.deployments) == 1
            and service.deployments[0].rollout_state == "COMPLETED"
            and len(self.running(name)) == service.desired_count == len(self.tasks(name))
        )

    # === time ========================================================================================================
    async def run_for(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        self.check()

    async def until(self, happens: Callable[[], bool], *, within: float = 120.0, what: str = "") -> float:
        """Waits; answers how many seconds it took. Raises `NeverHappened`."""
        started = self.clock.now()
        while self.process is None or self.process.is_dead or not happens():
            self.check()
            if self.clock.now() - started > within:
                raise NeverHappened(f"{what or 'it'} did not happen within {within:g} s: {self.situation()}")
            await asyncio.sleep(POLL)
        self.check()
        return self.clock.now() - started

    async def stable(self, name: str = "web", *, within: float = 300.0) -> float:
        return await self.until(lambda: self.is_stable(name), within=within, what=f"{name} stable")

    async def settled(self, *, within: float = 900.0) -> float:
        """Every service is stable (or gone), nothing is left over from what has stopped."""

        def at_rest() -> bool:
            services = [s for s in self.store.all(SERVICES) if s.status == "ACTIVE"]
            winding_down = [t for t in self.store.find(TASKS, "live", True) if t.desired_status == "STOPPED"]
            return (
                not winding_down
                and all(self.is_stable(s.name) for s in services)
                and all(s.status != "DRAINING" for s in self.store.all(SERVICES))
                and not self._not_tolerated(self.invariants.at_rest())
            )

        try:
            return await self.until(at_rest, within=within, what="the world at rest")
        except NeverHappened as error:
            raise NeverHappened(f"{error}; {'; '.join(self.invariants.at_rest())}") from None

    def _not_tolerated(self, problems: Sequence[str]) -> list[str]:
        return [problem for problem in problems if not any(words in problem for words in self.tolerate)]

    def situation(self) -> str:
        """What the control plane says it is doing."""
        if self.process is None or self.process.is_dead:
            return "the control plane is down"
        lines = []
        for service in self.store.all(SERVICES):
            lines.append(f"service {service.name} ({service.status}): {self.process.plane.explain(service.arn)}")
            lines += [f"  event: {message}" for message in self.events(service.name)[-4:]]
        for task in self.store.find(TASKS, "live", True):
            state = f"{task.last_status}, desired {task.desired_status}"
            lines.append(f"task {task.id[:8]} ({state}): {self.process.plane.explain(task.arn)}")
        return "\n".join(lines)

    def _living(self) -> Process:
        if self.process is None or self.process.is_dead:
            raise ControlPlaneDown("the control plane is down")
        return self.process


class _Errors(logging.Handler):
    """An unexpected exception in a control loop is retried there; here it is a bug."""

    def __init__(self, note: Callable[[str], None]) -> None:
        super().__init__(logging.ERROR)
        self._note = note

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info and record.exc_info[1] is not None:
            self._note(f"{record.getMessage()}: {record.exc_info[1]!r}")
