"""The ECS API, put together from one group of operations per noun."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from moorage.domain.clock import Clock, Ids
from moorage.services.base import Handler, RequestContext
from moorage.services.ecs.account_settings import AccountSettingOperations
from moorage.services.ecs.agent import AgentOperations
from moorage.services.ecs.attributes import AttributeOperations
from moorage.services.ecs.capacity_providers import CapacityProviderOperations
from moorage.services.ecs.clusters import ClusterOperations
from moorage.services.ecs.container_instances import ContainerInstanceOperations
from moorage.services.ecs.deployments import DeploymentOperations
from moorage.services.ecs.express import ExpressBuilder, ExpressOperations
from moorage.services.ecs.idempotency import Idempotency
from moorage.services.ecs.namespaces import NamespaceOperations
from moorage.services.ecs.refused import refusals
from moorage.services.ecs.services import ServiceOperations
from moorage.services.ecs.shapes import refuse_nulls
from moorage.services.ecs.tags import TagOperations
from moorage.services.ecs.task_definitions import TaskDefinitionOperations
from moorage.services.ecs.task_protection import TaskProtectionOperations
from moorage.services.ecs.task_sets import TaskSetOperations
from moorage.services.ecs.tasks import TaskOperations
from moorage.services.lookups import (
    AlarmLookup,
    DefaultNetwork,
    HostGroupLookup,
    NamespaceLookup,
    NetworkLookup,
    NoAlarms,
    NoHostGroups,
)
from moorage.store.api import StoreApi


class EcsProvider(
    ClusterOperations,
    CapacityProviderOperations,
    ContainerInstanceOperations,
    AttributeOperations,
    TaskDefinitionOperations,
    TaskOperations,
    TaskProtectionOperations,
    ServiceOperations,
    TaskSetOperations,
    DeploymentOperations,
    TagOperations,
    AccountSettingOperations,
    NamespaceOperations,
    AgentOperations,
    ExpressOperations,
):
    """`namespaces`: of Cloud Map. `groups`: of EC2 Auto Scaling. `alarms`: of CloudWatch. `endpoint`: where this
    installation answers. `default_network`: where Express services are that name no subnets; `express` makes what they are
    made of; `port_of`: the port of this machine on which load balancers answer for a port of theirs."""

    service = "ecs"

    def __init__(
        self,
        store: StoreApi,
        clock: Clock,
        ids: Ids,
        networks: NetworkLookup,
        *,
        namespaces: NamespaceLookup | None = None,
        groups: HostGroupLookup | None = None,
        alarms: AlarmLookup | None = None,
        endpoint: str = "http://localhost:4566",
        default_network: DefaultNetwork | None = None,
        express: ExpressBuilder | None = None,
        port_of: Callable[[int], int] = lambda port: port,
    ) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._networks = networks
        self._namespaces = namespaces
        self._groups = groups or NoHostGroups()
        self._alarms = alarms or NoAlarms()
        self._endpoint = endpoint
        self._default_network = default_network
        self._express = express
        self._port_of = port_of
        self._idempotency = Idempotency(clock)

    def handlers(self) -> dict[str, Handler]:
        return refusals() | {name: _without_nulls(handler) for name, handler in super().handlers().items()}


def _without_nulls(handler: Handler) -> Handler:
    """The wire lets `null` through as an item of a list or a map; no list of ECS has a use for it."""

    async def checked(ctx: RequestContext, request: dict[str, Any]) -> Mapping[str, Any] | None:
        refuse_nulls(request)
        return await handler(ctx, request)

    return checked
