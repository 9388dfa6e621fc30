"""EC2 networking of moto brought closer to AWS: a default VPC that reaches the internet, refusals in AWS's words.

Source: semantics around §3. Only the worker imports this module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from moorage.services.aws_backed.determinism import kept_key
from moorage.services.aws_backed.moto_modules import moto_module

_PROTOCOLS = {"-1": "ALL", "tcp": "TCP", "udp": "UDP", "icmp": "ICMP"}


class _Offerings:
    """Which instance types a region offers, read when somebody asks: all of them are 90 MB and half a second."""

    loadable = False

    def __init__(self, load: Callable[[str], Any], resource: str) -> None:
        self._load, self._resource = load, resource
        self._items: list[dict[str, Any]] | None = None

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Empty while moto.ec2 is imported, which marks every offering with its location type."""
        if not _Offerings.loadable:
            return iter(())
        if self._items is None:
            location_type = self._resource.split("/")[-2]
            self._items = [{**item, "LocationType": location_type} for item in self._load(self._resource)]
        return iter(self._items)


def before_import() -> None:
    """Must run before moto.ec2 is imported."""
    utils = moto_module("utilities.utils")
    load = utils.load_resource
    utils.load_resource = lambda path: _Offerings(load, path) if "instance_type_offerings" in path else load(path)


def mend() -> None:
    _Offerings.loadable = True
    _keep_keys()
    _default_vpc()
    _security_groups()


def _keep_keys() -> None:
    utils = moto_module("ec2.utils")

    class RecordedEd25519:
        generate = staticmethod(kept_key(utils.Ed25519PrivateKey.generate))

    utils.Ed25519PrivateKey = RecordedEd25519


def _default_vpc() -> None:
    """moto's default VPC has subnets, groups, a main route table and a network ACL, but no way out."""
    models = moto_module("ec2.models")
    backend = models.EC2Backend
    create_default_vpc = backend.create_default_vpc

    def create_connected_vpc(self: Any) -> Any:
        vpc = create_default_vpc(self)
        gateway = self.create_internet_gateway()
        self.attach_internet_gateway(gateway.id, vpc.id)
        main = self.describe_route_tables(filters={"vpc-id": [vpc.id], "association.main": ["true"]})[0]
        self.create_route(main.id, "0.0.0.0/0", gateway_id=gateway.id)
        internal = "ec2.internal" if self.region_name == "us-east-1" else f"{self.region_name}.compute.internal"
        options = self.create_dhcp_options(domain_name_servers=["AmazonProvidedDNS"], domain_name=[internal])
        self.associate_dhcp_options(options, vpc)
        return vpc

    backend.create_default_vpc = create_connected_vpc


def _security_groups() -> None:
    models = moto_module("ec2.models.security_groups")
    exceptions = moto_module("ec2.exceptions")
    backend = moto_module("ec2.models").EC2Backend
    refuse = exceptions.EC2ClientError

    create, describe, delete = (
        backend.create_security_group,
        backend.describe_security_groups,
        backend.delete_security_group,
    )

    def create_security_group(self: Any, name: str, description: str, vpc_id: str | None = None, **more: Any) -> Any:
        """moto's default groups let nothing in, not even from themselves."""
        try:
            group = create(self, name, description, vpc_id, **more)
        except exceptions.InvalidSecurityGroupDuplicateError as error:
            where = vpc_id or self.default_vpc.id
            sentence = f"The security group '{name}' already exists for VPC '{where}'"
            raise refuse("InvalidGroup.Duplicate", sentence) from error
        if more.get("is_default"):
            rule: dict[str, Any] = {"ip_protocol": "-1", "from_port": None, "to_port": None, "ip_ranges": []}
            self.authorize_security_group_ingress(
                group_name_or_id=group.id, source_groups=[{"GroupId": group.id}], vpc_id=group.vpc_id, **rule
            )
        return group

    def describe_security_groups(
        self: Any, group_ids: list[str] | None = None, groupnames: list[str] | None = None, filters: Any = None
    ) -> Any:
        """moto names the missing groups as a Python set."""
        if group_ids:
            known = {group.id for groups in self.groups.values() for group in groups.values()}
            missing = [group_id for group_id in group_ids if group_id not in known]
            if missing:
                raise refuse("InvalidGroup.NotFound", f"The security group '{missing[0]}' does not exist")
        return describe(self, group_ids, groupnames, filters)

    def delete_security_group(self: Any, name: str | None = None, group_id: str | None = None) -> Any:
        """moto deletes groups that others refer to."""
        if group_id and _referred_to(self, group_id):
            raise refuse("DependencyViolation", f"resource {group_id} has a dependent object")
        return delete(self, name, group_id)

    backend.create_security_group = create_security_group
    backend.describe_security_groups = describe_security_groups
    backend.delete_security_group = delete_security_group
    for direction in ("ingress", "egress"):
        _word_duplicates(backend, models, refuse, f"authorize_security_group_{direction}")


def _referred_to(backend: Any, group_id: str) -> bool:
    for groups in backend.groups.values():
        for group in groups.values():
            if group.id == group_id:
                continue
            for rule in (*group.ingress_rules, *group.egress_rules):
                if rule.source_group.get("GroupId") == group_id:
                    return True
    return any(group.id == group_id for interface in backend.enis.values() for group in interface.group_set or ())


def _word_duplicates(backend: Any, models: Any, refuse: Any, name: str) -> None:
    authorize = getattr(backend, name)

    def authorized(self: Any, **asked: Any) -> Any:
        try:
            return authorize(self, **asked)
        except models.InvalidPermissionDuplicateError as error:
            peers = [item.get("CidrIp") or item.get("CidrIpv6") for item in asked["ip_ranges"] or ()]
            peers += [source.get("GroupId") for source in asked.get("source_groups") or ()]
            protocol = asked["ip_protocol"]
            ports = "" if protocol == "-1" else f", from port: {asked['from_port']}, to port: {asked['to_port']}"
            text = f"peer: {peers[0] if peers else ''}, {_PROTOCOLS.get(protocol, protocol)}{ports}, ALLOW"
            raise refuse("InvalidPermission.Duplicate", f'the specified rule "{text}" already exists') from error

    setattr(backend, name, authorized)
