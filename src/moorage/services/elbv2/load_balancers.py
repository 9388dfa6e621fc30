"""Operations on load balancers (semantics elbv2 §3.1). The state of a load balancer is written by control."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from moorage.decide.elbv2_addresses import lowest_free_loopback
from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import LoadBalancer, NodeAddress
from moorage.domain.network import Subnet
from moorage.services.base import RequestContext, operation
from moorage.services.elbv2 import attributes, log_buckets, places, present, validate
from moorage.services.elbv2.common import ElbV2Base, load_balancers_missing, the_load_balancer
from moorage.services.elbv2.hosted_zones import hosted_zone
from moorage.services.elbv2.node_addresses import addresses_after, check_addresses_free, node_address
from moorage.services.elbv2.quotas import MAX_LOAD_BALANCERS
from moorage.services.elbv2.validate import invalid, unsupported
from moorage.services.lookups import BucketLookup
from moorage.store.api import Transaction, View
from moorage.store.elbv2_queries import delete_load_balancer
from moorage.store.tables.elbv2 import LOAD_BALANCERS, TARGETS

_SUBNET_ID = re.compile(r"subnet-[0-9A-Za-z]+")


class LoadBalancers(ElbV2Base):
    buckets: BucketLookup | None = None

    @operation("CreateLoadBalancer")
    async def create_load_balancer(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        name = validate.load_balancer_name(params["Name"])
        kind, scheme = params.get("Type", "application"), params.get("Scheme", "internet-facing")
        if kind == "gateway":
            raise unsupported(f"Moorage has no data plane for load balancers of type '{kind}'; use 'network'")
        _check_address_type(params.get("IpAddressType", "ipv4"))
        _check_unsupported(params)
        tags = validate.tags(params.get("Tags"))
        subnets, addresses = await self._subnets(ctx, params, kind, scheme)
        vpc = subnets[0].vpc_id
        await self._check_place(ctx, subnets, scheme)
        groups = await self._security_groups(ctx, params.get("SecurityGroups") or (), vpc, kind)
        number = self.ids.hex(16)
        full_name = f"{'net' if kind == 'network' else 'app'}/{name}/{number}"
        wanted = LoadBalancer(
            arn=ctx.scope.arn("elasticloadbalancing", f"loadbalancer/{full_name}"),
            account=ctx.account,
            region=ctx.region,
            name=name,
            type=kind,
            scheme=scheme,
            dns_name=self._dns_name(kind, scheme, name, number, ctx.region),
            full_name=full_name,
            vpc_id=vpc,
            subnets=_with_zones(subnets),
            security_groups=groups,
            ip_address_type=params.get("IpAddressType", "ipv4"),
            canonical_hosted_zone_id=hosted_zone(kind, ctx.region),
            loopback="",
            created_at=self.clock.now(),
            tags=tags,
            addresses=addresses,
        )
        made = await self.store.update(lambda tx: _insert(tx, ctx, wanted))
        return {"LoadBalancers": [present.load_balancer(made)]}

    @operation("DescribeLoadBalancers")
    async def describe_load_balancers(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        arns, names = params.get("LoadBalancerArns"), params.get("Names")
        if not validate.only_one(arns, names):
            raise invalid("Load balancer names and load balancer ARNs cannot be specified at the same time")
        found: list[LoadBalancer]
        if arns:
            validate.at_most_named(len(arns), "load balancers")
            found = [the_load_balancer(self.store, ctx, arn) for arn in dict.fromkeys(arns)]
        elif names:
            validate.at_most_named(len(names), "load balancers")
            by_name = {name: self.store.find(LOAD_BALANCERS, "name", (*_key(ctx), name)) for name in names}
            if missing := [name for name, records in by_name.items() if not records]:
                raise load_balancers_missing(missing)
            found = [record for records in by_name.values() for record in records]
        else:
            found = list(self.store.find(LOAD_BALANCERS, "scope", _key(ctx)))
        shown, more = validate.page(params, found, lambda record: record.name)
        return {"LoadBalancers": [present.load_balancer(record) for record in shown], **more}

    @operation("DeleteLoadBalancer")
    async def delete_load_balancer(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        arn = validate.own_arn(ctx.scope, "load balancer", params["LoadBalancerArn"])

        def change(tx: Transaction) -> None:
            record = tx.get(LOAD_BALANCERS, arn)
            if record is None:
                return
            if record.attributes.get("deletion_protection.enabled") == "true":
                raise AwsError(
                    "OperationNotPermitted",
                    f"Load balancer '{arn}' cannot be deleted because deletion protection is enabled",
                )
            if any(target.deregistered_at is None for target in tx.find(TARGETS, "id", arn)):
                raise AwsError(
                    "ResourceInUse",
                    f"Load balancer '{arn}' cannot be deleted because it is currently associated with another service",
                )
            delete_load_balancer(tx, arn)

        await self.store.update(change)
        return {}

    @operation("DescribeLoadBalancerAttributes")
    async def describe_load_balancer_attributes(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        record = the_load_balancer(self.store, ctx, params["LoadBalancerArn"])
        return {"Attributes": attributes.shown(attributes.of_load_balancer(record), record.attributes)}

    @operation("ModifyLoadBalancerAttributes")
    async def modify_load_balancer_attributes(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        def after(view: View) -> LoadBalancer:
            record = the_load_balancer(view, ctx, params["LoadBalancerArn"])
            values = attributes.changed(
                "Load balancer",
                attributes.of_load_balancer(record),
                record.attributes,
                params["Attributes"],
                not_here=attributes.only_elsewhere(record.type),
            )
            attributes.check_load_balancer(record.attributes, values)
            return msgspec.structs.replace(record, attributes=values)

        def change(tx: Transaction) -> LoadBalancer:
            record = after(tx)
            log_buckets.places(record, params["Attributes"])
            return tx.put(LOAD_BALANCERS, record)

        wanted = after(self.store)
        for bucket, prefix in log_buckets.places(wanted, params["Attributes"]):
            if self.buckets is not None:
                log_buckets.check(await self.buckets.bucket_policy(ctx.scope, bucket), bucket, prefix, wanted)
        record = await self.store.update(change)
        return {"Attributes": attributes.shown(attributes.of_load_balancer(record), record.attributes)}

    @operation("SetSubnets")
    async def set_subnets(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        before = the_load_balancer(self.store, ctx, params["LoadBalancerArn"])
        subnets, addresses = await self._subnets(ctx, params, before.type, before.scheme)
        known = {subnet_id for subnet_id, _ in before.subnets}
        await self._check_place(ctx, [one for one in subnets if one.subnet_id not in known], before.scheme)
        if params.get("IpAddressType"):
            _check_address_type(params["IpAddressType"])
        _check_unsupported(params)

        def change(tx: Transaction) -> LoadBalancer:
            record = the_load_balancer(tx, ctx, before.arn)
            if subnets[0].vpc_id != record.vpc_id:
                raise _other_vpc(subnets, record.vpc_id)
            wanted = addresses_after(record, [subnet.subnet_id for subnet in subnets], addresses)
            check_addresses_free(tx, record, wanted)
            return tx.put(
                LOAD_BALANCERS,
                msgspec.structs.replace(
                    record,
                    subnets=_with_zones(subnets),
                    addresses=wanted,
                    ip_address_type=params.get("IpAddressType") or record.ip_address_type,
                ),
            )

        record = await self.store.update(change)
        return {
            "AvailabilityZones": present.zones(record),
            "IpAddressType": record.ip_address_type,
            "EnablePrefixForIpv6SourceNat": "off",
        }

    @operation("SetSecurityGroups")
    async def set_security_groups(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        before = the_load_balancer(self.store, ctx, params["LoadBalancerArn"])
        if not params["SecurityGroups"]:
            raise invalid("A security group must be specified")
        if before.type == "network" and not before.security_groups:
            raise AwsError(
                "InvalidConfigurationRequest",
                f"You cannot set security groups on load balancer '{before.arn}' because it was created without any",
            )
        groups = await self._security_groups(ctx, params["SecurityGroups"], before.vpc_id, before.type)
        rules = params.get("EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic") or ""
        if rules and before.type != "network":
            raise AwsError(
                "InvalidConfigurationRequest",
                "Security group inbound rules on PrivateLink traffic can be set only on load balancers with type 'network'",
            )

        def change(tx: Transaction) -> LoadBalancer:
            record = the_load_balancer(tx, ctx, before.arn)
            link = rules or record.private_link_rules
            after = msgspec.structs.replace(record, security_groups=groups, private_link_rules=link)
            return tx.put(LOAD_BALANCERS, after)

        return {**present.security_groups(await self.store.update(change))}

    @operation("SetIpAddressType")
    async def set_ip_address_type(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        kind = params["IpAddressType"]
        _check_address_type(kind)

        def change(tx: Transaction) -> None:
            record = the_load_balancer(tx, ctx, params["LoadBalancerArn"])
            tx.put(LOAD_BALANCERS, msgspec.structs.replace(record, ip_address_type=kind))

        await self.store.update(change)
        return {"IpAddressType": kind}

    @operation("ModifyIpPools")
    async def modify_ip_pools(self, ctx: RequestContext, params: dict[str, Any]) -> Mapping[str, Any]:
        """There are no pools, so that removing one changes nothing."""
        record = the_load_balancer(self.store, ctx, params["LoadBalancerArn"])
        if record.type != "application":
            raise AwsError(
                "InvalidConfigurationRequest",
                f"IPAM pools are not supported on load balancers with type '{record.type}'",
            )
        _check_unsupported(params)
        return {}

    def _dns_name(self, kind: str, scheme: str, name: str, number: str, region: str) -> str:
        """As AWS's, with `localhost` for `amazonaws.com`. `number`: the end of the load balancer's ARN."""
        if kind == "network":
            return f"{name}-{number}.elb.{region}.localhost"
        prefix = "internal-" if scheme == "internal" else ""
        return f"{prefix}{name}-{self.ids.digits(10)}.{region}.elb.localhost"

    async def _subnets(
        self, ctx: RequestContext, params: Mapping[str, Any], kind: str, scheme: str
    ) -> tuple[list[Subnet], tuple[NodeAddress, ...]]:
        """The subnets named by `Subnets` or `SubnetMappings`: known, one VPC, in Availability Zones of their own; and the
        addresses that the mappings choose."""
        plain, mappings = params.get("Subnets"), params.get("SubnetMappings")
        if not validate.only_one(plain, mappings):
            raise invalid("You can specify either subnets or subnet mappings, but not both")
        ids = list(plain or [mapping.get("SubnetId", "") for mapping in mappings or ()])
        for subnet_id in ids:
            if not _SUBNET_ID.fullmatch(subnet_id):
                raise AwsError("InvalidSubnet", f"The subnet ID '{subnet_id}' is not valid")
        if len(set(ids)) < len(ids):
            raise invalid("A subnet cannot be specified more than once")
        known = await self.networks.subnets(ctx.scope, ids) if ids else {}
        for subnet_id in ids:
            if subnet_id not in known:
                raise AwsError("SubnetNotFound", f"The subnet ID '{subnet_id}' does not exist")
        subnets = [known[subnet_id] for subnet_id in ids]
        if kind == "application" and len(subnets) < 2:
            raise invalid("At least two subnets in two different Availability Zones must be specified")
        if not subnets:
            raise invalid("At least one subnet must be specified")
        if len({subnet.availability_zone for subnet in subnets}) < len(subnets):
            raise AwsError(
                "InvalidConfigurationRequest",
                "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
            )
        if len({subnet.vpc_id for subnet in subnets}) > 1:
            raise _other_vpc(subnets, subnets[0].vpc_id)
        chosen = [mapping for mapping in mappings or () if set(mapping) - {"SubnetId"}]
        if chosen and kind != "network":
            raise invalid(f"Addresses in subnet mappings are not supported on load balancers with type '{kind}'")
        taken = [mapping["AllocationId"] for mapping in chosen if mapping.get("AllocationId")]
        elastic = await self.networks.elastic_addresses(ctx.scope, taken) if taken else {}
        return subnets, tuple(node_address(mapping, known[mapping["SubnetId"]], scheme, elastic) for mapping in chosen)

    async def _check_place(self, ctx: RequestContext, subnets: Sequence[Subnet], scheme: str) -> None:
        if self.vpcs is None or not subnets:
            return
        vpc = subnets[0].vpc_id
        if scheme == "internet-facing" and not await self.vpcs.has_internet_gateway(ctx.scope, vpc):
            raise AwsError("InvalidSubnet", f"VPC {vpc} has no internet gateway")
        for subnet in subnets:
            places.check_room(subnet, self.vpcs.free_addresses(subnet))

    async def _security_groups(self, ctx: RequestContext, given: Sequence[str], vpc: str, kind: str) -> tuple[str, ...]:
        """In the order given. When none is given: the VPC's default group, and none for a network load balancer."""
        ids = list(dict.fromkeys(given))
        if not ids and kind == "network":
            return ()
        if not ids:
            default = await self.networks.default_security_group(ctx.scope, vpc)
            return (default.group_id,) if default is not None else ()
        known = await self.networks.security_groups(ctx.scope, ids)
        if any(group_id not in known or known[group_id].vpc_id != vpc for group_id in ids):
            raise AwsError("InvalidConfigurationRequest", "One or more security groups are invalid")
        return tuple(ids)


