"""The ECS provider on a store in memory, called as the gateway calls it: parameters and results are checked against the
official model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import botocore.session
import msgspec
import pytest
from msgspec.structs import replace

from moorage.domain.capacity_provider import HostGroup
from moorage.domain.clock import Ids
from moorage.domain.errors import AwsError
from moorage.domain.network import SecurityGroup, Subnet
from moorage.domain.scope import Scope
from moorage.domain.service import Service
from moorage.domain.task import Task
from moorage.services.base import RequestContext
from moorage.services.ecs import EcsProvider
from moorage.services.elbv2.provider import ElbV2Provider
from moorage.simulation.alarms import SimulatedAlarms
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables import ecs, elbv2, network
from support.shapes import conforms

ACCOUNT, REGION = "000000000000", "us-east-1"
ROOT = Path(__file__).parents[3]
MODELS = {name: botocore.session.get_session().get_service_model(name) for name in ("ecs", "elbv2")}
BASE = f"arn:aws:ecs:{REGION}:{ACCOUNT}:"
INVALID_CPU, INVALID_MEMORY = (
    f"Invalid '{name}' setting for task. For more information, see the Troubleshooting section of the Amazon ECS Developer "
    "Guide."
    for name in ("cpu", "memory")
)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/execution"


class TestClock:
    __test__ = False

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def now(self) -> float:
        return self.time


class Networks:
    """vpc-1 with subnet-a (zone a) and subnet-b (zone b), vpc-2 with subnet-c; sg-1 (default) and sg-2 in vpc-1."""

    def __init__(self) -> None:
        places = {"subnet-a": ("vpc-1", "a"), "subnet-b": ("vpc-1", "b"), "subnet-c": ("vpc-2", "a")}
        self._subnets = {
            name: Subnet(ACCOUNT, REGION, name, vpc, "10.0.0.0/24", f"{REGION}{zone}")
            for name, (vpc, zone) in places.items()
        }
        self._groups = {
            "sg-1": SecurityGroup(ACCOUNT, REGION, "sg-1", "vpc-1", "default"),
            "sg-2": SecurityGroup(ACCOUNT, REGION, "sg-2", "vpc-1", "web"),
            "sg-3": SecurityGroup(ACCOUNT, REGION, "sg-3", "vpc-2", "web"),
        }
        self.between: Callable[[], Any] | None = None
        """Awaited once, in the middle of the next look-up."""

    async def subnets(self, scope: Scope, subnet_ids: Sequence[str]) -> dict[str, Subnet]:
        between, self.between = self.between, None
        if between is not None:
            await between()
        return {one: self._subnets[one] for one in subnet_ids if one in self._subnets}

    async def security_groups(self, scope: Scope, group_ids: Sequence[str]) -> dict[str, SecurityGroup]:
        return {one: self._groups[one] for one in group_ids if one in self._groups}

    async def elastic_addresses(self, scope: Scope, allocation_ids: Sequence[str]) -> dict[str, str]:
        return {}

    async def default_security_group(self, scope: Scope, vpc_id: str) -> SecurityGroup | None:
        return next((g for g in self._groups.values() if g.vpc_id == vpc_id and g.name == "default"), None)

    async def vpc_exists(self, scope: Scope, vpc_id: str) -> bool:
        return vpc_id in ("vpc-1", "vpc-2")


class Namespaces:
    """There is one: "here", ns-1."""

    async def namespace(self, scope: Scope, identifier: str) -> frozenset[str] | None:
        names = frozenset(("here", "ns-1"))
        return names if identifier in names else None


class Groups:
    """Auto Scaling groups by name; `add` makes one."""

    def __init__(self) -> None:
        self.by_name: dict[str, HostGroup] = {}

    def add(self, name: str = "hosts", *, protects: bool = False, account: str = ACCOUNT) -> str:
        arn = f"arn:aws:autoscaling:{REGION}:{account}:autoScalingGroup:uuid:autoScalingGroupName/{name}"
        self.by_name[name] = HostGroup(arn, account, REGION, name, 0, 5, 0, protects_new=protects)
        return arn

    async def group(self, scope: Scope, identifier: str) -> HostGroup | None:
        found = self.by_name.get(identifier.rsplit("/", 1)[-1])
        return found if found is not None and found.account == scope.account else None


class Rig:
    """`call` answers the result; `refused` the error, having made sure that nothing was written."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = TestClock()
        self.networks = Networks()
        self.groups = Groups()
        self.alarms = SimulatedAlarms()
        ids = Ids(seed=7)
        self.handlers = {
            "ecs": EcsProvider(
                store,
                self.clock,
                ids,
                self.networks,
                namespaces=Namespaces(),
                groups=self.groups,
                alarms=self.alarms,
            ).handlers(),
            "elbv2": ElbV2Provider(store, self.clock, ids, self.networks).handlers(),
        }

    @classmethod
    async def make(cls) -> Rig:
        tables = (*ecs.TABLES, *elbv2.TABLES, *network.TABLES)
        return cls(await Store.open(MemoryLog(), tables, verify=True))

    async def call(
        self, operation: str, *, account: str = ACCOUNT, region: str = REGION, api: str = "ecs", **params: Any
    ) -> Any:
        model = MODELS[api].operation_model(operation)
        conforms(params, model.input_shape)
        ctx = RequestContext(account, region, api, operation, "r", "test", f"arn:aws:iam::{account}:root")
        answer = await self.handlers[api][operation](ctx, params)
        # What the gateway sends: JSON, members without a value left out.
        plain = msgspec.json.decode(msgspec.json.encode({k: v for k, v in (answer or {}).items() if v is not None}))
        conforms(plain, model.output_shape)
        return plain

    async def refused(self, operation: str, **params: Any) -> AwsError:
        before = self.everything()
        with pytest.raises(AwsError) as refusal:
            await self.call(operation, **params)
        assert self.everything() == before, "a refused call has changed nothing"
        return refusal.value

    def everything(self) -> list[Any]:
        return [record for table in (*ecs.TABLES, *elbv2.TABLES, *network.TABLES) for record in self.store.all(table)]

    # --- things to begin with ----------------------------------------------------------------------------------------
    async def cluster(self, name: str = "main", **params: Any) -> dict[str, Any]:
        return (await self.call("CreateCluster", clusterName=name, **params))["cluster"]

    async def definition(self, family: str = "web", **params: Any) -> dict[str, Any]:
        return (await self.call("RegisterTaskDefinition", **fargate(family, **params)))["taskDefinition"]

    async def service(self, name: str = "web", **params: Any) -> dict[str, Any]:
        return (await self.call("CreateService", **{**service_params(name), **params}))["service"]

    async def task(self, **params: Any) -> dict[str, Any]:
        return (await self.call("RunTask", **{**run_params(), **params}))["tasks"][0]

    async def target_group(self, name: str = "web", *, attached: bool = True, kind: str = "ip") -> str:
        """The ARN of a target group, behind a listener if `attached`."""
        made = await self.call(
            "CreateTargetGroup", api="elbv2", Name=name, Protocol="HTTP", Port=80, VpcId="vpc-1", TargetType=kind
        )
        arn = str(made["TargetGroups"][0]["TargetGroupArn"])
        if attached:
            balancer = await self.call("CreateLoadBalancer", api="elbv2", Name=name, Subnets=["subnet-a", "subnet-b"])
            await self.call(
                "CreateListener",
                api="elbv2",
                LoadBalancerArn=balancer["LoadBalancers"][0]["LoadBalancerArn"],
                Protocol="HTTP",
                Port=80,
                DefaultActions=[{"Type": "forward", "TargetGroupArn": arn}],
            )
        return arn

    async def write_task(self, arn: str, **changes: Any) -> None:
        """What the control plane would write."""
        task: Task | None = self.store.get(ecs.TASKS, arn)
        assert task is not None
        await self.store.update(lambda tx: tx.put(ecs.TASKS, replace(task, **changes)))

    async def write_service(self, arn: str, **changes: Any) -> None:
        service: Service | None = self.store.get(ecs.SERVICES, arn)
        assert service is not None
        await self.store.update(lambda tx: tx.put(ecs.SERVICES, replace(service, **changes)))


def fargate(family: str = "web", **params: Any) -> dict[str, Any]:
    """A valid Fargate document; parameters replace its members."""
    return {
        "family": family,
        "networkMode": "awsvpc",
        "requiresCompatibilities": ["FARGATE"],
        "cpu": "256",
        "memory": "512",
        "containerDefinitions": [container()],
    } | params


def container(name: str = "app", **members: Any) -> dict[str, Any]:
    return {"name": name, "image": f"{name}:1", "portMappings": [{"containerPort": 80}]} | members


def network_configuration(*subnets: str, **members: Any) -> dict[str, Any]:
    return {"awsvpcConfiguration": {"subnets": list(subnets or ("subnet-a", "subnet-b")), **members}}


def run_params(**params: Any) -> dict[str, Any]:
    return {
        "cluster": "main",
        "taskDefinition": "web",
        "launchType": "FARGATE",
        "networkConfiguration": network_configuration(),
    } | params


def service_params(name: str = "web", **params: Any) -> dict[str, Any]:
    return run_params(serviceName=name, desiredCount=2) | params
