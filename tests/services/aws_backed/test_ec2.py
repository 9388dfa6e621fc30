"""The default VPC, security groups in AWS's words, and the network interfaces of tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from botocore.exceptions import ClientError
from front import Front

from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import LoadBalancer
from moorage.domain.network import NetworkInterface, Subnet
from moorage.domain.scope import Scope
from moorage.services.aws_backed.lookups import MotoNetworks, MotoRoles
from moorage.store.tables.elbv2 import LOAD_BALANCERS
from moorage.store.tables.network import NETWORK_INTERFACES, SUBNETS

SCOPE = Scope("000000000000", "us-east-1")
Client = Callable[..., Any]


def refused(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(ClientError) as refusal:
        call()
    return refusal.value.response["Error"]["Code"], refusal.value.response["Error"]["Message"]


def where(**filters: str) -> list[dict[str, Any]]:
    return [{"Name": name.replace("__", ".").replace("_", "-"), "Values": [value]} for name, value in filters.items()]


def default_vpc(ec2: Any) -> str:
    vpcs = ec2.describe_vpcs(Filters=[{"Name": "isDefault", "Values": ["true"]}])["Vpcs"]
    assert len(vpcs) == 1
    return str(vpcs[0]["VpcId"])


@pytest.mark.parametrize(("region", "zones"), [("us-east-1", 6), ("eu-central-1", 3)])
def test_the_default_vpc_is_what_guides_expect(client: Client, region: str, zones: int) -> None:
    ec2 = client("ec2", region)
    vpc = ec2.describe_vpcs(Filters=[{"Name": "is-default", "Values": ["true"]}])["Vpcs"][0]
    assert (vpc["CidrBlock"], vpc["IsDefault"]) == ("172.31.0.0/16", True)
    vpc_id = vpc["VpcId"]
    subnets = ec2.describe_subnets(Filters=where(vpc_id=vpc_id, default_for_az="true"))["Subnets"]
    assert [subnet["CidrBlock"] for subnet in subnets] == [f"172.31.{16 * index}.0/20" for index in range(zones)]
    assert all(subnet["MapPublicIpOnLaunch"] for subnet in subnets)
    assert len({subnet["AvailabilityZone"] for subnet in subnets}) == zones
    group = ec2.describe_security_groups(Filters=where(vpc_id=vpc_id, group_name="default"))["SecurityGroups"][0]
    assert group["IpPermissions"][0]["UserIdGroupPairs"][0]["GroupId"] == group["GroupId"]
    assert group["IpPermissionsEgress"][0]["IpRanges"] == [{"CidrIp": "0.0.0.0/0"}]
    gateway = ec2.describe_internet_gateways(Filters=where(attachment__vpc_id=vpc_id))["InternetGateways"][0]
    main = ec2.describe_route_tables(Filters=where(vpc_id=vpc_id, association__main="true"))["RouteTables"][0]
    routes = {route["DestinationCidrBlock"]: route["GatewayId"] for route in main["Routes"]}
    assert routes == {"172.31.0.0/16": "local", "0.0.0.0/0": gateway["InternetGatewayId"]}
    assert ec2.describe_network_acls(Filters=where(vpc_id=vpc_id))["NetworkAcls"]
    assert ec2.describe_vpc_attribute(VpcId=vpc_id, Attribute="enableDnsHostnames")["EnableDnsHostnames"]["Value"]
    assert refused(ec2.create_default_vpc)[0] == "DefaultVpcAlreadyExists"
    available = ec2.describe_availability_zones()["AvailabilityZones"]
    assert len(available) == zones
    assert {zone["State"] for zone in available} == {"available"}


def test_accounts_and_regions_have_default_vpcs_of_their_own(client: Client) -> None:
    found = {
        default_vpc(client("ec2", region, key=key))
        for region in ("us-east-1", "us-west-2")
        for key in ("test", "1" * 12)
    }
    assert len(found) == 4


def test_security_groups_refuse_in_the_words_of_aws(client: Client) -> None:
    ec2 = client("ec2")
    vpc = default_vpc(ec2)
    front = ec2.create_security_group(GroupName="front", Description="d", VpcId=vpc)["GroupId"]
    back = ec2.create_security_group(GroupName="back", Description="d", VpcId=vpc)["GroupId"]
    http = {"IpProtocol": "tcp", "FromPort": 80, "ToPort": 80, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    from_front = {"IpProtocol": "tcp", "FromPort": 8000, "ToPort": 8000, "UserIdGroupPairs": [{"GroupId": front}]}
    ec2.authorize_security_group_ingress(GroupId=front, IpPermissions=[http])
    ec2.authorize_security_group_ingress(GroupId=back, IpPermissions=[from_front])
    assert refused(lambda: ec2.create_security_group(GroupName="front", Description="d", VpcId=vpc)) == (
        "InvalidGroup.Duplicate",
        f"The security group 'front' already exists for VPC '{vpc}'",
    )
    assert refused(lambda: ec2.authorize_security_group_ingress(GroupId=front, IpPermissions=[http])) == (
        "InvalidPermission.Duplicate",
        'the specified rule "peer: 0.0.0.0/0, TCP, from port: 80, to port: 80, ALLOW" already exists',
    )
    assert refused(lambda: ec2.delete_security_group(GroupId=front)) == (
        "DependencyViolation",
        f"resource {front} has a dependent object",
    )
    missing = "sg-0123456789abcdef0"
    assert refused(lambda: ec2.describe_security_groups(GroupIds=[missing])) == (
        "InvalidGroup.NotFound",
        f"The security group '{missing}' does not exist",
    )
    default = ec2.describe_security_groups(Filters=where(vpc_id=vpc, group_name="default"))["SecurityGroups"][0]
    assert refused(lambda: ec2.delete_security_group(GroupId=default["GroupId"]))[0] == "CannotDelete"
    rules = ec2.describe_security_group_rules(Filters=where(group_id=back))["SecurityGroupRules"]
    assert [rule["ReferencedGroupInfo"]["GroupId"] for rule in rules if not rule["IsEgress"]] == [front]
    ec2.delete_security_group(GroupId=back)
    ec2.delete_security_group(GroupId=front)


# ── What Moorage made itself ─────────────────────────────────────────────────────────────────────────────────────────


def an_interface(subnet_id: str, group: str, number: int = 1, **changes: Any) -> NetworkInterface:
    interface = NetworkInterface(
        account=SCOPE.account,
        region=SCOPE.region,
        interface_id=f"eni-0000000000000000{number}",
        subnet_id=subnet_id,
        ipv4=f"172.31.0.{10 + number}",
        mac=f"02:42:ac:1f:00:0{number}",
        security_groups=(group,),
        owner_arn=f"arn:aws:ecs:us-east-1:000000000000:task/default/{number}",
        description="arn:aws:ecs:us-east-1:000000000000:attachment/11111111-2222-3333-4444-555555555555",
    )
    return msgspec.structs.replace(interface, **changes)


def put(front: Front, table: Any, *records: Any) -> None:
    front.run(front.store.update(lambda transaction: [transaction.put(table, record) for record in records]))  # type: ignore[arg-type]


def remove(front: Front, table: Any, *keys: str) -> None:
    front.run(front.store.update(lambda transaction: [transaction.delete(table, key) for key in keys]))  # type: ignore[arg-type]


def test_interfaces_of_tasks_are_seen_beside_those_of_moto(front: Front) -> None:
    ec2 = front.client("ec2")
    vpc = default_vpc(ec2)
    subnet = ec2.describe_subnets(Filters=where(vpc_id=vpc))["Subnets"][0]
    group = ec2.create_security_group(GroupName="tasks", Description="d", VpcId=vpc)["GroupId"]
    theirs = ec2.create_network_interface(SubnetId=subnet["SubnetId"])["NetworkInterface"]["NetworkInterfaceId"]
    with_address = an_interface(subnet["SubnetId"], group, 1, public_ipv4="127.0.20.1")
    without = an_interface(subnet["SubnetId"], group, 2)
    put(front, NETWORK_INTERFACES, with_address, without)

    everything = ec2.describe_network_interfaces()["NetworkInterfaces"]
    assert {with_address.interface_id, without.interface_id, theirs} <= {i["NetworkInterfaceId"] for i in everything}
    one = ec2.describe_network_interfaces(NetworkInterfaceIds=[with_address.interface_id])["NetworkInterfaces"]
    assert len(one) == 1
    assert one[0]["Association"]["PublicIp"] == "127.0.20.1"
    assert one[0]["AvailabilityZone"] == subnet["AvailabilityZone"]
    assert one[0]["Groups"] == [{"GroupId": group, "GroupName": "tasks"}]
    assert (one[0]["RequesterManaged"], one[0]["Status"], one[0]["VpcId"]) == (True, "in-use", vpc)
    both = ec2.describe_network_interfaces(NetworkInterfaceIds=[without.interface_id, theirs])["NetworkInterfaces"]
    assert [each["NetworkInterfaceId"] for each in both] == [without.interface_id, theirs]
    mine = ec2.describe_network_interfaces(Filters=where(group_id=group, description="arn:aws:ecs:*"))
    assert len(mine["NetworkInterfaces"]) == 2
    filtered = ec2.describe_network_interfaces(Filters=where(association__public_ip="127.0.20.1"))
    assert [each["NetworkInterfaceId"] for each in filtered["NetworkInterfaces"]] == [with_address.interface_id]
    code, _ = refused(lambda: ec2.describe_network_interfaces(NetworkInterfaceIds=["eni-99999999999999999"]))
    assert code == "InvalidNetworkInterfaceID.NotFound"

    in_use = refused(lambda: ec2.delete_security_group(GroupId=group))
    assert in_use == ("DependencyViolation", f"resource {group} has a dependent object")
    assert refused(lambda: ec2.delete_subnet(SubnetId=subnet["SubnetId"]))[0] == "DependencyViolation"
    assert refused(lambda: ec2.delete_network_interface(NetworkInterfaceId=without.interface_id))[0] == (
        "InvalidParameterValue"
    )
    remove(front, NETWORK_INTERFACES, *(NETWORK_INTERFACES.key(each) for each in (with_address, without)))
    ec2.delete_security_group(GroupId=group)


def test_what_a_load_balancer_stands_on_cannot_be_deleted(front: Front) -> None:
    ec2 = front.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.77.1.0/24")["Subnet"]["SubnetId"]
    group = ec2.create_security_group(GroupName="alb", Description="d", VpcId=vpc)["GroupId"]
    arn = "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/web/50dc6c495c0c9188"
    load_balancer = LoadBalancer(
        arn=arn,
        account=SCOPE.account,
        region=SCOPE.region,
        name="web",
        type="application",
        scheme="internal",
        dns_name="web.elb.localhost",
        full_name="app/web/50dc6c495c0c9188",
        vpc_id=vpc,
        subnets=((subnet, "us-east-1a"),),
        security_groups=(group,),
        ip_address_type="ipv4",
        canonical_hosted_zone_id="Z35SXDOTRQ7X7K",
        loopback="127.0.10.1",
        created_at=0.0,
    )
    put(front, LOAD_BALANCERS, load_balancer)
    assert refused(lambda: ec2.delete_security_group(GroupId=group))[0] == "DependencyViolation"
    node = an_interface(subnet, group, 5, owner_arn=arn, description=f"ELB {load_balancer.full_name}")
    put(front, NETWORK_INTERFACES, node)
    as_terraform_asks = where(attachment__instance_owner_id="amazon-elb", description=node.description)
    shown = ec2.describe_network_interfaces(Filters=as_terraform_asks)["NetworkInterfaces"]
    assert [(one["NetworkInterfaceId"], one["RequesterId"]) for one in shown] == [(node.interface_id, "amazon-elb")]
    remove(front, NETWORK_INTERFACES, NETWORK_INTERFACES.key(node))
    assert refused(lambda: ec2.delete_subnet(SubnetId=subnet)) == (
        "DependencyViolation",
        f"The subnet '{subnet}' has dependencies and cannot be deleted.",
    )
    remove(front, LOAD_BALANCERS, arn)
    ec2.delete_security_group(GroupId=group)
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_vpc(VpcId=vpc)


# ── What other services ask ──────────────────────────────────────────────────────────────────────────────────────────


def test_subnets_are_copied_when_first_used_and_followed_when_they_change(front: Front) -> None:
    ec2 = front.client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.88.0.0/16")["Vpc"]["VpcId"]
    subnet_id = ec2.create_subnet(VpcId=vpc, CidrBlock="10.88.1.0/24", AvailabilityZone="us-east-1b")["Subnet"][
        "SubnetId"
    ]
    networks = MotoNetworks(front.backed, front.store)

    found = front.run(networks.subnets(SCOPE, [subnet_id, "subnet-nowhere", subnet_id]))
    subnet = Subnet(SCOPE.account, SCOPE.region, subnet_id, vpc, "10.88.1.0/24", "us-east-1b")
    assert found == {subnet_id: subnet}
    assert front.store.get(SUBNETS, SUBNETS.key(subnet)) == subnet
    put(front, SUBNETS, msgspec.structs.replace(subnet, host_cidr="10.200.0.0/24"))
    ec2.modify_subnet_attribute(SubnetId=subnet_id, MapPublicIpOnLaunch={"Value": True})
    changed = msgspec.structs.replace(subnet, host_cidr="10.200.0.0/24", map_public_ip=True)
    assert front.run(networks.subnets(SCOPE, [subnet_id])) == {subnet_id: changed}
    ec2.delete_subnet(SubnetId=subnet_id)
    assert front.run(networks.subnets(SCOPE, [subnet_id])) == {}
    assert front.store.get(SUBNETS, SUBNETS.key(subnet)) is None


def test_copied_subnets_need_no_worker(fronts: Callable[[], Front]) -> None:
    front = fronts()
    subnet = Subnet(SCOPE.account, SCOPE.region, "subnet-1", "vpc-1", "10.0.0.0/24", "us-east-1a")
    put(front, SUBNETS, subnet)
    networks = MotoNetworks(front.backed, front.store)
    assert front.run(networks.subnets(SCOPE, ["subnet-1"])) == {"subnet-1": subnet}
    assert not front.backed.loaded


def test_groups_vpcs_and_roles(front: Front) -> None:
    ec2 = front.client("ec2")
    vpc = default_vpc(ec2)
    networks, roles = MotoNetworks(front.backed, front.store), MotoRoles(front.backed)
    default = front.run(networks.default_security_group(SCOPE, vpc))
    assert default is not None
    assert front.run(networks.security_groups(SCOPE, [default.group_id, "sg-nowhere"])) == {default.group_id: default}
    assert front.run(networks.vpc_exists(SCOPE, vpc))
    assert not front.run(networks.vpc_exists(SCOPE, "vpc-nowhere"))
    assert front.run(networks.default_security_group(SCOPE, "vpc-nowhere")) is None

    assert front.run(networks.has_internet_gateway(SCOPE, vpc))
    shut = ec2.create_vpc(CidrBlock="10.77.0.0/16")["Vpc"]["VpcId"]
    assert not front.run(networks.has_internet_gateway(SCOPE, shut))
    subnet = ec2.create_subnet(VpcId=shut, CidrBlock="10.77.1.0/28")["Subnet"]["SubnetId"]
    found = front.run(networks.subnets_of(SCOPE, shut))
    assert [(one.subnet_id, networks.free_addresses(one)) for one in found] == [(subnet, 11)]
    put(front, NETWORK_INTERFACES, an_interface(subnet, default.group_id, 7, ipv4="10.77.1.9"))
    assert networks.free_addresses(found[0]) == 10
    remove(front, NETWORK_INTERFACES, NETWORK_INTERFACES.key(an_interface(subnet, default.group_id, 7)))

    arn = "arn:aws:iam::000000000000:role/path/mine"
    assert not front.run(roles.role_exists(SCOPE, arn))
    trust = '{"Version":"2012-10-17","Statement":[]}'
    front.client("iam").create_role(RoleName="mine", Path="/path/", AssumeRolePolicyDocument=trust)
    assert front.run(roles.role_exists(SCOPE, arn))
    assert not front.run(roles.role_exists(SCOPE, "arn:aws:iam::000000000000:role/mine"))
    assert not front.run(roles.role_exists(SCOPE, "arn:aws:iam::111111111111:role/path/mine"))
    assert not front.run(roles.role_exists(SCOPE, "nonsense"))


def test_internal_calls_raise_the_services_own_refusals(front: Front) -> None:
    with pytest.raises(AwsError) as refusal:
        front.run(front.backed.call(SCOPE, "iam", "GetRole", {"RoleName": "nobody"}))
    assert (refusal.value.code, refusal.value.status) == ("NoSuchEntity", 404)
    with pytest.raises(AwsError) as bad:
        front.run(front.backed.call(SCOPE, "iam", "GetRole", {}))
    assert bad.value.code == "ValidationException"


def test_many_internal_calls_at_once(front: Front) -> None:
    async def ask() -> list[dict[str, Any]]:
        scopes = [Scope(f"{index:012d}", "us-east-1") for index in range(5)]
        calls = [front.backed.call(scope, "sts", "GetCallerIdentity", {}) for scope in scopes]
        return await asyncio.gather(*calls)

    assert [answer["Account"] for answer in front.run(ask())] == [f"{index:012d}" for index in range(5)]
