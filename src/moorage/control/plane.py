"""The control plane as one thing: every controller, started and closed in the right order.

The real server and the simulated world put in different drivers; nothing else differs.
"""

from __future__ import annotations

from moorage.control.adoption import Adoption
from moorage.control.alarms import AlarmWatch
from moorage.control.capacity import CapacityController
from moorage.control.client_addresses import ClientAddresses
from moorage.control.code_deploy import CodeDeployController
from moorage.control.express import ExpressController
from moorage.control.express_scaling import ExpressScaling
from moorage.control.lifecycle import LifecycleController
from moorage.control.load_balancer_nodes import LoadBalancerNodes
from moorage.control.load_balancers import LoadBalancersController
from moorage.control.ports import (
    AlarmSource,
    AwsCalls,
    ContainerLogs,
    HookCaller,
    HostGroups,
    ImageSource,
    SecurityGroups,
    TaskSources,
)
from moorage.control.prober import Prober
from moorage.control.reaper import Reaper
from moorage.control.security_groups import SecurityGroupsController
from moorage.control.service import ServiceController
from moorage.control.targets import TargetsController
from moorage.control.task import TaskController
from moorage.domain.clock import Clock, Ids
from moorage.engine.driver import Engine
from moorage.network.firewall import Firewall, NoFirewall
from moorage.network.return_paths import NoReturnPaths, ReturnPaths
from moorage.proxy.driver import Proxy
from moorage.store.memory import Store
from moorage.store.tables.ecs import CONTAINER_INSTANCES


class ControlPlane:
    def __init__(
        self,
        store: Store,
        clock: Clock,
        ids: Ids,
        *,
        engine: Engine,
        proxy: Proxy,
        prober: Prober,
        images: ImageSource,
        logs: ContainerLogs | None = None,
        sources: TaskSources = TaskSources(),  # noqa: B008 immutable
        hooks: HookCaller | None = None,
        calls: AwsCalls | None = None,
        alarms: AlarmSource | None = None,
        groups: HostGroups | None = None,
        security_groups: SecurityGroups | None = None,
        firewall: Firewall | None = None,
        return_paths: ReturnPaths | None = None,
    ) -> None:
        self.tasks = TaskController(store, clock, ids, engine, images, logs, sources)
        self.nodes = LoadBalancerNodes(store, engine, self.tasks.addresses)
        self.adoption = Adoption(store, clock, engine, self.tasks.steps, self.nodes)
        self.services = ServiceController(store, clock, ids, hooks)
        self.alarms = AlarmWatch(store, alarms)
        self.capacity = CapacityController(store, clock, ids, groups) if groups is not None else None
        self.targets = TargetsController(store, clock, prober, proxy)
        self.targets.health.instance_runs = lambda *place: bool(store.find(CONTAINER_INSTANCES, "ec2_instance", place))
        self.load_balancers = LoadBalancersController(store, clock, proxy, self.targets.endpoints)
        self.clients = ClientAddresses(store, engine, return_paths or NoReturnPaths())
        self.targets.endpoints.clients = self.clients
        self.load_balancers.preserved = self.clients.preserved
        self.security = SecurityGroupsController(store, security_groups, firewall or NoFirewall())
        self.targets.health.lets_out = self.security.lets_out
        self.lifecycle = LifecycleController(store, clock)
        self.reaper = Reaper(store, clock)
        self.express = ExpressController(store, clock, calls) if calls is not None else None
        self.express_scaling = ExpressScaling(store, clock, engine)
        self.code_deploy = CodeDeployController(store, clock, calls) if calls is not None else None

    async def start(self) -> None:
        """Target groups before load balancers, so that no listener opens before its endpoints are known; the engine is
        listened to before tasks are looked at, so that what died while nobody watched is noticed first."""
        self.clients.start()
        await self.targets.start()
        self.security.start()
        self.nodes.start()
        await self.load_balancers.start()
        self.adoption.start()
        self.tasks.start()
        self.services.start()
        if self.capacity is not None:
            self.capacity.start()
        self.alarms.start()
        if self.express is not None:
            self.express.start()
        self.express_scaling.start()
        if self.code_deploy is not None:
            self.code_deploy.start()
        await self.lifecycle.start()
        self.reaper.start()

    async def close(self) -> None:
        """Stops controlling. Containers and the proxy go on as they are."""
        if self.code_deploy is not None:
            await self.code_deploy.close()
        await self.express_scaling.close()
        if self.express is not None:
            await self.express.close()
        await self.alarms.close()
        if self.capacity is not None:
            await self.capacity.close()
        await self.services.close()
        await self.tasks.close()
        await self.adoption.close()
        await self.reaper.close()
        await self.lifecycle.close()
        await self.load_balancers.close()
        await self.nodes.close()
        await self.security.close()
        await self.targets.close()
        await self.clients.close()

    def explain(self, arn: str) -> str | None:
        """What is being done about a resource, and why: the last sentence of whoever looks after it."""
        return (
            self.services.explain(arn)
            or self.tasks.explain(arn)
            or self._about_load_balancer(arn)
            or self.targets.said(arn)
        )

    def _about_load_balancer(self, arn: str) -> str | None:
        said = self.load_balancers.said(arn)
        beside = (self.nodes.said(arn), self.security.said(arn))
        return "; ".join([said, *(one for one in beside if one)]) if said else None
