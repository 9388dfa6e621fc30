"""A store with the real ECS and ELBv2 providers, a small EC2, ACM, Logs and Auto Scaling beside, and an Express controller
that can be killed at any call."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from moorage.control.express import ExpressController
from moorage.domain.clock import Ids
from moorage.domain.errors import AwsError
from moorage.domain.express import ExpressService
from moorage.domain.network import SecurityGroup, Subnet
from moorage.domain.scope import Scope
from moorage.gateway.inside import InsideCalls
from moorage.services.base import RequestContext
from moorage.services.ecs import EcsProvider
from moorage.services.elbv2.provider import ElbV2Provider
from moorage.services.lookups import CertificatePem
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables import ecs, elbv2, network
from moorage.store.tables.ecs import EXPRESS_SERVICES, SERVICES

ACCOUNT, REGION = "000000000000", "us-east-1"
SCOPE = Scope(ACCOUNT, REGION)
ROLE = f"arn:aws:iam::{ACCOUNT}:role/ecsInfrastructure"
TASK_ROLE = f"arn:aws:iam::{ACCOUNT}:role/ecsTaskExecution"
TABLES = (*ecs.TABLES, *elbv2.TABLES, *network.TABLES)


class Still:
    def now(self) -> float:
        return 1_700_000_000.0


class Networks:
    """The default VPC, vpc-1, with a subnet in zone a and one in zone b; subnet-c is private and alone in vpc-2."""

    def __init__(self) -> None:
        places = {"subnet-a": ("vpc-1", "a"), "subnet-b": ("vpc-1", "b"), "subnet-c": ("vpc-2", "a")}
        self.by_id = {
            name: Subnet(ACCOUNT, REGION, name, vpc, "10.0.0.0/24", f"{REGION}{zone}", map_public_ip=vpc == "vpc-1")
            for name, (vpc, zone) in places.items()
        }
        self.groups: dict[str, SecurityGroup] = {}

    async def subnets(self, scope: Scope, subnet_ids: Sequence[str]) -> dict[str, Subnet]:
        return {one: self.by_id[one] for one in subnet_ids if one in self.by_id}

    async def security_groups(self, scope: Scope, group_ids: Sequence[str]) -> dict[str, SecurityGroup]:
        return {one: self.groups[one] for one in group_ids if one in self.groups}

    async def default_security_group(self, scope: Scope, vpc_id: str) -> SecurityGroup | None:
        return None

    async def vpc_exists(self, scope: Scope, vpc_id: str) -> bool:
        return vpc_id in ("vpc-1", "vpc-2")

    async def default_subnets(self, scope: Scope) -> Sequence[Subnet]:
        return [self.by_id["subnet-a"], self.by_id["subnet-b"]]


class Neighbours:
    """EC2, ACM, Logs and Application Auto Scaling as far as an Express service needs them."""

    def __init__(self, networks: Networks) -> None:
        self.networks = networks
        self.ingress: dict[str, list[Any]] = {}
        self.certificates: dict[str, str] = {}
        self.log_groups: set[str] = set()
        self.targets: dict[str, Any] = {}
        self.policies: dict[str, Any] = {}
        self._number = 0

    async def call(self, scope: Scope, service: str, operation: str, params: Mapping[str, Any]) -> Mapping[str, Any]:
        handler = getattr(self, f"_{operation}")
        answer: Mapping[str, Any] = handler(params) or {}
        return answer

    def left(self) -> list[Any]:
        """Everything that there is."""
        groups = [group.name for group in self.networks.groups.values()]
        return [*groups, *self.certificates.values(), *self.log_groups, *self.targets, *self.policies]

    def _CreateSecurityGroup(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        name, vpc = params["GroupName"], params["VpcId"]
        if any((group.name, group.vpc_id) == (name, vpc) for group in self.networks.groups.values()):
            raise AwsError("InvalidGroup.Duplicate", name)
        self._number += 1
        group = SecurityGroup(ACCOUNT, REGION, f"sg-{self._number}", vpc, name)
        self.networks.groups[group.group_id] = group
        return {"GroupId": group.group_id}

    def _DescribeSecurityGroups(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        wanted = {one["Name"]: one["Values"] for one in params["Filters"]}
        found = [
            {"GroupId": group.group_id}
            for group in self.networks.groups.values()
            if group.name in wanted["group-name"] and group.vpc_id in wanted["vpc-id"]
        ]
        return {"SecurityGroups": found}

    def _AuthorizeSecurityGroupIngress(self, params: Mapping[str, Any]) -> None:
        rules = self.ingress.setdefault(params["GroupId"], [])
        if params["IpPermissions"] in rules:
            raise AwsError("InvalidPermission.Duplicate", "exists")
        rules.append(params["IpPermissions"])

    def _DeleteSecurityGroup(self, params: Mapping[str, Any]) -> None:
        del self.networks.groups[params["GroupId"]]

    def _DescribeSubnets(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        found = [self.networks.by_id[one] for one in params["SubnetIds"]]
        return {"Subnets": [{"SubnetId": s.subnet_id, "AvailabilityZone": s.availability_zone} for s in found]}

    def _RequestCertificate(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        arn = SCOPE.arn("acm", f"certificate/{len(self.certificates)}-{params['DomainName']}")
        self.certificates[arn] = params["DomainName"]
        return {"CertificateArn": arn}

    def _ListCertificates(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        found = [{"CertificateArn": arn, "DomainName": name} for arn, name in self.certificates.items()]
        return {"CertificateSummaryList": found}

    def _DeleteCertificate(self, params: Mapping[str, Any]) -> None:
        del self.certificates[params["CertificateArn"]]

    def _CreateLogGroup(self, params: Mapping[str, Any]) -> None:
        if params["logGroupName"] in self.log_groups:
            raise AwsError("ResourceAlreadyExistsException", "exists")
        self.log_groups.add(params["logGroupName"])

    def _DeleteLogGroup(self, params: Mapping[str, Any]) -> None:
        if params["logGroupName"] not in self.log_groups:
            raise AwsError("ResourceNotFoundException", "none")
        self.log_groups.discard(params["logGroupName"])

    def _RegisterScalableTarget(self, params: Mapping[str, Any]) -> None:
        self.targets[params["ResourceId"]] = (params["MinCapacity"], params["MaxCapacity"])

    def _PutScalingPolicy(self, params: Mapping[str, Any]) -> None:
        self.policies[params["PolicyName"]] = params

    def _DescribeScalingPolicies(self, params: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"ScalingPolicies": [{"PolicyName": name} for name in self.policies]}

    def _DeleteScalingPolicy(self, params: Mapping[str, Any]) -> None:
        del self.policies[params["PolicyName"]]

    def _DeregisterScalableTarget(self, params: Mapping[str, Any]) -> None:
        if self.targets.pop(params["ResourceId"], None) is None:
            raise AwsError("ObjectNotFoundException", "none")

    async def exists(self, scope: Scope, arn: str) -> bool:
        return arn in self.certificates

    async def certificate(self, arn: str) -> CertificatePem | None:
        return None


class MortalCalls:
    """The control plane dies before (even) or after (odd) its n-th call: nothing comes back from there, unless a test
    only wanted it to wait."""

    def __init__(self, inside: InsideCalls) -> None:
        self.inside = inside
        self.made: list[str] = []
        self.dies_at: int | None = None
        self.died, self.revived = asyncio.Event(), asyncio.Event()
        self.refuses: dict[str, AwsError] = {}

    async def call(
        self, scope: Scope, service: str, operation: str, params: Mapping[str, Any], *, principal: str = ""
    ) -> Mapping[str, Any]:
        self.made.append(operation)
        await self._mortal(2 * len(self.made))
        if operation in self.refuses:
            raise self.refuses[operation]
        answer = await self.inside.call(scope, service, operation, params, principal=principal)
        await self._mortal(2 * len(self.made) + 1)
        return answer

    async def _mortal(self, moment: int) -> None:
        if moment == self.dies_at:
            self.died.set()
            await self.revived.wait()


class ExpressWorld:
    def __init__(self, store: Store) -> None:
        self.store = store
        self.networks = Networks()
        self.neighbours = Neighbours(self.networks)
        self.ids = Ids(seed=3)
        self.inside = InsideCalls(self.ids, self.neighbours)
        self.calls = MortalCalls(self.inside)
        self.controller: ExpressController | None = None
        elb = ElbV2Provider(store, Still(), self.ids, self.networks, certificates=self.neighbours)
        self.ecs = EcsProvider(store, Still(), self.ids, self.networks, default_network=self.networks, express=self)
        self.inside.handlers = {"ecs": self.ecs.handlers(), "elbv2": elb.handlers()}

    @classmethod
    async def make(cls) -> ExpressWorld:
        return cls(await Store.open(MemoryLog(), TABLES, verify=True))

    async def settle(self, arn: str) -> None:
        """The ECS API asks for it; without a controller nothing happens."""
        if self.controller is not None:
            await self.controller.settle(arn)

    def start(self) -> ExpressController:
        self.controller = ExpressController(self.store, Still(), self.calls)
        self.controller.start()
        return self.controller

    async def kill(self) -> None:
        if self.controller is not None:
            await self.controller.close()
        self.controller = None

    async def quiet(self) -> None:
        """Until there is nothing to do, or the control plane has died."""
        assert self.controller is not None
        ends = {asyncio.ensure_future(self.controller.loop.quiet()), asyncio.ensure_future(self.calls.died.wait())}
        _, others = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        for other in others:
            other.cancel()

    async def call(self, operation: str, **params: Any) -> dict[str, Any]:
        context = RequestContext(ACCOUNT, REGION, "ecs", operation, "r", "test", f"arn:aws:iam::{ACCOUNT}:root")
        return dict(await self.inside.handlers["ecs"][operation](context, params) or {})

    async def create(self, name: str = "web", **params: Any) -> dict[str, Any]:
        request = {
            "serviceName": name,
            "infrastructureRoleArn": ROLE,
            "executionRoleArn": TASK_ROLE,
            "primaryContainer": {"image": "web:1"},
        } | params
        found: dict[str, Any] = (await self.call("CreateExpressGatewayService", **request))["service"]
        return found

    async def elb(self, operation: str, **params: Any) -> Any:
        return await self.inside.call(SCOPE, "elbv2", operation, params)

    def record(self, name: str = "web") -> ExpressService:
        found = self.store.get(EXPRESS_SERVICES, SCOPE.arn("ecs", f"service/default/{name}"))
        assert found is not None
        return found

    async def drained(self, name: str = "web") -> None:
        """What the service controller would write when the last task has stopped."""
        service = self.store.get(SERVICES, self.record(name).arn)
        assert service is not None
        ended = replace(service, status="INACTIVE", deployments=(), deleted_at=Still().now())
        await self.store.update(lambda tx: tx.put(SERVICES, ended))
