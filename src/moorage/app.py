"""Puts it all together: the only module that knows every part.

`serve(settings)` runs until it is told to stop. `python -m moorage.app --cleanup` removes what an installation left on
this machine when its server was killed (`moor down` calls it).
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import logging
import signal
import sys
from collections.abc import Callable, Mapping, Sequence

import uvloop
from aiohttp import web

from moorage.authentication import Authentication
from moorage.control.elbv2_metrics import LoadBalancerMetrics
from moorage.control.load_balancer_logs import DeliveredLogs, LoadBalancerLogs
from moorage.control.log_retention import LogRetention
from moorage.control.log_router import LogRouter
from moorage.control.names import NamesKept
from moorage.control.plane import ControlPlane
from moorage.control.ports import ImageReference, TaskSources
from moorage.control.prober import HttpProber
from moorage.control.requests import RequestLog
from moorage.dns.process import NamesProcess
from moorage.dns.process import end as end_names
from moorage.dns.resolvers import host_resolvers
from moorage.domain.clock import Clock, Ids, SystemClock
from moorage.domain.connection_record import ConnectionRecord
from moorage.domain.errors import MoorageError, Permanent
from moorage.domain.load_balancer import LoadBalancer
from moorage.domain.request_record import RequestRecord
from moorage.domain.scope import Scope
from moorage.downloads_door import DownloadsDoor
from moorage.engine.docker.engine import DockerEngine, HostFacts
from moorage.engine.docker.names import bridge_prefix
from moorage.engine.driver import RegistryAuth
from moorage.functions_door import FunctionsDoor
from moorage.gateway.inside import InsideCalls
from moorage.gateway.server import Gateway
from moorage.interrupt_door import InterruptDoor
from moorage.network.linux_return_paths import LinuxReturnPaths
from moorage.network.nftables import NfTables
from moorage.people import People
from moorage.proxy.envoy.ports import default_port_of
from moorage.proxy.envoy.proxy import EnvoyProxy
from moorage.proxy_door import ProxyDoor
from moorage.registry.registry import Registry
from moorage.registry.resolver import ImageResolver
from moorage.requests_door import AnswersExplained, RequestsDoor
from moorage.services.aws_backed.acm import AcmProvider, Certificates
from moorage.services.aws_backed.alarms import MotoAlarms
from moorage.services.aws_backed.codedeploy import CodeDeployProvider
from moorage.services.aws_backed.ec2 import Ec2Provider
from moorage.services.aws_backed.forward import AwsBacked, Reply
from moorage.services.aws_backed.host_groups import MotoHostGroups
from moorage.services.aws_backed.lookups import MotoNamespaces, MotoNetworks
from moorage.services.aws_backed.metrics import MotoMetrics
from moorage.services.aws_backed.objects import MotoObjects
from moorage.services.aws_backed.task_sources import MotoFileSystems, MotoSecrets
from moorage.services.base import RequestContext
from moorage.services.ecr.provider import EcrProvider
from moorage.services.ecs import EcsProvider
from moorage.services.ecs.container_instances import ContainerInstanceAddresses
from moorage.services.elbv2.provider import ElbV2Provider
from moorage.services.logs.provider import LogsProvider
from moorage.settings import Settings
from moorage.store.log_events import SqliteLogEvents
from moorage.store.log_sqlite import SqliteLog
from moorage.store.memory import Store
from moorage.store.tables import codedeploy, ecr, ecs, elbv2, logs, network
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCERS

log = logging.getLogger("moorage.app")

NAMES = "names"
"""The directory of the process that answers names."""

TABLES = (*ecs.TABLES, *codedeploy.TABLES, *elbv2.TABLES, *ecr.TABLES, *logs.TABLES, *network.TABLES)


class App:
    """Everything that one installation runs, in the order in which it starts."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock: Clock = SystemClock()
        self.ids = Ids()
        self.stopping = asyncio.Event()
        self.return_paths = LinuxReturnPaths(bridge_prefix(settings.installation))
        self.purge = False
        self.host: HostFacts | None = None
        self._then = contextlib.AsyncExitStack()
        # an Envoy that outlived the last server tells of requests before there is a control plane
        self._count_request: Callable[[str], None] = lambda target_group_arn: None

    async def start(self) -> None:
        """Raises MoorageError with what is missing; nothing is left running then."""
        try:
            await self._start()
        except BaseException:
            await self.close()
            raise

    async def _start(self) -> None:
        settings, clock, ids, then = self.settings, self.clock, self.ids, self._then.push_async_callback
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        resolvers = host_resolvers()
        self.engine = DockerEngine(settings, clock=clock, resolvers=resolvers)
        then(self._leave_engine)
        self.host = await self.engine.check()
        probing = asyncio.create_task(self._probe())
        self.store = await Store.open(SqliteLog(settings.data_dir / "state.sqlite"), TABLES)
        then(self.store.close)
        self.log_events = await SqliteLogEvents.open(settings.data_dir / "logs.sqlite")
        then(self.log_events.close)
        self.log_router = LogRouter(self.store, clock, ids, self.log_events, self.engine)
        then(self.log_router.close)
        retention = LogRetention(self.store, clock, self.log_events)
        then(retention.close)
        await retention.start()
        self.proxy = EnvoyProxy(settings)
        self.requests = RequestLog(self.store, clock)
        self.requests.start()
        self.proxy.on_requests = self.requests.take
        self.proxy.on_known = functools.partial(self.requests.take, again=True)
        then(self._leave_proxy)
        await self.proxy.start()
        self.backed = AwsBacked(settings, clock, ids)
        then(self.backed.close)
        self.host_groups = MotoHostGroups(self.backed)
        self.requests_door = RequestsDoor(self.requests, self.proxy)
        delivered = DeliveredLogs(clock, ids, self._put_object)
        self.load_balancer_logs = LoadBalancerLogs(
            self.store, delivered, access_line=self.requests_door.line, api_port=self.proxy.api_port
        )
        self.metrics = LoadBalancerMetrics(self.store, clock, MotoMetrics(self.backed))
        self.metrics.anomalies = self.proxy.passed_over
        self.metrics.start()
        then(self.metrics.close)

        def requested(balancer: LoadBalancer, record: RequestRecord) -> None:
            self.metrics.take(balancer, record)
            self._count_request(record.target_group_arn)
            self.load_balancer_logs.request(balancer, record)

        self.requests.on_request = requested
        self.proxy.on_connections = self._connected
        delivered.watch(self.store)
        delivered.start()
        then(delivered.close)
        then(self.proxy.read_requests)  # before that: what was answered last is delivered too
        self.certificates = Certificates(self.backed, settings.data_dir, clock, in_use=self._serving)
        self.authentication = Authentication(
            self.store, clock, ids, settings.data_dir / "authentication", settings.data_dir / "authority" / "root.pem"
        )
        then(self.authentication.close)
        self.authentication.on_refused = self.requests.note
        self.proxy.authorize_with(self.authentication.check)
        self.registry = Registry(settings.data_dir, self.store, clock, ids, port=settings.port)
        then(self.registry.close)
        await self.registry.start()
        self.calls = InsideCalls(ids, self.backed)
        await probing
        self.plane = ControlPlane(
            self.store,
            clock,
            ids,
            engine=self.engine,
            proxy=self.proxy,
            prober=HttpProber(),
            images=_Images(ImageResolver(self.registry, self.store)),
            logs=self.log_router,
            sources=TaskSources(MotoSecrets(self.backed), MotoObjects(self.backed), MotoFileSystems(self.backed)),
            alarms=MotoAlarms(self.backed),
            calls=self.calls,
            groups=self.host_groups,
            security_groups=MotoNetworks(self.backed, self.store),
            firewall=NfTables(),
            return_paths=self.return_paths,
        )
        self._count_request = self.plane.express_scaling.count_request
        self.people = People(settings, self.store, clock, self.plane, proxy=self.proxy.status, host=self.host)
        self.people.answers = AnswersExplained(self.requests, self.proxy, self.store, clock)
        self.plane.targets.listens_at(self.proxy.machine_port)
        self.plane.targets.health.told = self.load_balancer_logs.check
        self.functions = FunctionsDoor(self.store)
        then(self.functions.close)
        await self.functions.start(self.proxy.functions_socket)
        self.plane.targets.health.function = self.functions.check
        self.plane.load_balancers.certificates = self.certificates
        self.certificates.on_change = self.plane.load_balancers.certificate_changed
        self.gateway = self._front_door()
        then(self.gateway.close)
        then(self.people.close)
        try:
            await self.gateway.start()
        except OSError as error:
            raise Permanent(
                f"Port {settings.port} of {settings.host} cannot be used",
                str(error.strerror or error),
                "Choose another one: moor up --port 4567",
            ) from error
        then(self.plane.close)
        await self.plane.start()
        if self.engine.enters_networks:
            self._answer_names(resolvers)

    async def _probe(self) -> None:
        if self.engine.enters_networks:
            await self.return_paths.probe()

    def _answer_names(self, resolvers: Sequence[str]) -> None:
        process = NamesProcess(self.settings.data_dir / NAMES, resolvers)
        self._then.push_async_callback(lambda: process.leave(purge=self.purge))
        process.start()
        kept = NamesKept(self.store, process)
        self._then.callback(kept.close)
        kept.start()

    def _front_door(self) -> Gateway:
        store, clock, ids = self.store, self.clock, self.ids
        networks = MotoNetworks(self.backed, store)
        downloads = DownloadsDoor(clock, ids, port=self.settings.port)
        gateway = Gateway(self.settings, clock, ids)
        gateway.add_provider(
            EcsProvider(
                store,
                clock,
                ids,
                networks,
                namespaces=MotoNamespaces(self.backed),
                alarms=MotoAlarms(self.backed),
                groups=self.host_groups,
                endpoint=self.settings.endpoint,
                default_network=networks,
                express=self.plane.express,
                port_of=default_port_of,
            )
        )
        gateway.add_provider(
            ElbV2Provider(
                store,
                clock,
                ids,
                networks,
                ContainerInstanceAddresses(store),
                certificates=self.certificates,
                objects=MotoObjects(self.backed),
                downloads=downloads,
                anomalies=self.proxy,
                vpcs=networks,
                buckets=MotoObjects(self.backed),
            )
        )
        gateway.add_provider(AcmProvider(self.certificates))
        gateway.add_provider(EcrProvider(store, clock, ids, self.registry))
        gateway.add_provider(LogsProvider(store, clock, ids, self.log_events))
        ec2 = Ec2Provider(self.backed, store, networks)
        ec2.on_groups = self.plane.security.rules_changed
        gateway.add_provider(ec2)
        gateway.add_provider(CodeDeployProvider(self.backed, store, clock, ids))
        mixed = frozenset({"acm", "codedeploy", "ec2"})
        gateway.add_fallback(self._forward, services=self.backed.services, mixed=mixed)
        self.calls.handlers = gateway.handlers
        gateway.set_session_lookup(self.backed.sessions)
        gateway.add_route("/v2/", self.registry.handle)
        gateway.add_route("/_moorage/shutdown", self._shutdown)
        for path, door in self.people.doors():
            gateway.add_route(path, door)
        gateway.add_route(DownloadsDoor.path, downloads.handle)
        gateway.add_route(Authentication.path, self.authentication.handle)
        gateway.add_route(RequestsDoor.path, self.requests_door.handle)
        gateway.add_route(ProxyDoor.path, ProxyDoor(self.proxy).handle)
        home = Scope(self.settings.account, self.settings.region)
        gateway.add_route(InterruptDoor.path, InterruptDoor(store, clock, home).handle)
        gateway.set_hooks(
            reset=self._reset,
            status=self.people.status,
            health=lambda: dict.fromkeys(self.backed.services, "running" if self.backed.loaded else "available"),
        )
        return gateway

    async def close(self) -> None:
        """The control plane leaves; with `purge`, everything that it made on this machine goes too."""
        await self._then.aclose()

    async def _leave_proxy(self) -> None:
        await (self.proxy.stop() if self.purge else self.proxy.close())

    async def _leave_engine(self) -> None:
        try:
            if self.purge:
                await self.engine.cleanup()
                await self.return_paths.close()
        except MoorageError as error:
            log.error("containers could not be removed: %s", error)
        finally:
            await self.engine.close()

    # --- doors -------------------------------------------------------------------------------------------------------
    async def _shutdown(self, request: web.BaseRequest) -> web.StreamResponse:
        """`moor down`: answers, then stops and removes what was made."""
        if request.method != "POST":
            return web.json_response({"message": "Send a POST."}, status=405)
        self.purge = True
        self.stopping.set()
        return web.json_response({"status": "stopping"})

    async def _forward(
        self,
        service: str,
        context: RequestContext,
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes,
    ) -> Reply:
        if service == "cloudwatch":
            await self.metrics.deliver()
        return await self.backed.forward(service, context, method, path, headers, body)

    def _connected(self, records: Sequence[ConnectionRecord]) -> None:
        for record in records:
            balancer = self.store.get(LOAD_BALANCERS, record.load_balancer_arn)
            if balancer is not None:
                self.metrics.connection(balancer, record)
                self.load_balancer_logs.connection(balancer, record)

    async def _put_object(self, scope: Scope, bucket: str, key: str, body: bytes) -> None:
        await self.backed.call(scope, "s3", "PutObject", {"Bucket": bucket, "Key": key, "Body": body})

    def _serving(self, certificate: str) -> list[str]:
        """The load balancers that serve this certificate."""
        return [one.load_balancer_arn for one in self.store.all(LISTENERS) if certificate in one.certificates]

    async def _reset(self) -> None:
        await self.store.reset()
        await self.log_events.clear()
        await self.backed.reset()
        self.metrics.forget()
        self.certificates.clear()


