"""An `Engine` without containers: scripted images, virtual time, seeded latencies, faults on request.

It is the world, not the control plane: it lives on when the control plane crashes, and a call that was under way then may
or may not take effect, as with a real engine. It keeps a history of every verb and notes what a real host would punish
(`violations`): two sandboxes with one address, a sandbox removed under its running containers.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from typing import Literal, NamedTuple, TypeVar

from moorage.domain.clock import Clock
from moorage.engine.driver import (
    LABEL_INSTALLATION,
    LABEL_POOL,
    LABEL_SANDBOX,
    LABEL_TASK,
    CannotCreateContainerError,
    CannotPullContainerError,
    CannotStartContainerError,
    ContainerSpec,
    ContainerStats,
    EngineEvent,
    EngineUnavailable,
    LogLine,
    NetworkError,
    ObservedContainer,
    PortBinding,
    PulledImage,
    RegistryAuth,
    Sandbox,
    SandboxSpec,
    SubnetNetwork,
)
from moorage.engine.simulated_container import SIGKILLED, SimulatedContainer, SimulatedImage

T = TypeVar("T")

RECONNECT = 0.2
NOTICES_OUTAGE = 0.5
FIRST_FREE_PORT = 32768


class Verb(NamedTuple):
    """One call: `at` in the clock's seconds, `subject` a task ARN, an image or a container's name."""

    at: float
    name: str
    subject: str


class Latencies(NamedTuple):
    """Mean seconds of the verbs; each call takes half to one and a half times as long."""

    sandbox: float = 0.3
    claim: float = 0.01
    create: float = 0.02
    remove: float = 0.08
    list: float = 0.05
    event: float = 0.03


class _Sandbox:
    def __init__(self, id: str, spec: SandboxSpec, sandbox: Sandbox, labels: Mapping[str, str]) -> None:
        self.id = id
        self.spec = spec
        self.sandbox = sandbox
        self.labels = labels
        self.running = True
        self.exit_code: int | None = None
        self.containers: list[SimulatedContainer] = []
        """All that were ever made in it."""


class SimulatedEngine:
    """`images` by the name that task definitions use; a name that is not there cannot be pulled."""

    def __init__(
        self,
        clock: Clock,
        *,
        seed: int = 0,
        images: Mapping[str, SimulatedImage] | None = None,
        latencies: Latencies = Latencies(),  # noqa: B008 immutable
    ) -> None:
        self.images: dict[str, SimulatedImage] = dict(images or {})
        self.latencies = latencies
        self.history: list[Verb] = []
        self.counts: Counter[str] = Counter()
        self.violations: list[str] = []
        self.on_sigterm: list[Callable[[SimulatedContainer], None]] = []
        """Called when a container gets SIGTERM because the control plane asked for it."""
        self._clock = clock
        self._random = random.Random(seed)
        self._containers: dict[str, SimulatedContainer] = {}
        self._sandboxes: dict[str, _Sandbox] = {}
        self._at: dict[str, str] = {}
        """The newest sandbox of an address."""
        self._images_by_reference: dict[str, str] = {}
        self._streams: list[asyncio.Queue[EngineEvent | None]] = []
        self._reachable: asyncio.Event = asyncio.Event()
        self._reachable.set()
        self._lost_answers: set[str] = set()
        self._deaf_until = 0.0
        self._last_event_at = 0.0
        self._next_port = FIRST_FREE_PORT
        self._calls: set[asyncio.Task[object]] = set()

    # === the Engine Protocol =========================================================================================
    async def prepare_network(self, network: SubnetNetwork) -> str:
        return network.cidr

    async def start_sandbox(self, spec: SandboxSpec) -> Sandbox:
        def effect() -> Sandbox:
            for known in self._sandboxes.values():
                if known.spec.task_arn == spec.task_arn and known.running:
                    return known.sandbox
            pooled = self._pooled(spec)
            if pooled is not None:
                pooled.spec = spec
                pooled.labels = {LABEL_INSTALLATION: "simulated", LABEL_TASK: spec.task_arn, LABEL_SANDBOX: "true"}
                return pooled.sandbox
            # What died in the place of this one is replaced.
            for dead in [one for one in self._sandboxes.values() if not one.running and _same_place(one.spec, spec)]:
                del self._sandboxes[dead.id]
            return self._make_sandbox(spec)

        mean = self.latencies.claim if self._pooled(spec) is not None else self.latencies.sandbox
        return await self._call("start_sandbox", spec.task_arn, mean, effect)

    async def warm(self, network: SubnetNetwork, ipv4: str, mac: str, hostname: str | None = None) -> None:
        spec = SandboxSpec(
            task_arn="",
            mode="awsvpc",
            labels={LABEL_POOL: ipv4},
            network=network,
            ipv4=ipv4,
            mac=mac,
            hostname=hostname,
        )

        def effect() -> None:
            if self._pooled(spec) is None:
                self._make_sandbox(spec)

        await self._call("warm", ipv4, self.latencies.sandbox, effect)

    async def pull(self, image: str, auth: RegistryAuth | None = None, *, always: bool = True) -> PulledImage:
        def effect() -> PulledImage:
            script = self.images.get(image)
            if script is None:
                raise CannotPullContainerError(
                    "pull image manifest has been retried 1 time(s): "
                    f"failed to resolve ref docker.io/library/{image}: docker.io/library/{image}: not found"
                )
            if script.pull_failure is not None:
                raise CannotPullContainerError(script.pull_failure)
            return PulledImage(image, f"sha256:{hashlib.sha256(image.encode()).hexdigest()}")

        script = self.images.get(image)
        return await self._call("pull", image, script.pull if script is not None else 0.2, effect)

    async def create(self, spec: ContainerSpec, sandbox: Sandbox) -> str:
        def effect() -> str:
            for known in self._containers.values():
                if known.spec.docker_name == spec.docker_name:
                    return known.id
            if sandbox.id not in self._sandboxes:
                raise CannotCreateContainerError(f"No such container: {sandbox.id[:12]}")
            id = f"{self._random.getrandbits(256):064x}"
            labels = {LABEL_INSTALLATION: "simulated", **spec.labels}
            self._containers[id] = SimulatedContainer(
                id, spec, labels, sandbox.id, self.images[spec.image], self._clock.now, self._report
            )
            self._sandboxes[sandbox.id].containers.append(self._containers[id])
            return id

        return await self._call("create", _name(spec), self.latencies.create, effect)

    async def start(self, container_id: str) -> None:
        container = self._containers.get(container_id)

        def effect() -> None:
            found = self._containers.get(container_id)
            if found is None:
                raise CannotStartContainerError(f"No such container: {container_id[:12]}")
            if found.state != "created":
                return
            sandbox = self._sandboxes.get(found.sandbox_id)
            if sandbox is None or not sandbox.running:
                raise CannotStartContainerError("cannot join network of a non running container")
            if found.image.start_failure is not None:
                raise CannotStartContainerError(found.image.start_failure)
            found.start()

        seconds = container.image.start if container is not None else 0.01
        await self._call("start", _name(container.spec) if container else container_id, seconds, effect)

    async def stop(self, container_id: str, timeout: float) -> None:
        container = self._containers.get(container_id)
        if container is None or container.state != "running":
            await self._call("stop", container_id, self.latencies.create, lambda: None)
            return

        def effect() -> None:
            if container.state == "running" and container.signalled_at is None:
                for told in self.on_sigterm:
                    told(container)
                container.terminate(timeout)

        await self._call("stop", _name(container.spec), self.latencies.create, effect)
        while container.state == "running" and container.id in self._containers:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(NOTICES_OUTAGE):
                    await container.exited.wait()
            self._check_reachable()

    async def remove(self, container_id: str) -> None:
        container = self._containers.get(container_id)

        def effect() -> None:
            gone = self._containers.get(container_id)
            if gone is not None:
                gone.kill()
                del self._containers[container_id]

        name = _name(container.spec) if container is not None else container_id
        await self._call("remove", name, self.latencies.remove, effect)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        def effect() -> None:
            sandbox = self._sandboxes.pop(sandbox_id, None)
            inside = [c for c in self._containers.values() if c.sandbox_id == sandbox_id and c.state == "running"]
            if sandbox is not None and sandbox.running and inside:
                names = ", ".join(_name(c.spec) for c in inside)
                self.violations.append(f"the sandbox of {sandbox.spec.task_arn} was removed under running {names}")

        known = self._sandboxes.get(sandbox_id)
        subject = known.spec.task_arn if known is not None else sandbox_id
        await self._call("remove_sandbox", subject, self.latencies.remove, effect)

    async def remove_networks(self, keep: Sequence[str] = ()) -> None:
        await self._call("remove_networks", "", self.latencies.remove, lambda: None)

    async def stats(self, container_ids: Sequence[str]) -> list[ContainerStats]:
        self._check_reachable()
        now = self._clock.now()
        running = [self._containers[id] for id in container_ids if id in self._containers]
        return [ContainerStats(c.id, 0.01 * (now - (c.started_at or now)), 32 << 20) for c in running]

    async def list(self) -> list[ObservedContainer]:
        def effect() -> list[ObservedContainer]:
            pauses = [
                ObservedContainer(
                    id=one.id,
                    labels=one.labels,
                    state="running" if one.running else "stopped",
                    sandbox=True,
                    exit_code=one.exit_code,
                )
                for one in self._sandboxes.values()
            ]
            return pauses + [one.observed() for one in self._containers.values()]

        return await self._call("list", "", self.latencies.list, effect)

    async def events(self) -> AsyncIterator[EngineEvent]:
        while True:
            await self._reachable.wait()
            stream: asyncio.Queue[EngineEvent | None] = asyncio.Queue()
            self._streams.append(stream)
            try:
                yield EngineEvent("resync", "", {}, self._clock.now())
                while (event := await stream.get()) is not None:
                    yield event
            finally:
                if stream in self._streams:
                    self._streams.remove(stream)
            await asyncio.sleep(max(RECONNECT, self._deaf_until - self._clock.now()))

    async def logs(self, container_id: str, since: float = 0) -> AsyncIterator[LogLine]:
        container = self._containers.get(container_id)
        if container is None or container.started_at is None:
            return
        if container.started_at >= since:
            yield LogLine(container.started_at, f"{_name(container.spec)} started")
        await container.exited.wait()
        if container.finished_at is not None:
            yield LogLine(container.finished_at, f"exited with {container.exit_code}")

    async def close(self) -> None:
        """The control plane goes; the engine stays."""

    # === faults ======================================================================================================
    async def outage(self, seconds: float, *, containers_die: bool = False) -> None:
        """The engine does not answer for a while; its containers run on unless they die with it."""
        self.note("fault: engine outage", f"{seconds:g} s")
        self._reachable.clear()
        self._interrupt()
        if containers_die:
            for container in [*self._containers.values()]:
                container.kill()
            for sandbox in self._sandboxes.values():
                sandbox.running, sandbox.exit_code = False, SIGKILLED
        await asyncio.sleep(seconds)
        self._reachable.set()
        self.note("fault: engine back", "")

    def lose_answer(self, verb: str | None) -> None:
        """The next call of this verb takes effect, but its caller hears that the engine does not answer (None: no answer
        is lost any more)."""
        if verb is None:
            self._lost_answers.clear()
        else:
            self._lost_answers.add(verb)

    def deafen(self, seconds: float) -> None:
        """The event stream breaks and comes back after `seconds`: what happens meanwhile is not reported."""
        self.note("fault: events lost", f"{seconds:g} s")
        self._deaf_until = self._clock.now() + seconds
        self._interrupt()

    def kill(self, container_id: str) -> None:
        """`kill -9` of the container's process by somebody."""
        container = self._containers[container_id]
        self.note("fault: kill", _name(container.spec))
        container.kill()

    def kill_sandbox(self, task_arn: str) -> None:
        """The pause container dies: its containers lose their network."""
        for sandbox in self._sandboxes.values():
            if sandbox.spec.task_arn == task_arn and sandbox.running:
                self.note("fault: kill sandbox", task_arn)
                sandbox.running, sandbox.exit_code = False, SIGKILLED
                self._tell(EngineEvent("died", sandbox.id, sandbox.labels, self._clock.now(), exit_code=SIGKILLED))

    def remove_by_hand(self, container_id: str) -> None:
        """`docker rm -f` by somebody."""
        container = self._containers.pop(container_id)
        self.note("fault: rm -f", _name(container.spec))
        container.kill()
        self._tell(EngineEvent("gone", container.id, container.labels, self._clock.now()))

    def lose_host(self) -> None:
        """Everything that ran is gone without a word; the host comes back empty."""
        self.note("fault: host lost", "")
        for container in self._containers.values():
            container.vanish()
        self._containers.clear()
        self._sandboxes.clear()
        self._interrupt()

    # === questions of tests and of the simulated network =============================================================
    def containers(self, *, running: bool = False) -> Sequence[SimulatedContainer]:
        """In order of their creation."""
        return [c for c in self._containers.values() if not running or c.state == "running"]

    def of_task(self, task_arn: str) -> Sequence[SimulatedContainer]:
        return [c for c in self._containers.values() if c.spec.task_arn == task_arn]

    def sandbox_count(self) -> int:
        return len(self._sandboxes)

    def pool(self) -> Sequence[str]:
        """Addresses of the warm sandboxes that no task has taken."""
        return [one.spec.ipv4 for one in self._sandboxes.values() if not one.spec.task_arn and one.spec.ipv4]

    def leaks(self, living: Collection[str]) -> Sequence[str]:
        """What is on the host for tasks that are not among `living` (task ARNs)."""
        pauses = [s.spec.task_arn for s in self._sandboxes.values() if s.spec.task_arn]
        found = [f"sandbox of {task_arn}" for task_arn in pauses if task_arn not in living]
        return found + [_name(c.spec) for c in self._containers.values() if c.spec.task_arn not in living]

    def listener(self, address: str, port: int) -> SimulatedContainer | None:
        """The container that accepts connections there."""
        sandbox = self._sandboxes.get(self._at.get(address, ""))
        if sandbox is None:
            for other in self._sandboxes.values():
                bound = next((p for p in other.sandbox.ports if p.host_port == port), None)
                if bound is not None:
                    sandbox, port = other, bound.container_port
                    break
        if sandbox is None or not sandbox.running:
            return None
        return next((container for container in sandbox.containers if container.listens(port)), None)

    async def request(self, address: str, port: int, seconds: float = 0.0) -> int:
        """One HTTP request to a task: its status. ConnectionRefusedError when nobody listens, ConnectionResetError when
        the container dies before it answers; a frozen container never answers."""
        container = self.listener(address, port)
        if container is None:
            raise ConnectionRefusedError(f"{address}:{port}")
        return await container.serve(seconds)

    def note(self, verb: str, subject: str) -> None:
        self.history.append(Verb(self._clock.now(), verb, subject))
        self.counts[verb] += 1

    # === inside ======================================================================================================
    async def _call(self, verb: str, subject: str, seconds: float, effect: Callable[[], T]) -> T:
        self.note(verb, subject)
        self._check_reachable()
        # Everything that chance decides about a call is decided now: the order in which calls are given up, when a
        # control plane dies, must not change the course of the world.
        delay = seconds * self._random.uniform(0.5, 1.5)
        in_time, was_read = self._random.random() < 0.5, self._random.random() < 0.5
        call = asyncio.get_running_loop().create_task(self._answer(verb, delay, effect, in_time), name=f"engine {verb}")
        self._calls.add(call)
        call.add_done_callback(self._answered)
        try:
            return await asyncio.shield(call)
        except asyncio.CancelledError:
            # The caller is gone. The engine may have read the request or not.
            if not call.done() and (verb == "pull" or not was_read):
                call.cancel()
            raise

    async def _answer(self, verb: str, delay: float, effect: Callable[[], T], in_time: bool) -> T:
        """`in_time`: an engine that stops meanwhile has done it before."""
        await asyncio.sleep(delay)
        if not in_time:
            self._check_reachable()
        result = effect()
        self._check_reachable()
        if verb in self._lost_answers:
            self._lost_answers.discard(verb)
            raise EngineUnavailable("The container engine does not answer", "The connection broke", "Wait a moment")
        return result

    def _answered(self, call: asyncio.Task[object]) -> None:
        self._calls.discard(call)
        if not call.cancelled():
            call.exception()  # nobody may be left to hear of it

    def _check_reachable(self) -> None:
        if not self._reachable.is_set():
            raise EngineUnavailable(
                "The container engine does not answer", "It is stopped", "Start it with `systemctl start docker`"
            )

    def _make_sandbox(self, spec: SandboxSpec) -> Sandbox:
        self._check_address(spec)
        id = f"{self._random.getrandbits(256):064x}"
        ports = tuple(self._bind(port) for port in spec.ports)
        labels = {LABEL_INSTALLATION: "simulated", **spec.labels, LABEL_SANDBOX: "true"}
        self._sandboxes[id] = _Sandbox(id, spec, Sandbox(id, ports), labels)
        if spec.ipv4 is not None:
            self._at[spec.ipv4] = id
        return self._sandboxes[id].sandbox

    def _pooled(self, spec: SandboxSpec) -> _Sandbox | None:
        """The warm sandbox that is there for this address."""
        for one in self._sandboxes.values():
            if one.running and not one.spec.task_arn and _same_place(one.spec, spec):
                return one
        return None

    def _check_address(self, spec: SandboxSpec) -> None:
        for other in self._sandboxes.values():
            if other.running and _same_place(other.spec, spec):
                # A warming that was ordered before a crash may come late: nobody waits for it, and it is refused.
                if spec.task_arn:
                    self.violations.append(f"{spec.task_arn} and {other.spec.task_arn} both have {spec.ipv4}")
                raise NetworkError(f"Address already in use: {spec.ipv4}")

    def _bind(self, port: PortBinding) -> PortBinding:
        """A fixed host port must be free; 0 asks for a free one."""
        taken = {bound.host_port for sandbox in self._sandboxes.values() for bound in sandbox.sandbox.ports}
        if port.host_port in taken:
            raise NetworkError(f"Bind for 0.0.0.0:{port.host_port} failed: port is already allocated")
        if port.host_port:
            return port
        while self._next_port in taken:
            self._next_port += 1
        self._next_port += 1
        return PortBinding(port.container_port, self._next_port - 1, port.protocol)

    def _report(self, container: SimulatedContainer, kind: Literal["started", "died", "health"]) -> None:
        event = EngineEvent(
            kind,
            container.id,
            container.labels,
            self._clock.now(),
            exit_code=container.exit_code,
            oom_killed=container.oom_killed,
            health=container.health,
        )
        self._tell(event)

    def _tell(self, event: EngineEvent) -> None:
        """Events arrive a little later, but in order."""
        loop = asyncio.get_running_loop()
        arrives = loop.time() + self.latencies.event * self._random.uniform(0.5, 1.5)
        self._last_event_at = max(self._last_event_at, arrives)
        for stream in self._streams:
            loop.call_at(self._last_event_at, stream.put_nowait, event)

    def _interrupt(self) -> None:
        """Every listener loses its stream; what is on its way is lost too."""
        for stream in self._streams:
            while not stream.empty():
                stream.get_nowait()
            stream.put_nowait(None)
        self._streams = []


def _same_place(one: SandboxSpec, other: SandboxSpec) -> bool:
    return one.ipv4 is not None and (one.ipv4, one.network) == (other.ipv4, other.network)


def _name(spec: ContainerSpec) -> str:
    return spec.docker_name


__all__ = ["Latencies", "SimulatedContainer", "SimulatedEngine", "SimulatedImage", "Verb"]
