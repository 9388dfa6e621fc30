"""The provider on a store in memory, called as the gateway calls it: parameters and results are checked against the
official model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import botocore.session
import pytest

from moorage.domain.clock import Ids
from moorage.domain.errors import AwsError
from moorage.domain.network import SecurityGroup, Subnet
from moorage.domain.scope import Scope
from moorage.services.base import RequestContext
from moorage.services.elbv2.provider import ElbV2Provider
from moorage.services.lookups import CertificatePem
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables import elbv2, network
from support.shapes import conforms

ACCOUNT, REGION = "000000000000", "us-east-1"
MODEL = botocore.session.get_session().get_service_model("elbv2")


class TestClock:
    __test__ = False

    def __init__(self) -> None:
        self.time = 1_700_000_000.0

    def now(self) -> float:
        return self.time


class Networks:
    """vpc-1 with subnets a (zone a), b (zone b), b2 (zone b); vpc-2 with c and d."""

    def __init__(self) -> None:
        zones = {"a": "a", "b": "b", "b2": "b"}
        self._subnets = {f"subnet-{n}": self._subnet(f"subnet-{n}", "vpc-1", zone) for n, zone in zones.items()}
        self._subnets |= {
            f"subnet-{n}": self._subnet(f"subnet-{n}", "vpc-2", zone) for n, zone in (("c", "a"), ("d", "b"))
        }
        self._groups = {
            "sg-1": SecurityGroup(ACCOUNT, REGION, "sg-1", "vpc-1", "default"),
            "sg-2": SecurityGroup(ACCOUNT, REGION, "sg-2", "vpc-1", "web"),
            "sg-3": SecurityGroup(ACCOUNT, REGION, "sg-3", "vpc-2", "default"),
        }

    @staticmethod
    def _subnet(subnet_id: str, vpc: str, zone: str) -> Subnet:
        return Subnet(ACCOUNT, REGION, subnet_id, vpc, "10.0.0.0/24", f"{REGION}{zone}")

    async def subnets(self, scope: Scope, subnet_ids: Sequence[str]) -> dict[str, Subnet]:
        return {one: self._subnets[one] for one in subnet_ids if one in self._subnets}

    async def security_groups(self, scope: Scope, group_ids: Sequence[str]) -> dict[str, SecurityGroup]:
        return {one: self._groups[one] for one in group_ids if one in self._groups}

    async def elastic_addresses(self, scope: Scope, allocation_ids: Sequence[str]) -> dict[str, str]:
        return {one: "198.51.100.7" for one in allocation_ids if one != "eipalloc-unknown"}

    async def default_security_group(self, scope: Scope, vpc_id: str) -> SecurityGroup | None:
        return next((g for g in self._groups.values() if g.vpc_id == vpc_id and g.name == "default"), None)

    async def vpc_exists(self, scope: Scope, vpc_id: str) -> bool:
        return vpc_id in ("vpc-1", "vpc-2")


def certificate(name: str) -> str:
    return f"arn:aws:acm:{REGION}:{ACCOUNT}:certificate/{name}"


class KnownCertificates:
    """All but those named "unknown"."""

    async def exists(self, scope: Scope, arn: str) -> bool:
        return arn.startswith("arn:aws:acm:") and not arn.endswith("/unknown")

    async def certificate(self, arn: str) -> CertificatePem | None:
        return None


class Rig:
    """`call` answers the result; `refused` the error."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.clock = TestClock()
        self.provider = ElbV2Provider(store, self.clock, Ids(seed=7), Networks(), certificates=KnownCertificates())
        self._handlers = self.provider.handlers()

    @classmethod
    async def make(cls) -> Rig:
        return cls(await Store.open(MemoryLog(), (*elbv2.TABLES, *network.TABLES), verify=True))

    async def call(self, operation: str, *, account: str = ACCOUNT, region: str = REGION, **params: Any) -> Any:
        model = MODEL.operation_model(operation)
        conforms(params, model.input_shape)
        ctx = RequestContext(account, region, "elbv2", operation, "r", "test", f"arn:aws:iam::{account}:root")
        answer = await self._handlers[operation](ctx, params)
        conforms(answer or {}, model.output_shape)
        return answer

    async def refused(self, operation: str, **params: Any) -> AwsError:
        with pytest.raises(AwsError) as refusal:
            await self.call(operation, **params)
        return refusal.value

    async def load_balancer(self, name: str = "web", **params: Any) -> dict[str, Any]:
        params = {"Subnets": ["subnet-a", "subnet-b"], **params}
        return (await self.call("CreateLoadBalancer", Name=name, **params))["LoadBalancers"][0]

    async def target_group(self, name: str = "web", **params: Any) -> dict[str, Any]:
        params = {"Protocol": "HTTP", "Port": 80, "VpcId": "vpc-1", "TargetType": "ip", **params}
        return (await self.call("CreateTargetGroup", Name=name, **params))["TargetGroups"][0]

    async def listener(self, load_balancer: str, *groups: str, port: int = 80, **params: Any) -> dict[str, Any]:
        params = {"DefaultActions": [forward(*groups)] if groups else [fixed()], **params}
        created = await self.call("CreateListener", LoadBalancerArn=load_balancer, Protocol="HTTP", Port=port, **params)
        return created["Listeners"][0]

    async def rule(self, listener: str, priority: int = 1, **params: Any) -> dict[str, Any]:
        params = {"Conditions": [path("/api/*")], "Actions": [fixed()], **params}
        return (await self.call("CreateRule", ListenerArn=listener, Priority=priority, **params))["Rules"][0]


def forward(*groups: str) -> dict[str, Any]:
    if len(groups) == 1:
        return {"Type": "forward", "TargetGroupArn": groups[0]}
    tuples = [{"TargetGroupArn": arn, "Weight": 1} for arn in groups]
    return {"Type": "forward", "ForwardConfig": {"TargetGroups": tuples}}


def fixed(code: str = "404") -> dict[str, Any]:
    return {"Type": "fixed-response", "FixedResponseConfig": {"StatusCode": code}}


def path(*values: str) -> dict[str, Any]:
    return {"Field": "path-pattern", "Values": list(values)}
