"""Operations on target groups (semantics elbv2 §3.4, §5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import LAYER_4
from moorage.domain.target_group import TargetGroup
from moorage.services.base import RequestContext, operation
from moorage.services.elbv2 import attributes, health_checks, present, validate
from moorage.services.elbv2.common import ElbV2Base, the_load_balancer, the_target_group
from moorage.services.elbv2.quotas import MAX_TARGET_GROUPS
from moorage.services.elbv2.validate import invalid, unsupported
from moorage.store.api import Transaction
from moorage.store.elbv2_queries import in_use, load_balancers_of
from moorage.store.tables.elbv2 import TARGET_GROUP_USES, TARGET_GROUPS, TARGET_HEALTH, TARGETS


class TargetGroups(ElbV2Base):
    @operation("CreateTargetGroup")
    async def create_target_group(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        name = validate.target_group_name(params["Name"])
        kind = params.get("TargetType", "instance")
        protocol = _protocol(kind, params)
        if params.get("TargetControlPort") is not None:
            raise unsupported("Moorage has no target optimizer: a target control port cannot be specified")
        version = _protocol_version(protocol, params.get("ProtocolVersion"))
        check = health_checks.created(kind, protocol, version, params)
        tags = validate.tags(params.get("Tags"))
        vpc = params.get("VpcId")
        if vpc is not None and not await self.networks.vpc_exists(ctx.scope, vpc):
            raise invalid(f"The VPC ID '{vpc}' is not found")
        full_name = f"targetgroup/{name}/{self.ids.hex(16)}"
        wanted = TargetGroup(
            arn=ctx.scope.arn("elasticloadbalancing", full_name),
            account=ctx.account,
            region=ctx.region,
            name=name,
            full_name=full_name,
            target_type=kind,
            protocol=protocol,
            protocol_version=version,
            port=None if kind == "lambda" else validate.between("Target group port", params["Port"], 1, 65535),
            vpc_id=vpc,
            ip_address_type=params.get("IpAddressType", "ipv4"),
            health_check=check,
            created_at=self.clock.now(),
            tags=tags,
        )
        made = await self.store.update(lambda tx: _insert(tx, wanted))
        return {"TargetGroups": [self._show(made)]}

    @operation("DescribeTargetGroups")
    async def describe_target_groups(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        arns, names, owner = params.get("TargetGroupArns"), params.get("Names"), params.get("LoadBalancerArn")
        if not validate.only_one(arns, names, owner):
            raise invalid(
                "Target group names, target group ARNs, and a load balancer ARN cannot be specified at the same time"
            )
        shown, more = validate.page(params, self._selected(ctx, arns, names, owner), lambda record: record.name)
        return {"TargetGroups": [self._show(record) for record in shown], **more}

    @operation("ModifyTargetGroup")
    async def modify_target_group(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        def change(tx: Transaction) -> TargetGroup:
            record = the_target_group(tx, ctx, params["TargetGroupArn"])
            check = health_checks.modified(record, params)
            return tx.put(TARGET_GROUPS, msgspec.structs.replace(record, health_check=check))

        return {"TargetGroups": [self._show(await self.store.update(change))]}

    @operation("DeleteTargetGroup")
    async def delete_target_group(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        arn = validate.own_arn(ctx.scope, "target group", params["TargetGroupArn"])

        def change(tx: Transaction) -> None:
            if tx.get(TARGET_GROUPS, arn) is None:
                return
            if in_use(tx, arn):
                raise AwsError("ResourceInUse", f"Target group '{arn}' is currently in use by a listener or a rule")
            for target in list(tx.find(TARGETS, "target_group", arn)):
                tx.delete(TARGETS, target.key)
            for health in list(tx.find(TARGET_HEALTH, "target_group", arn)):
                tx.delete(TARGET_HEALTH, health.key)
            tx.delete(TARGET_GROUPS, arn)

        await self.store.update(change)
        return {}

    @operation("DescribeTargetGroupAttributes")
    async def describe_target_group_attributes(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        record = the_target_group(self.store, ctx, params["TargetGroupArn"])
        return {"Attributes": attributes.shown(attributes.of_target_group(record), record.attributes)}

    @operation("ModifyTargetGroupAttributes")
    async def modify_target_group_attributes(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        def change(tx: Transaction) -> TargetGroup:
            record = the_target_group(tx, ctx, params["TargetGroupArn"])
            rows = attributes.of_target_group(record)
            values = attributes.changed("Target group", rows, record.attributes, params["Attributes"])
            after = msgspec.structs.replace(record, attributes=values)
            attributes.check_target_group(after)
            everywhere = [one for one in tx.find(TARGETS, "target_group", after.arn) if one.availability_zone == "all"]
            if everywhere and attributes.stays_in_zone(after):
                raise attributes.no_zone(after)
            return tx.put(TARGET_GROUPS, after)

        record = await self.store.update(change)
        return {"Attributes": attributes.shown(attributes.of_target_group(record), record.attributes)}

    def _selected(
        self, ctx: RequestContext, arns: list[str] | None, names: list[str] | None, owner: str | None
    ) -> list[TargetGroup]:
        scope = (ctx.account, ctx.region)
        missing = AwsError("TargetGroupNotFound", "One or more target groups not found")
        if arns:
            wanted = [validate.own_arn(ctx.scope, "target group", arn) for arn in dict.fromkeys(arns)]
            found = [self.store.get(TARGET_GROUPS, arn) for arn in wanted]
            known = [record for record in found if record is not None]
            if len(known) < len(wanted):
                raise missing
            return known
        if names:
            by_name = [self.store.find(TARGET_GROUPS, "name", (*scope, name)) for name in dict.fromkeys(names)]
            if not all(by_name):
                raise missing
            return [record for records in by_name for record in records]
        if owner:
            return self._of_load_balancer(the_load_balancer(self.store, ctx, owner).arn)
        return list(self.store.find(TARGET_GROUPS, "scope", scope))

    def _of_load_balancer(self, arn: str) -> list[TargetGroup]:
        groups = {use.target_group_arn for use in self.store.find(TARGET_GROUP_USES, "load_balancer", arn)}
        return [record for group in groups if (record := self.store.get(TARGET_GROUPS, group)) is not None]

    def _show(self, record: TargetGroup) -> dict[str, Any]:
        return present.target_group(record, load_balancers_of(self.store, record.arn))


def _protocol(kind: str, params: Mapping[str, Any]) -> str | None:
    """None for functions, which are called and not connected to."""
    if kind == "lambda":
        for member, name in (("Port", "Port"), ("Protocol", "Protocol"), ("VpcId", "VPC ID")):
            if params.get(member) is not None:
                raise invalid(f"{name} cannot be specified for target groups with target type 'lambda'")
        return None
    if params.get("Port") is None:
        raise invalid("A port must be specified")
    if params.get("Protocol") is None:
        raise invalid("A protocol must be specified")
    if params.get("VpcId") is None:
        raise invalid("A VPC ID must be specified")
    protocol = str(params["Protocol"])
    if kind == "alb" and protocol != "TCP":
        raise invalid(
            f"Protocol '{protocol}' is not supported for target groups with target type 'alb'; it must be 'TCP'"
        )
    if protocol not in ("HTTP", "HTTPS", *LAYER_4):
        raise unsupported(f"Moorage has no data plane for target groups with the protocol '{protocol}' yet")
    return protocol


def _protocol_version(protocol: str | None, given: str | None) -> str | None:
    if protocol not in ("HTTP", "HTTPS"):
        if given is not None:
            what = f"with the {protocol} protocol" if protocol else "with target type 'lambda'"
            raise invalid(f"Protocol version cannot be specified for target groups {what}")
        return None
    if given is not None and given not in ("HTTP1", "HTTP2", "GRPC"):
        raise invalid(f"Protocol version '{given}' must be one of 'GRPC, HTTP1, HTTP2'")
    return given or "HTTP1"


def _insert(tx: Transaction, wanted: TargetGroup) -> TargetGroup:
    for existing in tx.find(TARGET_GROUPS, "name", (wanted.account, wanted.region, wanted.name)):
        if _settings(existing) == _settings(wanted):
            return existing
        raise AwsError(
            "DuplicateTargetGroupName",
            f"A target group with the same name '{wanted.name}' exists, but with different settings",
        )
    if len(tx.find(TARGET_GROUPS, "scope", (wanted.account, wanted.region))) >= MAX_TARGET_GROUPS:
        raise AwsError("TooManyTargetGroups", "The maximum number of target groups has been reached")
    return tx.put(TARGET_GROUPS, wanted)


def _settings(record: TargetGroup) -> tuple[object, ...]:
    return (
        record.target_type,
        record.protocol,
        record.protocol_version,
        record.port,
        record.vpc_id,
        record.ip_address_type,
        record.health_check,
        dict(record.tags),
    )