def _key(ctx: RequestContext) -> tuple[str, str]:
    return (ctx.account, ctx.region)


def _check_address_type(kind: str) -> None:
    if kind != "ipv4":
        raise unsupported(f"Moorage load balancers answer on IPv4 only; IP address type '{kind}' is not supported yet")


def _check_unsupported(params: Mapping[str, Any]) -> None:
    """What would change how a load balancer is reached, and cannot here."""
    if (params.get("IpamPools") or {}).get("Ipv4IpamPoolId"):
        raise unsupported("Moorage has no IPAM pools that load balancers could take public IPv4 addresses from")
    if params.get("CustomerOwnedIpv4Pool"):
        raise unsupported("Moorage has no Outposts, and no customer-owned address pools")
    if params.get("EnablePrefixForIpv6SourceNat") == "on":
        raise unsupported("Moorage load balancers answer on IPv4 only; source NAT prefixes for IPv6 are not supported")


def _other_vpc(subnets: Sequence[Subnet], vpc: str) -> AwsError:
    wrong = ", ".join(subnet.subnet_id for subnet in subnets if subnet.vpc_id != vpc)
    return AwsError("InvalidConfigurationRequest", f"The following subnets are not in VPC '{vpc}': {wrong}")


def _with_zones(subnets: Sequence[Subnet]) -> tuple[tuple[str, str], ...]:
    return tuple((subnet.subnet_id, subnet.availability_zone) for subnet in subnets)


