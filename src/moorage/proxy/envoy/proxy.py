"""Envoy as the data plane of the load balancers: the `Proxy` contract over one Envoy process and one ADS
server. Decides the order of changes (make before break) and which refusals reach whom; holds no knowledge of Envoy's
resources (translate) nor of the wire (xds).

    target group:   cluster → endpoints                         removal: cluster (endpoints go with it)
    load balancer:  routes, listener, edge listener, scopes     removal: scopes → listeners → routes
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Container, Iterable, Sequence
from pathlib import Path
from typing import Any

from moorage.domain.connection_record import ConnectionRecord
from moorage.domain.load_balancer import forwarded_to
from moorage.domain.request_record import RequestRecord
from moorage.proxy.driver import Authorizer, LoadBalancerConfig, ProxyRefused, ProxyUnavailable, TargetGroupConfig
from moorage.proxy.envoy import translate
from moorage.proxy.envoy.anomalies import passed_over
from moorage.proxy.envoy.authorization import Authorization
from moorage.proxy.envoy.connection_log import MARK, parse_connection
from moorage.proxy.envoy.connections import end_connections
from moorage.proxy.envoy.encode import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE, SECRET, encode
from moorage.proxy.envoy.ports import default_port_of, is_listening, loopback_families
from moorage.proxy.envoy.process import EnvoyProcess
from moorage.proxy.envoy.request_log import parse
from moorage.proxy.envoy.script import TargetTraits
from moorage.proxy.envoy.tail import Mark, Tail
from moorage.proxy.envoy.translate_target_group import assignment, cluster
from moorage.proxy.envoy.xds import AdsServer, Key, Refusal
from moorage.settings import Settings

log = logging.getLogger("moorage.proxy")

PATIENCE = 15.0
"""Seconds a change may take to be in use, an Envoy that is just starting included."""
BIND_ATTEMPTS = 3
BIND_PAUSE = 0.1
CANNOT_BIND = "cannot bind"
ADDRESS_ATTEMPTS = 20
STILL_THERE = "has duplicate address"
"""A load balancer got the address of one that was deleted a moment ago and is about to go."""
LOOK_AT_LOG = 60.0
READ_REQUESTS = 0.2
FIRST_RESTART = 0.02
LONGEST_RESTART = 10.0


class EnvoyProxy:
    """`port_of`: port of the API → port of this machine. `workers`: threads of Envoy. `binary`: another Envoy than the
    packaged one."""

    def __init__(
        self,
        settings: Settings,
        *,
        port_of: Callable[[int], int] = default_port_of,
        workers: int | None = None,
        binary: Path | None = None,
    ) -> None:
        self._port_of = port_of
        self._families = loopback_families()
        self.process = EnvoyProcess(
            settings.data_dir / "envoy", settings.installation, binary=binary, workers=workers, on_exit=self._exited
        )
        self._authorization = Authorization()
        self._ads = AdsServer(self.process.ads_socket, [self._authorization.handler()])
        self._load_balancers: dict[str, LoadBalancerConfig] = {}
        self._made: dict[str, translate.LoadBalancerResources] = {}
        self._traits: dict[str, TargetTraits] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._listening: set[str] = set()
        self._keeper: asyncio.Task[None] | None = None
        self._died = asyncio.Event()
        self._restarts = 0
        self._complete = True
        """False after a restart of the control plane, until every load balancer is known: the shared doors serve whoever
        they served, because one that is made of the first load balancer alone would shut the others out."""
        self._replaced = 0
        self._replacing = asyncio.Lock()
        self.on_requests: Callable[[Sequence[RequestRecord]], None] | None = None
        """Gets every request that was answered, in batches, when set before `start()`."""
        self.on_connections: Callable[[Sequence[ConnectionRecord]], None] | None = None
        """Gets the beginnings and ends of connections, in batches."""
        self.on_known: Callable[[Sequence[RequestRecord]], None] | None = None
        """Gets the requests that an earlier control plane got already."""
        self._mark_file = self.process.request_log.with_suffix(".read")
        self._tail = Tail(self.process.request_log, _mark_in(self._mark_file))
        self._reader: asyncio.Task[None] | None = None

    def authorize_with(self, authorizer: Authorizer | None) -> None:
        """Who says whether requests of rules that authenticate may pass. Until then, none may."""
        self._authorization.authorizer = authorizer

    async def start(self) -> None:
        """Starts or adopts Envoy. Returns before Envoy is ready; a `put` waits for it."""
        self.process.directory.mkdir(parents=True, exist_ok=True)
        self.process.sockets.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._start_process()
        self._complete = not self.process.adopted
        await self._ads.start()
        self._keeper = asyncio.create_task(self._keep(), name="envoy")
        if self.on_requests is not None:
            self._reader = asyncio.create_task(self._follow_requests(), name="envoy-requests")

    async def stop(self) -> None:
        """`moor down`: Envoy ends, nothing is left behind but its log."""
        await self._leave_keeper()
        await self.process.stop()
        await self._ads.close()

    async def close(self) -> None:
        """The control plane leaves; Envoy serves on."""
        await self._leave_keeper()
        self.process.leave()
        await self._ads.close()

    def status(self) -> dict[str, Any]:
        """For `moor status`. `ports`: port of the API → port of this machine, those in use."""
        running = self.process.running
        refusal = self._ads.last_refusal
        return {
            "pid": running.pid if running else None,
            "version": running.version if running else None,
            "connected": self._ads.connected,
            "adopted": self.process.adopted,
            "restarts": self._restarts,
            "replaced": self._replaced,
            "ports": {port: self._port_of(port) for port in sorted(self._ports_in_use())},
            "load_balancers": len(self._load_balancers),
            "target_groups": len(self._ads.names(CLUSTER)),
            "last_refusal": f"{refusal.key[1]}: {refusal.message}" if refusal else None,
            "log": str(self.process.log_file),
        }

    async def put_target_group(self, config: TargetGroupConfig) -> None:
        arn = config.target_group.arn
        async with self._lock(arn):
            self._ads.set((CLUSTER, arn), encode(CLUSTER, cluster(config)))
            members = assignment(config, self._port_of, str(self.functions_socket))
            self._ads.set((ENDPOINTS, arn), encode(ENDPOINTS, members))
            await self._settle([(CLUSTER, arn), (ENDPOINTS, arn)])
        await self._traits_of(config)

    async def remove_target_group(self, arn: str) -> None:
        async with self._lock(arn):
            self._ads.unset((CLUSTER, arn))
            self._ads.unset((ENDPOINTS, arn))
            self._traits.pop(arn, None)
            await self._settle([(CLUSTER, arn)])
        self._locks.pop(arn, None)

    async def cut(self, places: Sequence[tuple[str, int]]) -> int:
        running = self.process.running
        return 0 if running is None else await asyncio.to_thread(end_connections, running.pid, frozenset(places))

    async def put_load_balancer(self, config: LoadBalancerConfig) -> None:
        arn = config.load_balancer.arn
        async with self._lock(arn):
            self._load_balancers[arn] = config
            await self._apply(arn)

    async def remove_load_balancer(self, arn: str) -> None:
        async with self._lock(arn):
            self._load_balancers.pop(arn, None)
            before = self._made.get(arn)
            if before is not None:
                await self._withdraw(before.scopes, {**before.listeners, **before.inside}, before.routes)
                del self._made[arn]
                self._drop_secrets(before.secrets)
                await self._drop_unused_edges(before.ports)
        self._locks.pop(arn, None)

    async def retain(self, load_balancers: Sequence[str], target_groups: Sequence[str]) -> None:
        for arn in [arn for arn in self._load_balancers if arn not in set(load_balancers)]:
            await self.remove_load_balancer(arn)
        for arn in [arn for arn in self._ads.names(CLUSTER) if arn not in set(target_groups)]:
            await self.remove_target_group(arn)
        await self._complete_edges()
        for type_url in (SCOPE, LISTENER, CLUSTER):
            gone = set(self._ads.held(type_url)) - set(self._ads.names(type_url))
            self._ads.release(type_url)
            await self._settle((type_url, name) for name in gone)
        if self.process.outdated:
            log.info("Envoy or its bootstrap has changed: a new process takes over")
            await self.restart()

    async def restart(self) -> bool:
        """A new process takes the place of the running one and gets everything that is known. True: it took over the
        doors without closing one; requests under way are finished by the old process."""
        async with self._replacing:
            taken_over = await self.process.replace()
        running = self.process.running
        self._ads.least_epoch = (running.epoch or 0) if running is not None else 0
        if not taken_over:
            self._listening.clear()
        self._replaced += 1
        return taken_over

    async def _complete_edges(self) -> None:
        """Every load balancer is known: the shared doors may be what they make of them together."""
        if self._complete:
            return
        self._complete = True
        edges: translate.Resources = {}
        for port in sorted(self._ports_in_use()):
            edges |= self._edges(port)
        self._set_all(LISTENER, edges)
        refused = {refusal.key[1] for refusal in await self._listen(edges)}
        await self._until_listening({name: one for name, one in edges.items() if name not in refused})

    async def _apply(self, arn: str) -> None:
        """Takes the newest configuration of a load balancer into use, as far as this machine lets it."""
        config = self._load_balancers[arn]
        made = translate.load_balancer_resources(config, self._port_of, self._traits)
        before = self._made.get(arn)
        # both until all is done: what an attempt that fails leaves behind is found by the next one
        self._made[arn] = made if before is None else before.together(made)
        if before is not None:
            gone = before.scopes.keys() - made.scopes.keys()
            doors = (before.listeners.keys() - made.listeners.keys()) | (before.inside.keys() - made.inside.keys())
            await self._withdraw(gone, doors, ())
        edges: translate.Resources = {}
        for port in sorted(made.ports) if self._complete else ():
            edges |= self._edges(port)
        listeners = {**made.listeners, **edges}
        await self._withdraw((), self._stale_edges(made.ports, edges), ())
        self._set_all(SECRET, made.secrets)
        self._set_all(ROUTES, made.routes)
        self._set_all(LISTENER, listeners)
        refusals = await self._listen(listeners)
        refused = {refusal.key[1] for refusal in refusals}
        self._set_all(SCOPE, made.scopes)
        scopes, routes = self._asked_for(made, refused)
        refusals += await self._settle([(SCOPE, name) for name in scopes], refuse=False)
        refusals += await self._settle([(ROUTES, name) for name in routes], refuse=False)
        if any(chain for chain in made.edge_chains.values()) and not refused:
            refusals += await self._settle([(SECRET, name) for name in made.secrets], refuse=False)
        await self._until_listening({name: r for name, r in listeners.items() if name not in refused})
        await self._open_inside(made.inside)
        self._made[arn] = made
        if before is not None:
            for name in before.routes.keys() - made.routes.keys():
                self._ads.unset((ROUTES, name))
            self._drop_secrets(before.secrets.keys() - made.secrets.keys())
            await self._drop_unused_edges(before.ports)
        if config.load_balancer.type == "network":
            # its door on the shared address is a convenience: it answers on its own address
            refusals = [one for one in refusals if one.key[1] not in edges]
        if refusals:
            raise self._refused(refusals, listeners)

    async def _open_inside(self, listeners: translate.Resources) -> None:
        """The doors inside the VPC. One that cannot be opened takes nothing from those outside."""
        self._set_all(LISTENER, listeners)
        for refusal in await self._settle([(LISTENER, name) for name in listeners], refuse=False):
            log.warning("a load balancer is not reached inside its VPC: %s: %s", refusal.key[1], refusal.message)

    async def _listen(self, listeners: translate.Resources) -> list[Refusal]:
        """Envoy's threads close the door of a listener a moment after it was removed; until then it cannot be opened
        again."""
        keys = [(LISTENER, name) for name in listeners]
        for attempt in range(ADDRESS_ATTEMPTS):
            refusals = await self._settle(keys, refuse=False)
            passing = (STILL_THERE, CANNOT_BIND) if attempt < BIND_ATTEMPTS else (STILL_THERE,)
            if not any(words in refusal.message for refusal in refusals for words in passing):
                break
            await asyncio.sleep(BIND_PAUSE)
            self._set_all(LISTENER, {refusal.key[1]: listeners[refusal.key[1]] for refusal in refusals})
        return await self._settle(keys, refuse=False)

    def _asked_for(self, made: translate.LoadBalancerResources, refused: set[str]) -> tuple[list[str], list[str]]:
        """The scopes and routes that some listener uses (Envoy takes no others): those of an open shared door, and the
        routes of a door of their own."""
        open_ports = {
            p
            for p in made.ports
            if self._complete and any(translate.edge_name(p, f) not in refused for f in self._families)
        }
        scopes = [name for name, scope in made.scopes.items() if _port_of_scope(scope) in open_ports]
        at_edge = {made.scopes[name]["route_configuration_name"] for name in scopes}
        return scopes, [name for name in made.routes if name not in refused or name in at_edge]

    async def _withdraw(self, scopes: Iterable[str], listeners: Iterable[str], routes: Iterable[str]) -> None:
        for type_url, names in ((SCOPE, tuple(scopes)), (LISTENER, tuple(listeners)), (ROUTES, tuple(routes))):
            for name in names:
                self._ads.unset((type_url, name))
                self._listening.discard(name)
            if type_url != ROUTES:
                await self._settle([(type_url, name) for name in names])

    def _edges(self, port: int) -> translate.Resources:
        return translate.edge_resources(port, self._port_of, self._families, self._made.values())

    def _stale_edges(self, ports: Iterable[int], wanted: Container[str]) -> list[str]:
        """Doors of the shared address that are open on these ports and no longer wanted."""
        names = [name for port in ports for name in translate.edge_names(port)]
        return [name for name in names if name not in wanted and self._ads.desired((LISTENER, name)) is not None]

    def _drop_secrets(self, arns: Iterable[str]) -> None:
        """A certificate may serve several load balancers."""
        used = {arn for made in self._made.values() for arn in made.secrets}
        for arn in set(arns) - used:
            self._ads.unset((SECRET, arn))

    async def _drop_unused_edges(self, ports: Iterable[int]) -> None:
        in_use = self._ports_in_use()
        unused = set(ports) - in_use
        await self._withdraw((), self._stale_edges(unused, ()), ())
        for port in set(ports) & in_use:  # without the HTTPS of what went
            edges = self._edges(port)
            await self._withdraw((), self._stale_edges([port], edges), ())
            self._set_all(LISTENER, edges)
            await self._settle([(LISTENER, name) for name in edges], refuse=False)

    async def _traits_of(self, config: TargetGroupConfig) -> None:
        """Stickiness and protocol version are the target group's, and a property of the routes that lead to it."""
        arn, traits = config.target_group.arn, translate.traits_of(config.target_group, zonal=not config.cross_zone)
        if self._traits.get(arn) == traits:
            return
        if traits is None:
            del self._traits[arn]
        else:
            self._traits[arn] = traits
        for load_balancer, known in list(self._load_balancers.items()):
            if not _forwards_to(known, arn):
                continue
            async with self._lock(load_balancer):
                if load_balancer in self._load_balancers:
                    with contextlib.suppress(ProxyRefused):  # told to whoever put the load balancer
                        await self._apply(load_balancer)

    def _set_all(self, type_url: str, resources: translate.Resources) -> None:
        for name, resource in resources.items():
            self._ads.set((type_url, name), encode(type_url, resource))

    async def _settle(self, keys: Iterable[Key], *, refuse: bool = True) -> list[Refusal]:
        refusals = (await self._ads.settle(keys, PATIENCE)).refusals
        if refuse and refusals:
            raise self._refused(refusals, {})
        return list(refusals)

    async def _until_listening(self, listeners: translate.Resources) -> None:
        """Envoy acknowledges a listener a moment before its threads accept connections."""
        new = {name: r for name, r in listeners.items() if name not in self._listening and "filter_chains" in r}
        for name, resource in new.items():
            address = resource["address"]["socket_address"]
            await _accepts(address["address"], address["port_value"])
            self._listening.add(name)

    def _refused(self, refusals: Sequence[Refusal], listeners: translate.Resources) -> ProxyRefused:
        whats, nexts = [], []
        for refusal in refusals:
            resource = listeners.get(refusal.key[1])
            if resource is None or CANNOT_BIND not in refusal.message:
                whats.append(f"Envoy refused {refusal.key[1]}: {refusal.message}")
                nexts.append("This is a bug of Moorage: please report it with the log of Envoy")
                continue
            address = resource["address"]["socket_address"]
            port = address["port_value"]
            reason = refusal.message.rpartition(": ")[2] or refusal.message
            whats.append(f"Port {port} of this machine cannot be used on {address['address']}: {reason}")
            nexts.append(f"`ss -ltnp 'sport = :{port}'` shows who holds it; end that program or choose another port")
        return ProxyRefused("; ".join(dict.fromkeys(whats)), next="; ".join(dict.fromkeys(nexts)))

    def _ports_in_use(self) -> set[int]:
        return {port for made in self._made.values() for port in made.ports}

    def _lock(self, arn: str) -> asyncio.Lock:
        return self._locks.setdefault(arn, asyncio.Lock())

    def _exited(self) -> None:
        self._listening.clear()
        self._died.set()

    async def _start_process(self) -> None:
        self._ads.least_epoch = (await self.process.start()).epoch or 0

    async def _keep(self) -> None:
        """Starts Envoy again when it ends, sooner or later, and keeps its log small."""
        delay = FIRST_RESTART
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            # not `wait_for`: before Python 3.12 it may lose the cancellation that ends us
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AT_LOG):
                    await self._died.wait()
            if not self._died.is_set():
                delay = FIRST_RESTART
                await self.process.rotate_log()
                continue
            self._died.clear()
            delay = FIRST_RESTART if loop.time() - began > LONGEST_RESTART else min(delay * 2, LONGEST_RESTART)
            log.warning("Envoy ended; starting it again in %.1f s", delay)
            await asyncio.sleep(delay)
            self._restarts += 1
            try:
                await self._start_process()
            except ProxyUnavailable as error:
                log.warning("%s", error)
                self._died.set()

    async def passed_over(self, target_group_arn: str) -> frozenset[tuple[str, int]]:
        """The (address, port) of endpoints that anomaly mitigation passes over now. Nothing when Envoy does not say."""
        try:
            return passed_over(await self.process.admin("GET", "/clusters?format=json"), target_group_arn)
        except (OSError, TimeoutError):
            return frozenset()

    @property
    def functions_socket(self) -> Path:
        """Where requests to functions are brought; whoever invokes them listens there."""
        return self.process.sockets / "functions.sock"

    def machine_port(self, port: int) -> int:
        """Port of the API → port of this machine."""
        return self._port_of(port)

    def api_port(self, port: int) -> int:
        """Port of this machine → port of the API."""
        return next((api for api in self._ports_in_use() if self._port_of(api) == port), port)

    async def read_requests(self) -> None:
        """Hands over what Envoy has written until now (it writes a tenth of a second late)."""
        if self.on_requests is None:
            return
        lines = self._tail.read()
        if lines:
            if self._tail.known and self.on_known is not None:
                self.on_known(_requests(lines[: self._tail.known]))
            lines = lines[self._tail.known :]
            self._take_connections([line for line in lines if line.startswith(MARK)])
            self.on_requests(_requests(lines))
            with contextlib.suppress(OSError):
                self._mark_file.write_text("{} {}".format(*self._tail.mark()))
            await self.process.rotate_request_log()

    def _take_connections(self, lines: Sequence[bytes]) -> None:
        if lines and self.on_connections is not None:
            records = [record for line in lines if (record := parse_connection(line)) is not None]
            if records:
                self.on_connections(records)

    async def _follow_requests(self) -> None:
        while True:
            try:
                await self.read_requests()
            except Exception:
                log.exception("the request log cannot be read")
            await asyncio.sleep(READ_REQUESTS)

    async def _leave_keeper(self) -> None:
        for task in (self._keeper, self._reader):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
        self._keeper = self._reader = None
        self._tail.close()


def _requests(lines: Iterable[bytes]) -> list[RequestRecord]:
    return [record for line in lines if not line.startswith(MARK) and (record := parse(line)) is not None]


def _mark_in(file: Path) -> Mark | None:
    with contextlib.suppress(OSError, ValueError):
        inode, position = map(int, file.read_text().split())
        return inode, position
    return None


def _forwards_to(config: LoadBalancerConfig, target_group_arn: str) -> bool:
    actions = [listener.default_actions for listener in config.listeners]
    actions += [rule.actions for rules in config.rules.values() for rule in rules]
    return any(target_group_arn in forwarded_to(one) for one in actions)


def _port_of_scope(scope: dict[str, Any]) -> int:
    """Of the API."""
    return int(scope["route_configuration_name"].rpartition(":")[2])


async def _accepts(address: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + 5.0
    while not is_listening(address, port):
        if loop.time() > deadline:
            raise ProxyUnavailable("Envoy does not listen yet", f"on {address}:{port}", "Look at envoy.log", delay=1.0)
        await asyncio.sleep(0.005)
