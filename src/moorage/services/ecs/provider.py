"""The ECS API, put together from one group of operations per noun."""

from __future__ import annotations

from moorage.domain.clock import Clock, Ids
from moorage.services.ecs.account_settings import AccountSettingOperations
from moorage.services.ecs.clusters import ClusterOperations
from moorage.services.ecs.deployments import DeploymentOperations
from moorage.services.ecs.idempotency import Idempotency
from moorage.services.ecs.services import ServiceOperations
from moorage.services.ecs.tags import TagOperations
from moorage.services.ecs.task_definitions import TaskDefinitionOperations
from moorage.services.ecs.tasks import TaskOperations
from moorage.services.lookups import NetworkLookup
from moorage.store.api import StoreApi


class EcsProvider(
    ClusterOperations,
    TaskDefinitionOperations,
    TaskOperations,
    ServiceOperations,
    DeploymentOperations,
    TagOperations,
    AccountSettingOperations,
):
    service = "ecs"

    def __init__(self, store: StoreApi, clock: Clock, ids: Ids, networks: NetworkLookup) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._networks = networks
        self._idempotency = Idempotency(clock)