def _insert(tx: Transaction, ctx: RequestContext, wanted: LoadBalancer) -> LoadBalancer:
    for existing in tx.find(LOAD_BALANCERS, "name", (*_key(ctx), wanted.name)):
        if _settings(existing) == _settings(wanted):
            return existing
        raise AwsError(
            "DuplicateLoadBalancerName",
            f"A load balancer with the same name '{wanted.name}' exists, but with different settings",
        )
    siblings = tx.find(LOAD_BALANCERS, "scope", _key(ctx))
    if sum(one.type == wanted.type for one in siblings) >= MAX_LOAD_BALANCERS:
        raise AwsError("TooManyLoadBalancers", "The maximum number of load balancers has been reached")
    check_addresses_free(tx, wanted, wanted.addresses)
    address = lowest_free_loopback(lambda one: bool(tx.find(LOAD_BALANCERS, "loopback", one)))
    if address is None:
        raise AwsError("TooManyLoadBalancers", "Every loopback address for load balancers of this machine is taken")
    return tx.put(LOAD_BALANCERS, msgspec.structs.replace(wanted, loopback=address))


def _settings(record: LoadBalancer) -> tuple[object, ...]:
    """What must be the same for a second CreateLoadBalancer to be the same request."""
    return (
        record.type,
        record.scheme,
        frozenset(record.subnets),
        frozenset(record.security_groups),
        frozenset(record.addresses),
        record.ip_address_type,
        dict(record.tags),
    )