class _Images:
    """The registry's resolver, as the control plane asks for it."""

    def __init__(self, resolver: ImageResolver) -> None:
        self._resolver = resolver

    def resolve(self, scope: Scope, image: str) -> ImageReference:
        found = self._resolver.pull_reference(scope, image)
        if found is None:
            return ImageReference(image)
        return ImageReference(found.image, RegistryAuth(found.username, found.password), found.digest)


async def _serve(settings: Settings) -> None:
    app = App(settings)
    await app.start()
    # What a start makes stays: full collections need not look at it again (they would hold up requests).
    gc.freeze()
    gc.enable()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, app.stopping.set)
    try:
        await app.stopping.wait()
    finally:
        await app.close()


def serve(settings: Settings) -> None:
    """Blocks until SIGTERM, SIGINT or `moor down`. Raises MoorageError when it cannot start."""
    uvloop.run(_serve(settings))


async def _cleanup(settings: Settings) -> None:
    await end_names(settings.data_dir / NAMES)
    await EnvoyProxy(settings).stop()
    engine = DockerEngine(settings)
    try:
        await engine.cleanup()
        await LinuxReturnPaths(bridge_prefix(settings.installation)).close()
    finally:
        await engine.close()


def main() -> int:
    if sys.argv[1:] != ["--cleanup"]:
        sys.stderr.write("usage: python -m moorage.app --cleanup   (the server is started by: moor up)\n")
        return 2
    try:
        uvloop.run(_cleanup(Settings()))
    except MoorageError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
