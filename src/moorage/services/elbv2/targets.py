"""Registering, deregistering and describing targets (semantics elbv2 §3.4, §5). Health itself is found by control."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from moorage.decide.target_health import as_shown
from moorage.decide.target_traffic import unhealthy_draining_seconds
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.domain.target_group import NOT_REGISTERED, Target, TargetGroup, target_key
from moorage.services.base import RequestContext, operation
from moorage.services.elbv2 import attributes, places, present, validate
from moorage.services.elbv2.common import ElbV2Base, the_target_group
from moorage.services.elbv2.quotas import MAX_TARGETS
from moorage.store.api import Transaction
from moorage.store.elbv2_queries import current_health, in_use, target_state
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCERS, TARGETS

_IPV4_RANGES = tuple(
    ipaddress.ip_network(cidr)
    for cidr in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "127.0.0.0/8")
)
"""AWS's ranges, and this machine itself (a difference: handy for a process that runs outside any container)."""


_FUNCTION = re.compile(
    r"arn:aws[a-z-]*:lambda:[a-z0-9-]+:\d{12}:function:[A-Za-z0-9-_]{1,140}(:[A-Za-z0-9-_$]{1,128})?"
)


class InstanceLookup(Protocol):
    """The addresses at which running instances answer; instances that do not run are missing from the answer."""

    async def addresses(self, scope: Scope, instance_ids: Sequence[str]) -> dict[str, str]: ...


class AnomalyLookup(Protocol):
    """The proxy, as far as it knows which targets fail more than the others of their group."""

    async def passed_over(self, target_group_arn: str) -> frozenset[tuple[str, int]]:
        """(address, port) of the targets that get no traffic for that reason now."""
        ...


