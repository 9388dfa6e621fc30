"""How everything of an Express service is made, one step after the other, over the APIs; each is safe to repeat.

A step looks at what the record says was made, makes (or finds, after a kill in between) the one thing that is missing, and
answers the resources with it.
"""

from __future__ import annotations

from msgspec.structs import replace

from moorage.control.express_calls import Answer, ExpressCalls, Step, hosts_of
from moorage.decide import express
from moorage.domain.express import ExpressResources, ExpressService
from moorage.store.tables.ecs import SERVICES


class ExpressMaking(ExpressCalls):
    def steps(self) -> tuple[tuple[str, Step], ...]:
        """In the order in which one thing needs the other."""
        return (
            ("log group", self._log_group),
            ("security group of the load balancer", self._balancer_group),
            ("security group of the tasks", self._service_group),
            ("certificate", self._certificate),
            ("load balancer", self._load_balancer),
            ("listeners", self._listeners),
            ("target groups", self._target_groups),
            ("listener rule", self._rule),
            ("task definition", self._task_definition),
        )

    async def _log_group(self, record: ExpressService) -> ExpressResources | None:
        container = record.wanted.container
        if record.made.log_group or container is None or container.aws_logs_configuration:
            return None
        await self._unless(
            "ResourceAlreadyExistsException",
            record,
            "logs",
            "CreateLogGroup",
            {"logGroupName": record.log_group, "tags": dict([express.MANAGED])},
        )
        return replace(record.made, log_group=record.log_group)

    async def _balancer_group(self, record: ExpressService) -> ExpressResources | None:
        if record.made.load_balancer_security_group:
            return None
        group = await self._security_group(record, express.balancer_group_name(record), "a shared load balancer")
        await self._allow(record, express.open_to_the_world(group))
        return replace(record.made, load_balancer_security_group=group)

    async def _service_group(self, record: ExpressService) -> ExpressResources | None:
        if record.made.service_security_group or record.wanted.security_groups:
            return None
        group = await self._security_group(record, express.service_group_name(record), f"the service {record.name}")
        balancer = record.made.load_balancer_security_group
        assert balancer is not None, "it is made before"
        await self._allow(record, express.open_to_the_balancer(group, balancer))
        return replace(record.made, service_security_group=group)

    async def _security_group(self, record: ExpressService, name: str, what: str) -> str:
        found = await self._find_security_group(record, name)
        if found is not None:
            return found
        made = await self._call(record, "ec2", "CreateSecurityGroup", express.security_group(name, record, what))
        return str(made["GroupId"])

    async def _allow(self, record: ExpressService, rule: Answer) -> None:
        await self._unless("InvalidPermission.Duplicate", record, "ec2", "AuthorizeSecurityGroupIngress", rule)

    async def _certificate(self, record: ExpressService) -> ExpressResources | None:
        if record.made.certificate:
            return None
        found = await self._find_certificate(record)
        if found is None:
            found = str(
                (await self._call(record, "acm", "RequestCertificate", express.certificate(record)))["CertificateArn"]
            )
        return replace(record.made, certificate=found)

    async def _load_balancer(self, record: ExpressService) -> ExpressResources | None:
        if record.made.load_balancer:
            return None
        found = await self._find_balancer(record)
        if found is None:
            group = record.made.load_balancer_security_group
            assert group is not None, "it is made before"
            subnets = await self._one_per_zone(record)
            made = await self._call(
                record, "elbv2", "CreateLoadBalancer", express.load_balancer(record, subnets, group)
            )
            found = str(made["LoadBalancers"][0]["LoadBalancerArn"])
        return replace(record.made, load_balancer=found)

    async def _one_per_zone(self, record: ExpressService) -> tuple[str, ...]:
        """A load balancer takes one subnet of each Availability Zone."""
        answer = await self._call(record, "ec2", "DescribeSubnets", {"SubnetIds": list(record.wanted.subnets)})
        zones = {one["SubnetId"]: one["AvailabilityZone"] for one in answer["Subnets"]}
        chosen: dict[str, str] = {}
        for subnet in record.wanted.subnets:
            chosen.setdefault(zones[subnet], subnet)
        return tuple(chosen.values())

    async def _listeners(self, record: ExpressService) -> ExpressResources | None:
        """The shared HTTPS listener with this service's certificate, and the HTTP listener that leads to it."""
        made = record.made
        if made.listener:
            return None
        assert made.load_balancer is not None
        assert made.certificate is not None
        known = await self._by_port(record, made.load_balancer)
        if express.HTTP_PORT not in known:
            await self._call(record, "elbv2", "CreateListener", express.http_listener(made.load_balancer))
        listener = known.get(express.HTTPS_PORT)
        if listener is None:
            request = express.https_listener(made.load_balancer, made.certificate)
            listener = str(
                (await self._call(record, "elbv2", "CreateListener", request))["Listeners"][0]["ListenerArn"]
            )
        elif made.certificate not in await self._certificates(record, listener):
            await self._call(
                record,
                "elbv2",
                "AddListenerCertificates",
                {"ListenerArn": listener, "Certificates": [{"CertificateArn": made.certificate}]},
            )
        return replace(made, listener=listener)

    async def _target_groups(self, record: ExpressService) -> ExpressResources | None:
        path = record.wanted.health_check_path
        if record.made.target_groups and record.made.health_check_path == path:
            return None
        arns = [await self._target_group(record, name) for name in express.group_names(record)]
        return replace(record.made, target_groups=tuple(arns), health_check_path=path)

    async def _target_group(self, record: ExpressService, name: str) -> str:
        arn = await self._find_target_group(record, name)
        if arn is None:
            made = await self._call(record, "elbv2", "CreateTargetGroup", express.target_group(record, name))
            arn = str(made["TargetGroups"][0]["TargetGroupArn"])
        else:
            path = record.wanted.health_check_path
            await self._call(record, "elbv2", "ModifyTargetGroup", {"TargetGroupArn": arn, "HealthCheckPath": path})
        delay = {"Key": "deregistration_delay.timeout_seconds", "Value": express.DEREGISTRATION_DELAY}
        if not record.made.target_groups:
            await self._call(
                record, "elbv2", "ModifyTargetGroupAttributes", {"TargetGroupArn": arn, "Attributes": [delay]}
            )
        return arn

    async def _rule(self, record: ExpressService) -> ExpressResources | None:
        if record.made.rule:
            return None
        listener = record.made.listener
        assert listener is not None, "it is made before"
        rules = await self._rules(record, listener)
        found = next((str(rule["RuleArn"]) for rule in rules if record.host in hosts_of(rule)), None)
        if found is None:
            taken = {int(rule["Priority"]) for rule in rules if not rule.get("IsDefault")}
            request = express.listener_rule(record, listener, express.free_priority(taken))
            found = str((await self._call(record, "elbv2", "CreateRule", request))["Rules"][0]["RuleArn"])
        return replace(record.made, rule=found)

    async def _task_definition(self, record: ExpressService) -> ExpressResources | None:
        if record.made.defined == record.generation:
            return None
        arn = record.wanted.task_definition_arn
        if arn is None:
            made = await self._call(record, "ecs", "RegisterTaskDefinition", express.task_definition(record))
            arn = str(made["taskDefinition"]["taskDefinitionArn"])
        return replace(record.made, task_definition=arn, defined=record.generation)

    async def run_service(self, record: ExpressService) -> None:
        """The ECS service is made of what is wanted, and scales as wanted. An identical request changes nothing."""
        service = self._view.get(SERVICES, record.arn)
        if service is None or service.status == "INACTIVE" or not record.applied:
            await self._call(record, "ecs", "CreateService", express.new_service(record))
        else:
            await self._call(record, "ecs", "UpdateService", express.changed_service(record, service.desired_count))
        target, scaling = express.scalable(record), record.wanted.scaling
        limits = {"MinCapacity": scaling.min_task_count, "MaxCapacity": scaling.max_task_count}
        await self._call(record, "application-autoscaling", "RegisterScalableTarget", {**target, **limits})
        await self._call(record, "application-autoscaling", "PutScalingPolicy", express.scaling_policy(record))
