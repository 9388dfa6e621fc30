"""What the steps of Express services call and how they find again what exists, over the APIs. Nothing is changed here."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from moorage.control.ports import AwsCalls
from moorage.domain.errors import AwsError
from moorage.domain.express import ExpressResources, ExpressService
from moorage.domain.scope import Scope
from moorage.store.api import View
from moorage.store.tables.ecs import EXPRESS_SERVICES

Step = Callable[[ExpressService], Awaitable[ExpressResources | None]]
"""Answers the resources with what it made or removed; None: there is nothing to do. Writes nothing itself."""
Answer = Mapping[str, Any]


class ExpressCalls:
    def __init__(self, view: View, calls: AwsCalls) -> None:
        self._view = view
        self._calls = calls

    # --- calling -----------------------------------------------------------------------------------------------------
    async def _call(self, record: ExpressService, service: str, operation: str, params: Mapping[str, Any]) -> Answer:
        """As the infrastructure role, in the session that AWS names so."""
        role = record.infrastructure_role_arn.rpartition("/")[2]
        principal = f"arn:aws:sts::{record.account}:assumed-role/{role}/ECSGateway"
        scope = Scope(record.account, record.region)
        return await self._calls.call(scope, service, operation, params, principal=principal)

    async def _unless(
        self,
        codes: str | tuple[str, ...],
        record: ExpressService,
        service: str,
        operation: str,
        params: Mapping[str, Any],
    ) -> Answer:
        """An empty answer when it is refused with one of `codes`: it is as it should be already."""
        try:
            return await self._call(record, service, operation, params)
        except AwsError as error:
            if error.code not in ((codes,) if isinstance(codes, str) else codes):
                raise
            return {}

    # --- finding -----------------------------------------------------------------------------------------------------
    async def _find_security_group(self, record: ExpressService, name: str) -> str | None:
        filters = [{"Name": "group-name", "Values": [name]}, {"Name": "vpc-id", "Values": [record.vpc_id]}]
        answer = await self._call(record, "ec2", "DescribeSecurityGroups", {"Filters": filters})
        return next((str(one["GroupId"]) for one in answer.get("SecurityGroups") or ()), None)

    async def _find_certificate(self, record: ExpressService) -> str | None:
        request: dict[str, Any] = {}
        while True:
            answer = await self._call(record, "acm", "ListCertificates", request)
            for one in answer.get("CertificateSummaryList") or ():
                if one.get("DomainName") == record.host:
                    return str(one["CertificateArn"])
            if not answer.get("NextToken"):
                return None
            request = {"NextToken": answer["NextToken"]}

    async def _find_balancer(self, record: ExpressService) -> str | None:
        answer = await self._unless(
            "LoadBalancerNotFound", record, "elbv2", "DescribeLoadBalancers", {"Names": [record.balancer_name]}
        )
        return next((str(one["LoadBalancerArn"]) for one in answer.get("LoadBalancers") or ()), None)

    async def _by_port(self, record: ExpressService, balancer: str) -> dict[int, str]:
        answer = await self._call(record, "elbv2", "DescribeListeners", {"LoadBalancerArn": balancer})
        return {one["Port"]: str(one["ListenerArn"]) for one in answer["Listeners"]}

    async def _certificates(self, record: ExpressService, listener: str) -> dict[str, bool]:
        """Certificate → is it the default one?"""
        answer = await self._call(record, "elbv2", "DescribeListenerCertificates", {"ListenerArn": listener})
        return {one["CertificateArn"]: one["IsDefault"] for one in answer["Certificates"]}

    async def _find_target_group(self, record: ExpressService, name: str) -> str | None:
        answer = await self._unless("TargetGroupNotFound", record, "elbv2", "DescribeTargetGroups", {"Names": [name]})
        return next((str(one["TargetGroupArn"]) for one in answer.get("TargetGroups") or ()), None)

    async def _rules(self, record: ExpressService, listener: str) -> list[Answer]:
        found: list[Answer] = []
        request: dict[str, Any] = {"ListenerArn": listener}
        while True:
            answer = await self._call(record, "elbv2", "DescribeRules", request)
            found += answer["Rules"]
            if not answer.get("NextMarker"):
                return found
            request["Marker"] = answer["NextMarker"]

    def _users(self, record: ExpressService) -> Collection[ExpressService]:
        """The Express services that use this one's load balancer, or are about to."""
        return self._view.find(EXPRESS_SERVICES, "balancer", (record.account, record.region, record.balancer_name))

    def _others(self, record: ExpressService) -> bool:
        return any(one.arn != record.arn for one in self._users(record))


def hosts_of(rule: Answer) -> list[str]:
    return [
        host
        for condition in rule.get("Conditions") or ()
        if condition.get("Field") == "host-header"
        for host in (condition.get("HostHeaderConfig") or {}).get("Values") or condition.get("Values") or ()
    ]