class Targets(ElbV2Base):
    instances: InstanceLookup | None = None
    anomalies: AnomalyLookup | None = None

    @operation("RegisterTargets")
    async def register_targets(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        group = the_target_group(self.store, ctx, params["TargetGroupArn"])
        given = params["Targets"]
        _check_members(group, given)
        reaches = await self._reachable(ctx.scope, group, [one["Id"] for one in given])
        given = await self._placed(ctx.scope, group, given)
        now = self.clock.now()

        def change(tx: Transaction) -> None:
            current = the_target_group(tx, ctx, group.arn)
            if current.target_type in ("alb", "lambda"):
                _check_alone(tx, current, given)
            if current.target_type == "alb":
                for one in given:
                    reaches[one["Id"]] = _load_balancer_behind(tx, ctx.scope, current, one)
            for one in given:
                target = _target(current, one, reaches.get(one["Id"]), now)
                before = tx.get(TARGETS, target.key)
                if before is None or before.deregistered_at is not None:
                    tx.put(TARGETS, target)
            if len(tx.find(TARGETS, "target_group", group.arn)) > MAX_TARGETS:
                raise AwsError(
                    "TooManyTargets", f"The maximum number of targets in target group '{group.arn}' has been reached"
                )

        await self.store.update(change)
        return {}

    @operation("DeregisterTargets")
    async def deregister_targets(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        now = self.clock.now()
        _check_members(the_target_group(self.store, ctx, params["TargetGroupArn"]), params["Targets"])

        def change(tx: Transaction) -> None:
            group = the_target_group(tx, ctx, params["TargetGroupArn"])
            used = in_use(tx, group.arn)
            for one in params["Targets"]:
                target = tx.get(TARGETS, target_key(group.arn, one["Id"], one.get("Port") or group.port or 0))
                if target is None or target.deregistered_at is not None:
                    continue
                if used:
                    tx.put(TARGETS, msgspec.structs.replace(target, deregistered_at=now))
                else:
                    tx.delete(TARGETS, target.key)  # nothing routes to it: nothing to drain

        await self.store.update(change)
        return {}

    @operation("DescribeTargetHealth")
    async def describe_target_health(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        group = the_target_group(self.store, ctx, params["TargetGroupArn"])
        registered = self.store.find(TARGETS, "target_group", group.arn)
        asked = params.get("Targets") or ()
        shown = [] if asked else [self._describe(group, target) for target in registered]
        for one in asked:
            port = one.get("Port")
            matching = [t for t in registered if t.id == one["Id"] and port in (None, t.port)]
            if matching:
                shown += [self._describe(group, target) for target in matching]
            else:
                named = {"Id": one["Id"], **({"Port": port or group.port} if port or group.port else {})}
                shown.append(present.target_health(named, group, NOT_REGISTERED))
        if {"AnomalyDetection", "All"} & set(params.get("Include") or ()):
            places = await self.anomalies.passed_over(group.arn) if self.anomalies is not None else frozenset()
            behind = {(target.id, target.port): (target.reaches or target.id, target.port) for target in registered}
            for one in shown:
                target = one["Target"]
                place = behind.get((target["Id"], target.get("Port", 0)))
                one["AnomalyDetection"] = present.anomaly(place in places)
        return {"TargetHealthDescriptions": shown}

    def _describe(self, group: TargetGroup, target: Target) -> dict[str, Any]:
        state = target_state(self.store, group.arn, target.id, target.port)
        health = current_health(self.store, target)
        shown = as_shown(state, health, unhealthy_draining_seconds(group), self.clock.now())
        return present.target_health(target, group, shown)

    async def _placed(
        self, scope: Scope, group: TargetGroup, given: Sequence[Mapping[str, Any]]
    ) -> Sequence[Mapping[str, Any]]:
        """With the Availability Zones of addresses."""
        if self.vpcs is None or group.target_type != "ip" or group.ip_address_type == "ipv6":
            return given
        subnets = await self.vpcs.subnets_of(scope, group.vpc_id or "")
        zones = [places.zone_of_target(one["Id"], one.get("AvailabilityZone"), subnets) for one in given]
        if "all" in zones and attributes.stays_in_zone(group):
            raise attributes.no_zone(group)
        return [{**one, "AvailabilityZone": zone} for one, zone in zip(given, zones, strict=True)]

    async def _reachable(self, scope: Scope, group: TargetGroup, ids: Sequence[str]) -> dict[str, str]:
        """By id, the address that answers, where it is not the id itself. Refuses ids that cannot be targets."""
        if group.target_type == "ip":
            for one in ids:
                _check_address(one, group)
            return {}
        if group.target_type == "lambda":
            for one in ids:
                _check_function(one)
        if group.target_type != "instance":
            return {}
        known = await self.instances.addresses(scope, ids) if self.instances is not None else {}
        if missing := [one for one in dict.fromkeys(ids) if one not in known]:
            quoted = ", ".join(f"'{one}'" for one in missing)
            raise AwsError(
                "InvalidTarget",
                f"The following targets are not in a running state and cannot be registered: {quoted}",
            )
        return known


def _check_members(group: TargetGroup, given: Sequence[Mapping[str, Any]]) -> None:
    """What a target of this kind of group may have beside its id."""
    if not given:
        raise validate.invalid("A target must be specified")
    kind = group.target_type
    for one in given:
        zone = one.get("AvailabilityZone")
        if zone is not None and kind in ("instance", "alb"):
            raise validate.invalid(
                f"Availability Zone cannot be specified for targets of target groups with target type '{kind}'"
            )
        if zone not in (None, "all") and kind == "lambda":
            raise validate.invalid(
                f"The Availability Zone '{zone}' must be 'all' for target groups with target type 'lambda'"
            )
        if one.get("QuicServerId") is not None:
            raise validate.invalid("A QUIC server ID can only be specified for target groups with the QUIC protocols")


def _target(group: TargetGroup, given: Mapping[str, Any], reaches: str | None, now: float) -> Target:
    function = group.target_type == "lambda"
    if function and given.get("Port"):
        raise validate.invalid("Port cannot be specified for targets of target groups with target type 'lambda'")
    return Target(
        target_group_arn=group.arn,
        id=given["Id"],
        port=0 if function else validate.between("Target port", given.get("Port") or group.port or 0, 1, 65535),
        availability_zone=given.get("AvailabilityZone"),
        registered_at=now,
        reaches=reaches,
    )


def _check_alone(tx: Transaction, group: TargetGroup, given: Sequence[Mapping[str, Any]]) -> None:
    """One load balancer or one function is all that such a target group can have."""
    there = {t.id for t in tx.find(TARGETS, "target_group", group.arn) if t.deregistered_at is None}
    if len(there | {one["Id"] for one in given}) > 1:
        raise AwsError(
            "TooManyTargets", f"The maximum number of targets in target group '{group.arn}' has been reached"
        )


def _load_balancer_behind(tx: Transaction, scope: Scope, group: TargetGroup, given: Mapping[str, Any]) -> str:
    """The address of the application load balancer that is to be the target of a network load balancer."""
    arn = given["Id"]
    record = (
        tx.get(LOAD_BALANCERS, arn) if validate.is_arn("load balancer", arn) and validate.here(scope, arn) else None
    )
    if record is None or record.type != "application":
        raise AwsError("InvalidTarget", f"The target '{arn}' is not a valid Application Load Balancer")
    if record.vpc_id != group.vpc_id:
        raise AwsError("InvalidTarget", f"The Application Load Balancer '{arn}' is not in VPC '{group.vpc_id}'")
    port = given.get("Port") or group.port
    if port != group.port:
        raise AwsError("InvalidTarget", f"The port of target '{arn}' must be that of the target group, '{group.port}'")
    if not any(listener.port == port for listener in tx.find(LISTENERS, "load_balancer", arn)):
        raise AwsError(
            "InvalidTarget", f"The Application Load Balancer '{arn}' does not have a listener on port '{port}'"
        )
    return record.loopback


def _check_function(arn: str) -> None:
    if not _FUNCTION.fullmatch(arn):
        raise AwsError("InvalidTarget", f"The target '{arn}' is not a valid Lambda function ARN")


def _check_address(text: str, group: TargetGroup) -> None:
    version = 6 if group.ip_address_type == "ipv6" else 4
    try:
        address = ipaddress.ip_address(text)
        if address.version != version:
            raise ValueError(text)
    except ValueError:
        raise validate.invalid(f"The IP address '{text}' is not a valid IPv{version} address") from None
    if version == 4 and not any(address in network for network in _IPV4_RANGES):
        raise AwsError(
            "InvalidTarget",
            f"The IP address '{text}' is not within the VPC CIDR or one of the ranges 10.0.0.0/8, 100.64.0.0/10, "
            "172.16.0.0/12 and 192.168.0.0/16",
        )
