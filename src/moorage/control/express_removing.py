"""How everything that was made for an Express service goes again, over the APIs: the other way round, each step safe to
repeat. What does not exist any more is fine."""

from __future__ import annotations

from msgspec.structs import replace

from moorage.control.express_calls import ExpressCalls, Step, hosts_of
from moorage.decide import express
from moorage.domain.express import ExpressResources, ExpressService
from moorage.store.tables.ecs import SERVICES


class ExpressRemoving(ExpressCalls):
    def steps(self) -> tuple[tuple[str, Step], ...]:
        return (
            ("scaling", self._no_scaling),
            ("listener rule", self._no_rule),
            ("load balancer", self._no_balancer),
            ("target groups", self._no_target_groups),
            ("certificate", self._no_certificate),
            ("security groups", self._no_security_groups),
            ("task definitions", self._no_task_definitions),
            ("log group", self._no_log_group),
        )

    async def stop_service(self, record: ExpressService) -> None:
        service = self._view.get(SERVICES, record.arn)
        if service is not None and service.status == "ACTIVE":
            name = {"cluster": record.cluster_arn, "service": record.name, "force": True}
            await self._call(record, "ecs", "DeleteService", name)

    async def _no_scaling(self, record: ExpressService) -> ExpressResources | None:
        """Its policies go with the target."""
        target = express.scalable(record)
        autoscaling = "application-autoscaling"
        policies = await self._call(
            record,
            autoscaling,
            "DescribeScalingPolicies",
            {"ServiceNamespace": "ecs", "ResourceId": target["ResourceId"]},
        )
        for policy in policies.get("ScalingPolicies") or ():
            await self._call(record, autoscaling, "DeleteScalingPolicy", {**target, "PolicyName": policy["PolicyName"]})
        nothing = ("ObjectNotFoundException", "ValidationException")
        await self._unless(nothing, record, autoscaling, "DeregisterScalableTarget", target)
        return None

    async def _no_rule(self, record: ExpressService) -> ExpressResources | None:
        balancer = await self._find_balancer(record)
        if balancer is None:
            return None
        listener = (await self._by_port(record, balancer)).get(express.HTTPS_PORT)
        if listener is None:
            return None
        for rule in await self._rules(record, listener):
            if record.host in hosts_of(rule):
                await self._call(record, "elbv2", "DeleteRule", {"RuleArn": rule["RuleArn"]})
        return replace(record.made, rule=None)

    async def _no_balancer(self, record: ExpressService) -> ExpressResources | None:
        """The load balancer goes with the last service on it; for the others, only this one's certificate goes."""
        balancer = await self._find_balancer(record)
        if balancer is not None and not self._others(record):
            await self._call(record, "elbv2", "DeleteLoadBalancer", {"LoadBalancerArn": balancer})
        elif balancer is not None:
            await self._withdraw_certificate(record, balancer)
        return replace(record.made, load_balancer=None, listener=None)

    async def _withdraw_certificate(self, record: ExpressService, balancer: str) -> None:
        """If it is the default one of the listener, another service's takes its place."""
        listener = (await self._by_port(record, balancer)).get(express.HTTPS_PORT)
        certificate = record.made.certificate
        if listener is None or certificate is None:
            return
        held = await self._certificates(record, listener)
        gone = certificate if certificate in held else None
        if held.get(certificate):
            heirs = (one.made.certificate for one in self._users(record) if one.arn != record.arn)
            gone = next((arn for arn in heirs if arn is not None), None)
            if gone is not None:
                change = {"ListenerArn": listener, "Certificates": [{"CertificateArn": gone}]}
                await self._call(record, "elbv2", "ModifyListener", change)
        if gone is not None:  # the heir is the default now and need not be in the list beside
            change = {"ListenerArn": listener, "Certificates": [{"CertificateArn": gone}]}
            await self._call(record, "elbv2", "RemoveListenerCertificates", change)

    async def _no_target_groups(self, record: ExpressService) -> ExpressResources | None:
        for name in express.group_names(record):
            arn = await self._find_target_group(record, name)
            if arn is not None:
                await self._call(record, "elbv2", "DeleteTargetGroup", {"TargetGroupArn": arn})
        return replace(record.made, target_groups=())

    async def _no_certificate(self, record: ExpressService) -> ExpressResources | None:
        found = await self._find_certificate(record)
        if found is not None:
            await self._call(record, "acm", "DeleteCertificate", {"CertificateArn": found})
        return replace(record.made, certificate=None)

    async def _no_security_groups(self, record: ExpressService) -> ExpressResources | None:
        """The tasks' group first: it names the load balancer's."""
        names = [express.service_group_name(record)]
        if not self._others(record):
            names.append(express.balancer_group_name(record))
        for name in names:
            group = await self._find_security_group(record, name)
            if group is not None:
                await self._call(record, "ec2", "DeleteSecurityGroup", {"GroupId": group})
        return replace(record.made, service_security_group=None, load_balancer_security_group=None)

    async def _no_task_definitions(self, record: ExpressService) -> ExpressResources | None:
        """Those that ECS registered for this very service; they stay readable as INACTIVE, as on AWS."""
        listed = await self._call(
            record, "ecs", "ListTaskDefinitions", {"familyPrefix": express.family(record), "status": "ACTIVE"}
        )
        for arn in listed["taskDefinitionArns"]:
            found = await self._call(
                record, "ecs", "DescribeTaskDefinition", {"taskDefinition": arn, "include": ["TAGS"]}
            )
            if any(tag == {"key": express.OWNER, "value": record.arn} for tag in found.get("tags") or ()):
                await self._call(record, "ecs", "DeregisterTaskDefinition", {"taskDefinition": arn})
        return replace(record.made, task_definition=None)

    async def _no_log_group(self, record: ExpressService) -> ExpressResources | None:
        if record.made.log_group is None and record.applied:
            return None
        await self._unless(
            "ResourceNotFoundException", record, "logs", "DeleteLogGroup", {"logGroupName": record.log_group}
        )
        return replace(record.made, log_group=None)
