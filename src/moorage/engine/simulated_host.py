"""The host that a simulated engine stands for: what is on it, what happens to it, and what one may ask about it.

It knows nothing of calls; `simulated.py` makes an `Engine` of it. It lives on when the control plane crashes.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Literal, NamedTuple

from msgspec.structs import replace

from moorage.domain.clock import Clock
from moorage.engine.driver import (
    EVERYWHERE,
    LABEL_INSTALLATION,
    LABEL_SANDBOX,
    CannotStartContainerError,
    ContainerSpec,
    EngineEvent,
    EngineUnavailable,
    NetworkError,
    PortBinding,
    Sandbox,
    SandboxSpec,
    SubnetNetwork,
)
from moorage.engine.simulated_container import SIGKILLED, SimulatedContainer, SimulatedImage

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


class SimulatedSandbox:
    def __init__(self, id: str, spec: SandboxSpec, sandbox: Sandbox, labels: Mapping[str, str]) -> None:
        self.id = id
        self.spec = spec
        self.sandbox = sandbox
        self.labels = labels
        self.running = True
        self.exit_code: int | None = None
        self.containers: list[SimulatedContainer] = []
        """All that were ever made in it."""


class SimulatedHost:
    """`images` by the name that task definitions use; a name that is not there cannot be pulled. Giving a name another
    image moves a tag: what was pulled before stays there under its digest."""

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
        self.on_start: list[Callable[[SimulatedContainer], None]] = []
        """Called before a container is started, be it again."""
        self._clock = clock
        self._random = random.Random(seed)
        self._containers: dict[str, SimulatedContainer] = {}
        self._publishing: dict[str, SimulatedContainer] = {}
        """Those with ports of the host; the others need not be looked through."""
        self._sandboxes: dict[str, SimulatedSandbox] = {}
        self._at: dict[str, str] = {}
        """The newest sandbox of an address."""
        self._places: dict[tuple[str | None, SubnetNetwork | None], list[str]] = {}
        """All sandboxes of an address in a network; some may be gone."""
        self._by_name: dict[str, str] = {}
        """Containers by their names; some may be gone."""
        self._volumes: dict[str, str | None] = {}
        """Named volumes, each with the task that it ends with."""
        self._by_digest: dict[str, SimulatedImage] = {}
        self._standing: set[str] = set()
        self.networks: set[str] = set()
        """The names of the subnets that have one."""
        self._streams: list[asyncio.Queue[EngineEvent | None]] = []
        self._reachable: asyncio.Event = asyncio.Event()
        self._reachable.set()
        self._lost_answers: set[str] = set()
        self._deaf_until = 0.0
        self._frozen_until = 0.0
        self._last_event_at = 0.0
        self._next_port = FIRST_FREE_PORT
        self._calls: set[asyncio.Task[object]] = set()

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

    def freeze(self, seconds: float) -> None:
        """The engine takes calls and does nothing about them for a while; then it does all of them."""
        self.note("fault: engine frozen", f"{seconds:g} s")
        self._frozen_until = max(self._frozen_until, self._clock.now() + seconds)

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
        self.note("fault: kill", name_of(container.spec))
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
        self._publishing.pop(container_id, None)
        self.note("fault: rm -f", name_of(container.spec))
        container.kill()
        self._tell(EngineEvent("gone", container.id, container.labels, self._clock.now()))

    def lose_host(self) -> None:
        """Everything that ran is gone without a word; the host comes back empty."""
        self.note("fault: host lost", "")
        for container in self._containers.values():
            container.vanish()
        self._containers.clear()
        self._publishing.clear()
        self._sandboxes.clear()
        self._volumes.clear()
        self._interrupt()

    # === questions of tests and of the simulated network =============================================================
    def containers(self, *, running: bool = False) -> Sequence[SimulatedContainer]:
        """In order of their creation."""
        return [c for c in self._containers.values() if not running or c.state == "running"]

    def of_task(self, task_arn: str) -> Sequence[SimulatedContainer]:
        return [c for c in self._containers.values() if c.spec.task_arn == task_arn]

    def has_network(self, task_arn: str) -> bool:
        """Its sandbox runs."""
        return any(one.running and one.spec.task_arn == task_arn for one in self._sandboxes.values())

    def sandbox_count(self) -> int:
        return len(self._sandboxes)

    def pool(self) -> Sequence[str]:
        """Addresses of the warm sandboxes that no task has taken."""
        return [one.spec.ipv4 for one in self._sandboxes.values() if not one.spec.task_arn and one.spec.ipv4]

    def leaks(self, living: Collection[str]) -> Sequence[str]:
        """What is on the host for tasks that are not among `living` (task ARNs)."""
        pauses = [s.spec.task_arn for s in self._sandboxes.values() if s.spec.task_arn]
        found = [f"sandbox of {task_arn}" for task_arn in pauses if task_arn not in living]
        found += [f"volume {name}" for name, arn in self._volumes.items() if arn is not None and arn not in living]
        return found + [name_of(c.spec) for c in self._containers.values() if c.spec.task_arn not in living]

    def listener(self, address: str, port: int) -> SimulatedContainer | None:
        """The container that accepts connections there."""
        sandbox = self._sandboxes.get(self._at.get(address, ""))
        if sandbox is not None:
            return next((c for c in sandbox.containers if c.listens(port)), None) if sandbox.running else None
        for container in self._publishing.values():
            for bound in container.ports if container.state == "running" else ():
                inside = port - bound.host_port
                if 0 <= inside < bound.size and bound.host_ip in (address, EVERYWHERE):
                    return container if container.listens(bound.container_port + inside) else None
        return None

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

    def stand(self, sandbox_id: str, sandbox: SandboxSpec, containers: Mapping[str, ContainerSpec]) -> None:
        """A task that has been running here for long, its containers by id: for fleets that nobody has time to start."""
        labels = {LABEL_INSTALLATION: "simulated", **sandbox.labels, LABEL_SANDBOX: "true"}
        standing = self._sandboxes[sandbox_id] = SimulatedSandbox(sandbox_id, sandbox, Sandbox(sandbox_id), labels)
        if sandbox.ipv4 is not None:
            self._at[sandbox.ipv4] = sandbox_id
        self._note_place(sandbox_id, sandbox)
        for name in {spec.image for spec in containers.values()} - self._standing:
            self.digest(name, self.images[name])
            self._standing.add(name)
        for id, spec in containers.items():
            container = SimulatedContainer(
                id,
                spec,
                {LABEL_INSTALLATION: "simulated", **spec.labels},
                sandbox_id,
                self.image_of(spec),
                self._clock.now,
                self._report,
            )
            container.state, container.started_at = "running", self._clock.now()
            self._containers[id] = container
            self._by_name[spec.docker_name] = id
            standing.containers.append(container)

    def script(self, reference: str) -> SimulatedImage | None:
        """The image of this name, or name and digest."""
        return self._by_digest.get(reference) if "@" in reference else self.images.get(reference)

    def digest(self, name: str, script: SimulatedImage) -> str:
        """What the image may be called by from now on, whatever becomes of its name."""
        digest = f"sha256:{hashlib.sha256(f'{name} {script}'.encode()).hexdigest()}"
        self._by_digest[f"{name}@{digest}"] = script
        return digest

    def image_of(self, spec: ContainerSpec) -> SimulatedImage:
        script = self.script(spec.image)
        assert script is not None, "only what was pulled is run"
        return script

    # === inside ======================================================================================================
    def _check_reachable(self) -> None:
        if not self._reachable.is_set():
            raise EngineUnavailable(
                "The container engine does not answer", "It is stopped", "Start it with `systemctl start docker`"
            )

    def _make_sandbox(self, spec: SandboxSpec) -> Sandbox:
        self._check_address(spec)
        id = f"{self._random.getrandbits(256):064x}"
        labels = {LABEL_INSTALLATION: "simulated", **spec.labels, LABEL_SANDBOX: "true"}
        self._sandboxes[id] = SimulatedSandbox(id, spec, Sandbox(id), labels)
        if spec.ipv4 is not None:
            self._at[spec.ipv4] = id
        self._note_place(id, spec)
        if spec.network is not None:
            self.networks.add(spec.network.name)
        self._tell(EngineEvent("started", id, labels, self._clock.now()))
        return self._sandboxes[id].sandbox

    def _note_place(self, id: str, spec: SandboxSpec) -> None:
        if spec.ipv4 is not None:
            there = self._places.setdefault((spec.ipv4, spec.network), [])
            there[:] = [one for one in there if one in self._sandboxes]
            there.append(id)

    def _beside(self, spec: SandboxSpec) -> list[SimulatedSandbox]:
        """The sandboxes that have its address, oldest first."""
        ids = self._places.get((spec.ipv4, spec.network), []) if spec.ipv4 is not None else []
        return [self._sandboxes[id] for id in ids if id in self._sandboxes]

    def _pooled(self, spec: SandboxSpec) -> SimulatedSandbox | None:
        """The warm sandbox that is there for this address."""
        for one in self._beside(spec):
            if one.running and not one.spec.task_arn:
                return one
        return None

    def _check_address(self, spec: SandboxSpec) -> None:
        for other in self._beside(spec):
            if other.running:
                # A warming that was ordered before a crash may come late: nobody waits for it, and it is refused.
                if spec.task_arn:
                    self.violations.append(f"{spec.task_arn} and {other.spec.task_arn} both have {spec.ipv4}")
                raise NetworkError(f"Address already in use: {spec.ipv4}")

    def _bind(self, port: PortBinding) -> PortBinding:
        """A fixed host port must be free; 0 asks for free ones."""
        taken = {
            number
            for container in self._publishing.values()
            for bound in (container.ports if container.state == "running" else ())
            if _overlap(bound, port)
            for number in range(bound.host_port, bound.host_port + bound.size)
        }
        if port.host_port in taken:
            raise CannotStartContainerError(
                "driver failed programming external connectivity: "
                f"Bind for {port.host_ip}:{port.host_port} failed: port is already allocated"
            )
        if port.host_port:
            return port
        while taken & set(range(self._next_port, self._next_port + port.size)):
            self._next_port += 1
        self._next_port += port.size
        return replace(port, host_port=self._next_port - port.size)

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


def _overlap(one: PortBinding, other: PortBinding) -> bool:
    return one.protocol == other.protocol and (
        one.host_ip == other.host_ip or EVERYWHERE in (one.host_ip, other.host_ip)
    )


def name_of(spec: ContainerSpec) -> str:
    return spec.docker_name
