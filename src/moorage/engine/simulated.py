"""An `Engine` without containers: scripted images, virtual time, seeded latencies, faults on request.

It is the world, not the control plane: it lives on when the control plane crashes, and a call that was under way then may
or may not take effect, as with a real engine. It keeps a history of every verb and notes what a real host would punish
(`violations`): two sandboxes with one address, a sandbox removed under its running containers.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar

from moorage.engine.driver import (
    LABEL_INSTALLATION,
    LABEL_POOL,
    LABEL_SANDBOX,
    LABEL_TASK,
    CannotCreateContainerError,
    CannotCreateVolumeError,
    CannotPullContainerError,
    CannotStartContainerError,
    ContainerSpec,
    ContainerStats,
    Created,
    EngineEvent,
    EngineUnavailable,
    LogLine,
    ObservedContainer,
    PulledImage,
    RegistryAuth,
    Sandbox,
    SandboxSpec,
    SubnetNetwork,
    VolumeSpec,
)
from moorage.engine.simulated_container import SimulatedContainer
from moorage.engine.simulated_host import SimulatedHost, name_of

T = TypeVar("T")

RECONNECT = 0.2
NOTICES_OUTAGE = 0.5


class SimulatedEngine(SimulatedHost):
    """The verbs of the Protocol over a `SimulatedHost`: they take their time, may be interrupted, and are written down."""

    # === the Engine Protocol =========================================================================================
    async def prepare_network(self, network: SubnetNetwork) -> str:
        self.networks.add(network.name)
        return network.cidr

    enters_networks = True
    cpu_used = 0.01
    """vCPU that every container has used since it started, for `stats`."""

    async def namespace_of(self, sandbox_id: str) -> str | None:
        known = self._sandboxes.get(sandbox_id)
        return f"/netns/{sandbox_id}" if known is not None and known.running else None

    def bridge_of(self, network: SubnetNetwork) -> str | None:
        return f"bridge-of-{network.subnet_id}"

    async def start_sandbox(self, spec: SandboxSpec) -> Sandbox:
        def effect() -> Sandbox:
            for known in self._beside(spec) if spec.ipv4 is not None else self._sandboxes.values():
                if known.spec.task_arn == spec.task_arn and known.running:
                    return known.sandbox
            pooled = self._pooled(spec)
            if pooled is not None:
                pooled.spec = spec
                pooled.labels = {LABEL_INSTALLATION: "simulated", LABEL_TASK: spec.task_arn, LABEL_SANDBOX: "true"}
                return pooled.sandbox
            # What died in the place of this one is replaced.
            for dead in [one for one in self._beside(spec) if not one.running]:
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

    async def pull(
        self, image: str, auth: RegistryAuth | None = None, *, always: bool = True, architecture: str | None = None
    ) -> PulledImage:
        def effect() -> PulledImage:
            script = self.script(image)
            if script is None:
                raise CannotPullContainerError(
                    "pull image manifest has been retried 1 time(s): "
                    f"failed to resolve ref docker.io/library/{image}: docker.io/library/{image}: not found"
                )
            if script.pull_failure is not None:
                raise CannotPullContainerError(script.pull_failure)
            if architecture not in (None, script.architecture):
                raise CannotPullContainerError(
                    f"image Manifest does not contain descriptor matching platform 'linux/{architecture}'"
                )
            name = image.partition("@")[0]
            digest = self.digest(name, script)
            return PulledImage(f"{name}@{digest}", digest)

        script = self.script(image)
        return await self._call("pull", image, script.pull if script is not None else 0.2, effect)

    async def ensure_volume(self, spec: VolumeSpec) -> str:
        def effect() -> str:
            if not spec.create and spec.name not in self._volumes:
                raise CannotCreateVolumeError(f"volume '{spec.name}' does not exist and autoprovision is set to false")
            self._volumes.setdefault(spec.name, spec.task_arn)
            return f"/volumes/{spec.name}"

        return await self._call("ensure_volume", spec.name, self.latencies.create, effect)

    async def create(self, spec: ContainerSpec, sandbox: Sandbox) -> Created:
        def effect() -> Created:
            known = self._containers.get(self._by_name.get(spec.docker_name, ""))
            if known is not None:
                return Created(known.id, new=False)
            if sandbox.id not in self._sandboxes:
                raise CannotCreateContainerError(f"No such container: {sandbox.id[:12]}")
            id = f"{self._random.getrandbits(256):064x}"
            labels = {LABEL_INSTALLATION: "simulated", **spec.labels}
            for mount in spec.mounts:
                if mount.source is not None and not mount.source.startswith("/"):
                    self._volumes.setdefault(mount.source, spec.task_arn)
            self._containers[id] = SimulatedContainer(
                id, spec, labels, sandbox.id, self.image_of(spec), self._clock.now, self._report
            )
            self._by_name[spec.docker_name] = id
            self._sandboxes[sandbox.id].containers.append(self._containers[id])
            if spec.ports:
                self._publishing[id] = self._containers[id]
            return Created(id)

        return await self._call("create", name_of(spec), self.latencies.create, effect)

    async def inspect(self, container_id: str) -> ObservedContainer | None:
        def effect() -> ObservedContainer | None:
            found = self._containers.get(container_id)
            return found.observed() if found is not None else None

        return await self._call("inspect", container_id, self.latencies.create, effect)

    async def start(self, container_id: str) -> None:
        container = self._containers.get(container_id)

        def effect() -> None:
            found = self._containers.get(container_id)
            if found is None:
                raise CannotStartContainerError(f"No such container: {container_id[:12]}")
            if found.state == "running":
                return
            sandbox = self._sandboxes.get(found.sandbox_id)
            if sandbox is None or not sandbox.running:
                raise CannotStartContainerError("cannot join network of a non running container")
            if found.image.start_failure is not None:
                raise CannotStartContainerError(found.image.start_failure)
            for told in self.on_start:
                told(found)
            found.ports = tuple(self._bind(port) for port in found.spec.ports)
            found.start()

        seconds = container.image.start if container is not None else 0.01
        await self._call("start", name_of(container.spec) if container else container_id, seconds, effect)

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

        await self._call("stop", name_of(container.spec), self.latencies.create, effect)
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
                self._publishing.pop(container_id, None)

        name = name_of(container.spec) if container is not None else container_id
        await self._call("remove", name, self.latencies.remove, effect)

    async def remove_volumes(self, names: Sequence[str]) -> None:
        def effect() -> None:
            for name in names:
                users = [c for c in self._containers.values() if any(m.source == name for m in c.spec.mounts)]
                if users:
                    self.violations.append(f"volume {name} was removed under {name_of(users[0].spec)}")
                self._volumes.pop(name, None)

        await self._call("remove_volumes", " ".join(names), self.latencies.remove, effect)

    async def remove_sandbox(self, sandbox_id: str) -> None:
        def effect() -> None:
            sandbox = self._sandboxes.pop(sandbox_id, None)
            made = sandbox.containers if sandbox is not None else ()
            inside = [c for c in made if c.state == "running" and c.id in self._containers]
            if sandbox is not None and sandbox.running and inside:
                names = ", ".join(name_of(c.spec) for c in inside)
                self.violations.append(f"the sandbox of {sandbox.spec.task_arn} was removed under running {names}")

        known = self._sandboxes.get(sandbox_id)
        subject = known.spec.task_arn if known is not None else sandbox_id
        await self._call("remove_sandbox", subject, self.latencies.remove, effect)

    async def remove_networks(self, keep: Sequence[str] = (), *, only: Sequence[str] | None = None) -> list[str]:
        def effect() -> list[str]:
            used = {one.spec.network.name for one in self._sandboxes.values() if one.spec.network is not None}
            asked = {name for name in self.networks if name not in keep and name in (only or (name,))}
            self.networks -= asked - used
            return sorted(asked & used)

        return await self._call("remove_networks", " ".join(only or ()), self.latencies.remove, effect)

    async def stats(self, container_ids: Sequence[str]) -> list[ContainerStats]:
        self._check_reachable()
        now = self._clock.now()
        running = [self._containers[id] for id in container_ids if id in self._containers]
        return [ContainerStats(c.id, self.cpu_used * (now - (c.started_at or now)), 32 << 20) for c in running]

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
            yield LogLine(container.started_at, f"{name_of(container.spec)} started")
        await container.exited.wait()
        if container.finished_at is not None:
            yield LogLine(container.finished_at, f"exited with {container.exit_code}")

    async def close(self) -> None:
        """The control plane goes; the engine stays."""

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
        while (frozen := self._frozen_until - self._clock.now()) > 0:  # noqa: ASYNC110 what is waited for is time
            await asyncio.sleep(frozen)
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
