"""Network load balancers, their listeners and target groups through the API (semantics elbv2 §3, §4, §13)."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.domain.errors import AwsError
from moorage.domain.network import NetworkInterface
from moorage.store.tables.elbv2 import LISTENERS
from moorage.store.tables.network import NETWORK_INTERFACES

from .rig import ACCOUNT, REGION, Rig, certificate, fixed, forward

NETWORK: dict[str, Any] = {"Type": "network"}


async def a_network(elb: Rig, name: str = "net", **params: Any) -> dict[str, Any]:
    where = {} if "SubnetMappings" in params else {"Subnets": ["subnet-a"]}
    made = await elb.call("CreateLoadBalancer", Name=name, **{**NETWORK, **where, **params})
    return dict(made["LoadBalancers"][0])


async def a_group(elb: Rig, name: str = "db", protocol: str = "TCP", **params: Any) -> str:
    made = await elb.target_group(name, Protocol=protocol, Port=5432, **params)
    return str(made["TargetGroupArn"])


async def listen(elb: Rig, balancer: str, *groups: str, protocol: str = "TCP", port: int = 5432, **params: Any) -> Any:
    params = {"DefaultActions": [forward(*groups)], **params}
    call = {"LoadBalancerArn": balancer, "Protocol": protocol, "Port": port, **params}
    return (await elb.call("CreateListener", **call))["Listeners"][0]


async def test_shape(elb: Rig) -> None:
    made = await a_network(elb)
    number = made["LoadBalancerArn"].rpartition("/")[2]
    assert made["LoadBalancerArn"].endswith(f":loadbalancer/net/net/{number}")
    assert made["DNSName"] == f"net-{number}.elb.us-east-1.localhost"
    assert made["CanonicalHostedZoneId"] == "Z26RNL4JYFTOTI"
    assert made["Type"] == "network"
    assert made["State"] == {"Code": "provisioning"}
    assert "SecurityGroups" not in made
    assert [zone["SubnetId"] for zone in made["AvailabilityZones"]] == ["subnet-a"]
    again = await a_network(elb)
    assert again["LoadBalancerArn"] == made["LoadBalancerArn"]


async def test_an_internal_one_has_no_prefix(elb: Rig) -> None:
    assert (await a_network(elb, Scheme="internal"))["DNSName"].startswith("net-")


async def test_addresses_of_subnet_mappings(elb: Rig) -> None:
    mappings = [{"SubnetId": "subnet-a", "AllocationId": "eipalloc-1"}, {"SubnetId": "subnet-b"}]
    made = await elb.call("CreateLoadBalancer", Name="net", SubnetMappings=mappings, **NETWORK)
    zones = made["LoadBalancers"][0]["AvailabilityZones"]
    assert [zone["LoadBalancerAddresses"] for zone in zones] == [
        [{"IpAddress": "198.51.100.7", "AllocationId": "eipalloc-1"}],
        [],
    ]
    private = [{"SubnetId": "subnet-a", "PrivateIPv4Address": "10.0.0.20"}]
    made = await elb.call("CreateLoadBalancer", Name="in", Scheme="internal", SubnetMappings=private, **NETWORK)
    zone = made["LoadBalancers"][0]["AvailabilityZones"][0]
    assert zone["LoadBalancerAddresses"] == [{"PrivateIPv4Address": "10.0.0.20"}]


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        ({"Subnets": []}, "ValidationError", "At least one subnet must be specified"),
        (
            {"Subnets": ["subnet-b", "subnet-b2"]},
            "InvalidConfigurationRequest",
            "A load balancer cannot be attached to multiple subnets in the same Availability Zone",
        ),
        (
            {"SubnetMappings": [{"SubnetId": "subnet-a", "AllocationId": "eipalloc-unknown"}]},
            "AllocationIdNotFound",
            "The allocation ID 'eipalloc-unknown' does not exist",
        ),
        (
            {"Scheme": "internal", "SubnetMappings": [{"SubnetId": "subnet-a", "AllocationId": "eipalloc-1"}]},
            "ValidationError",
            "Elastic IP addresses cannot be specified for load balancers with scheme 'internal'",
        ),
        (
            {"SubnetMappings": [{"SubnetId": "subnet-a", "PrivateIPv4Address": "10.0.0.20"}]},
            "ValidationError",
            "Private IPv4 addresses can be specified only for load balancers with scheme 'internal'",
        ),
        (
            {"Scheme": "internal", "SubnetMappings": [{"SubnetId": "subnet-a", "PrivateIPv4Address": "10.9.0.20"}]},
            "ValidationError",
            "The IP address '10.9.0.20' is not within the CIDR '10.0.0.0/24' of subnet 'subnet-a'",
        ),
        (
            {"Scheme": "internal", "SubnetMappings": [{"SubnetId": "subnet-a", "PrivateIPv4Address": "x"}]},
            "ValidationError",
            "The IP address 'x' is not a valid IPv4 address",
        ),
        (
            {"Scheme": "internal", "SubnetMappings": [{"SubnetId": "subnet-a", "PrivateIPv4Address": "10.0.0.2"}]},
            "ValidationError",
            "The IP address '10.0.0.2' is reserved in subnet 'subnet-a'",
        ),
        ({"SecurityGroups": ["sg-3"]}, "InvalidConfigurationRequest", "One or more security groups are invalid"),
    ],
)
async def test_refusals(elb: Rig, params: dict[str, Any], code: str, message: str) -> None:
    base = {} if "SubnetMappings" in params else {"Subnets": ["subnet-a"]}
    refusal = await elb.refused("CreateLoadBalancer", Name="net", **NETWORK, **{**base, **params})
    assert (refusal.code, refusal.message) == (code, message)


def private(address: str, subnet: str = "subnet-a") -> dict[str, str]:
    return {"SubnetId": subnet, "PrivateIPv4Address": address}


async def test_an_address_has_one_owner(elb: Rig) -> None:
    await a_network(elb, "one", Scheme="internal", SubnetMappings=[private("10.0.0.20")])
    await a_network(elb, "two", SubnetMappings=[{"SubnetId": "subnet-a", "AllocationId": "eipalloc-1"}])
    of_a_task = NetworkInterface(
        ACCOUNT, REGION, "eni-1", "subnet-a", "10.0.0.21", "02:42:0a:00:00:15", (), "arn:aws:ecs:task", ""
    )
    await elb.store.update(lambda tx: tx.put(NETWORK_INTERFACES, of_a_task))
    for scheme, mapping, said in (
        ("internal", private("10.0.0.20"), "The IP address '10.0.0.20' is already in use"),
        ("internal", private("10.0.0.21"), "The IP address '10.0.0.21' is already in use"),
        (
            "internet-facing",
            {"SubnetId": "subnet-a", "AllocationId": "eipalloc-1"},
            "The allocation ID 'eipalloc-1' is already in use",
        ),
    ):
        refusal = await elb.refused(
            "CreateLoadBalancer", Name="three", Scheme=scheme, SubnetMappings=[mapping], **NETWORK
        )
        assert (refusal.code, refusal.message) == ("ResourceInUse", said)


async def test_a_subnet_that_stays_keeps_its_address(elb: Rig) -> None:
    mappings = [private("10.0.0.20")]
    arn = (await a_network(elb, Scheme="internal", SubnetMappings=mappings))["LoadBalancerArn"]

    def shown(answer: Any) -> list[Any]:
        return [zone["LoadBalancerAddresses"] for zone in answer["AvailabilityZones"]]

    answer = await elb.call("SetSubnets", LoadBalancerArn=arn, Subnets=["subnet-a", "subnet-b"])
    assert shown(answer) == [[{"PrivateIPv4Address": "10.0.0.20"}], []]
    refusal = await elb.refused("SetSubnets", LoadBalancerArn=arn, SubnetMappings=[private("10.0.0.30")])
    assert (refusal.code, refusal.message) == (
        "InvalidConfigurationRequest",
        "The address of the load balancer in subnet 'subnet-a' cannot be changed",
    )
    await elb.call("SetSubnets", LoadBalancerArn=arn, Subnets=["subnet-b"])
    answer = await elb.call(
        "SetSubnets", LoadBalancerArn=arn, SubnetMappings=[private("10.0.0.30"), {"SubnetId": "subnet-b"}]
    )
    assert shown(answer) == [[{"PrivateIPv4Address": "10.0.0.30"}], []]


async def test_security_groups_only_when_there_were_some(elb: Rig) -> None:
    without = (await a_network(elb))["LoadBalancerArn"]
    refusal = await elb.refused("SetSecurityGroups", LoadBalancerArn=without, SecurityGroups=["sg-1"])
    assert refusal.code == "InvalidConfigurationRequest"
    guarded = await a_network(elb, "guarded", SecurityGroups=["sg-1"])
    assert guarded["SecurityGroups"] == ["sg-1"]
    answer = await elb.call(
        "SetSecurityGroups",
        LoadBalancerArn=guarded["LoadBalancerArn"],
        SecurityGroups=["sg-2"],
        EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic="off",
    )
    assert answer == {
        "SecurityGroupIds": ["sg-2"],
        "EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic": "off",
    }


async def test_attributes(elb: Rig) -> None:
    arn = (await a_network(elb))["LoadBalancerArn"]
    shown = (await elb.call("DescribeLoadBalancerAttributes", LoadBalancerArn=arn))["Attributes"]
    assert {one["Key"]: one["Value"] for one in shown} == {
        "access_logs.s3.enabled": "false",
        "access_logs.s3.bucket": "",
        "access_logs.s3.prefix": "",
        "deletion_protection.enabled": "false",
        "dns_record.client_routing_policy": "any_availability_zone",
        "ipv6.deny_all_igw_traffic": "false",
        "load_balancing.cross_zone.enabled": "false",
        "secondary_ips.auto_assigned.per_subnet": "0",
        "zonal_shift.config.enabled": "false",
    }
    wrong = [{"Key": "idle_timeout.timeout_seconds", "Value": "60"}]
    refusal = await elb.refused("ModifyLoadBalancerAttributes", LoadBalancerArn=arn, Attributes=wrong)
    assert (refusal.code, refusal.message) == (
        "InvalidConfigurationRequest",
        "Load balancer attribute key 'idle_timeout.timeout_seconds' is not supported on load balancers with type 'network'",
    )


async def test_listener(elb: Rig) -> None:
    arn = (await a_network(elb))["LoadBalancerArn"]
    group = await a_group(elb)
    made = await listen(elb, arn, group)
    assert made["Protocol"] == "TCP"
    assert made["DefaultActions"][0]["TargetGroupArn"] == group
    assert "SslPolicy" not in made
    attributes = await elb.call("DescribeListenerAttributes", ListenerArn=made["ListenerArn"])
    assert attributes["Attributes"] == [{"Key": "tcp.idle_timeout.seconds", "Value": "350"}]
    rules = (await elb.call("DescribeRules", ListenerArn=made["ListenerArn"]))["Rules"]
    assert [rule["Priority"] for rule in rules] == ["default"]


async def test_the_idle_timeout_of_tls_listeners_is_fixed(elb: Rig) -> None:
    arn = (await a_network(elb))["LoadBalancerArn"]
    made = await listen(elb, arn, await a_group(elb))
    key = "tcp.idle_timeout.seconds"
    given = [{"Key": key, "Value": "60"}]
    await elb.call("ModifyListenerAttributes", ListenerArn=made["ListenerArn"], Attributes=given)
    one = [{"CertificateArn": certificate("a")}]
    await elb.call("ModifyListener", ListenerArn=made["ListenerArn"], Protocol="TLS", Certificates=one)
    assert [dict(one.attributes) for one in elb.store.all(LISTENERS)] == [{}]
    shown = await elb.call("DescribeListenerAttributes", ListenerArn=made["ListenerArn"])
    assert shown["Attributes"] == []
    refusal = await elb.refused("ModifyListenerAttributes", ListenerArn=made["ListenerArn"], Attributes=given)
    assert (refusal.code, refusal.message) == ("ValidationError", f"Listener attribute key '{key}' is not recognized")


async def test_weighted_target_groups(elb: Rig) -> None:
    arn = (await a_network(elb))["LoadBalancerArn"]
    made = await listen(elb, arn, await a_group(elb, "blue"), await a_group(elb, "green"))
    assert len(made["DefaultActions"][0]["ForwardConfig"]["TargetGroups"]) == 2


async def test_tls(elb: Rig) -> None:
    arn = (await a_network(elb))["LoadBalancerArn"]
    group = await a_group(elb)
    secured: dict[str, Any] = {"Certificates": [{"CertificateArn": certificate("a")}], "AlpnPolicy": ["HTTP2Preferred"]}
    made = await listen(elb, arn, group, protocol="TLS", port=443, **secured)
    assert made["SslPolicy"] == "ELBSecurityPolicy-2016-08"
    assert made["AlpnPolicy"] == ["HTTP2Preferred"]
    assert made["Certificates"] == [{"CertificateArn": certificate("a")}]
    more = [{"CertificateArn": certificate("b")}]
    await elb.call("AddListenerCertificates", ListenerArn=made["ListenerArn"], Certificates=more)
    changed = await elb.call("ModifyListener", ListenerArn=made["ListenerArn"], AlpnPolicy=["None"])
    assert changed["Listeners"][0]["AlpnPolicy"] == ["None"]
    plain = (await elb.call("ModifyListener", ListenerArn=made["ListenerArn"], Protocol="TCP"))["Listeners"][0]
    assert not {"SslPolicy", "Certificates", "AlpnPolicy"} & set(plain)


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        (
            {"Protocol": "HTTP"},
            "ValidationError",
            "Listener protocol 'HTTP' must be one of 'TCP, TLS, UDP, TCP_UDP, QUIC, TCP_QUIC'",
        ),
        (
            {"Protocol": "QUIC"},
            "UnsupportedOperation",
            "Moorage has no data plane for listeners with the protocol 'QUIC'; use 'TCP_UDP'",
        ),
        (
            {"DefaultActions": [fixed()]},
            "InvalidLoadBalancerAction",
            "The action type 'fixed-response' is not valid with network load balancer",
        ),
        (
            {"AlpnPolicy": ["HTTP2Only"]},
            "ValidationError",
            "You cannot set ALPN policy on listeners with protocol 'TCP'",
        ),
        (
            {"Protocol": "TLS", "AlpnPolicy": ["h2"], "Certificates": [{"CertificateArn": certificate("a")}]},
            "ALPNPolicyNotFound",
            "ALPN policy 'h2' is not supported",
        ),
        ({"Protocol": "TLS"}, "ValidationError", "A certificate must be specified for TLS listeners"),
        (
            {"SslPolicy": "ELBSecurityPolicy-2016-08"},
            "ValidationError",
            "An SSL policy cannot be specified for TCP listeners",
        ),
    ],
)
async def test_listener_refusals(elb: Rig, params: dict[str, Any], code: str, message: str) -> None:
    arn = (await a_network(elb))["LoadBalancerArn"]
    base = {"LoadBalancerArn": arn, "Protocol": "TCP", "Port": 80, "DefaultActions": [forward(await a_group(elb))]}
    refusal = await elb.refused("CreateListener", **{**base, **params})
    assert (refusal.code, refusal.message) == (code, message)


@pytest.mark.parametrize(
    ("listener", "groups"),
    [
        ("TCP", {"TCP", "TCP_UDP"}),
        ("TLS", {"TCP", "TLS"}),
        ("UDP", {"UDP", "TCP_UDP"}),
        ("TCP_UDP", {"TCP_UDP"}),
    ],
)
async def test_which_groups_fit_a_listener(elb: Rig, listener: str, groups: set[str]) -> None:
    arn = (await a_network(elb))["LoadBalancerArn"]
    fitting = set()
    for number, protocol in enumerate(("HTTP", "TCP", "TLS", "UDP", "TCP_UDP")):
        group = await a_group(elb, f"g{number}", protocol)
        call = {"LoadBalancerArn": arn, "Protocol": listener, "Port": 100 + number, "DefaultActions": [forward(group)]}
        if listener == "TLS":
            call["Certificates"] = [{"CertificateArn": certificate("a")}]
        try:
            await elb.call("CreateListener", **call)
            fitting.add(protocol)
        except AwsError as error:
            if error.code != "IncompatibleProtocols":
                raise
    assert fitting == groups


async def test_tcp_and_udp_on_one_port_are_tcp_udp(elb: Rig) -> None:
    arn = (await a_network(elb))["LoadBalancerArn"]
    await listen(elb, arn, await a_group(elb), port=53)
    action = forward(await a_group(elb, "dns", "UDP"))
    refusal = await elb.refused("CreateListener", LoadBalancerArn=arn, Protocol="UDP", Port=53, DefaultActions=[action])
    assert refusal.code == "DuplicateListener"


async def test_no_rules(elb: Rig) -> None:
    arn = (await a_network(elb))["LoadBalancerArn"]
    group = await a_group(elb)
    made = await listen(elb, arn, group)
    condition = {"Field": "path-pattern", "Values": ["/"]}
    refusal = await elb.refused(
        "CreateRule", ListenerArn=made["ListenerArn"], Priority=1, Conditions=[condition], Actions=[forward(group)]
    )
    assert refusal.code == "InvalidConfigurationRequest"


@pytest.mark.parametrize(
    ("protocol", "changed"),
    [
        ("TCP", {}),
        ("TLS", {}),
        (
            "UDP",
            {
                "deregistration_delay.connection_termination.enabled": "true",
                "preserve_client_ip.enabled": "true",
                "target_health_state.unhealthy.connection_termination.enabled": "false",
            },
        ),
    ],
)
async def test_group_attributes(elb: Rig, protocol: str, changed: dict[str, str]) -> None:
    arn = await a_group(elb, protocol=protocol)
    shown = (await elb.call("DescribeTargetGroupAttributes", TargetGroupArn=arn))["Attributes"]
    prefix = "target_group_health"
    assert {one["Key"]: one["Value"] for one in shown} == {
        "deregistration_delay.timeout_seconds": "300",
        "deregistration_delay.connection_termination.enabled": "false",
        "load_balancing.cross_zone.enabled": "use_load_balancer_configuration",
        "preserve_client_ip.enabled": "false",
        "proxy_protocol_v2.enabled": "false",
        "stickiness.enabled": "false",
        "stickiness.type": "source_ip",
        "target_health_state.unhealthy.connection_termination.enabled": "true",
        "target_health_state.unhealthy.draining_interval_seconds": "0",
        f"{prefix}.dns_failover.minimum_healthy_targets.count": "1",
        f"{prefix}.dns_failover.minimum_healthy_targets.percentage": "off",
        f"{prefix}.unhealthy_state_routing.minimum_healthy_targets.count": "1",
        f"{prefix}.unhealthy_state_routing.minimum_healthy_targets.percentage": "off",
        **changed,
    }


@pytest.mark.parametrize(
    ("protocol", "values", "message"),
    [
        (
            "UDP",
            {"preserve_client_ip.enabled": "false"},
            "Client IP preservation cannot be disabled for target groups with the UDP protocol",
        ),
        (
            "TCP_UDP",
            {"target_health_state.unhealthy.connection_termination.enabled": "true"},
            "Connection termination for unhealthy targets cannot be enabled for target groups with the TCP_UDP protocol",
        ),
        (
            "TCP",
            {"target_health_state.unhealthy.draining_interval_seconds": "60"},
            "'target_health_state.unhealthy.draining_interval_seconds' can be set only when "
            "'target_health_state.unhealthy.connection_termination.enabled' is 'false'",
        ),
        (
            "TCP",
            {"target_group_health.unhealthy_state_routing.minimum_healthy_targets.count": "2"},
            "'target_group_health.dns_failover.minimum_healthy_targets.count' value '1' must be greater than or equal to "
            "'target_group_health.unhealthy_state_routing.minimum_healthy_targets.count' value '2'",
        ),
        (
            "TCP",
            {"load_balancing.algorithm.type": "round_robin"},
            "Target group attribute key 'load_balancing.algorithm.type' is not recognized",
        ),
    ],
)
async def test_group_attribute_refusals(elb: Rig, protocol: str, values: dict[str, str], message: str) -> None:
    arn = await a_group(elb, protocol=protocol)
    given = [{"Key": key, "Value": value} for key, value in values.items()]
    refusal = await elb.refused("ModifyTargetGroupAttributes", TargetGroupArn=arn, Attributes=given)
    assert (refusal.code, refusal.message) == ("ValidationError", message)


@pytest.mark.parametrize(
    ("params", "shown"),
    [
        ({}, ("TCP", 30, 10, 5, 2, None, None)),
        ({"HealthCheckProtocol": "HTTP"}, ("HTTP", 30, 6, 5, 2, "/", "200-399")),
        ({"HealthCheckProtocol": "HTTPS"}, ("HTTPS", 30, 10, 5, 2, "/", "200-399")),
        ({"HealthCheckIntervalSeconds": 10}, ("TCP", 10, 10, 5, 2, None, None)),
        (
            {"HealthCheckProtocol": "HTTP", "Matcher": {"HttpCode": "200-599"}, "UnhealthyThresholdCount": 5},
            ("HTTP", 30, 6, 5, 5, "/", "200-599"),
        ),
    ],
)
async def test_health_check_defaults(elb: Rig, params: dict[str, Any], shown: tuple[Any, ...]) -> None:
    made = await elb.target_group("db", Protocol="TCP", **params)
    assert shown == (
        made["HealthCheckProtocol"],
        made["HealthCheckIntervalSeconds"],
        made["HealthCheckTimeoutSeconds"],
        made["HealthyThresholdCount"],
        made["UnhealthyThresholdCount"],
        made.get("HealthCheckPath"),
        made.get("Matcher", {}).get("HttpCode"),
    )


async def test_a_check_that_becomes_http_asks_for_the_root(elb: Rig) -> None:
    arn = await a_group(elb)
    changed = await elb.call("ModifyTargetGroup", TargetGroupArn=arn, HealthCheckProtocol="HTTP")
    assert changed["TargetGroups"][0]["HealthCheckPath"] == "/"
    changed = await elb.call("ModifyTargetGroup", TargetGroupArn=arn, HealthCheckProtocol="TCP")
    assert "HealthCheckPath" not in changed["TargetGroups"][0]


async def test_a_matcher_needs_http(elb: Rig) -> None:
    params = {"Name": "db", "Protocol": "TCP", "Port": 80, "VpcId": "vpc-1", "Matcher": {"HttpCode": "200"}}
    refusal = await elb.refused("CreateTargetGroup", **params)
    assert (refusal.code, refusal.message) == (
        "InvalidConfigurationRequest",
        "Custom health check matchers are not supported for health checks for target groups with the TCP protocol",
    )


# --- load balancers and functions as targets --------------------------------------------------------------------------
async def an_application(elb: Rig, port: int = 80) -> str:
    arn = str((await elb.load_balancer("app"))["LoadBalancerArn"])
    await elb.listener(arn, port=port)
    return arn


async def test_an_application_load_balancer_as_target(elb: Rig) -> None:
    app = await an_application(elb)
    group = (await elb.target_group("front", Protocol="TCP", TargetType="alb"))["TargetGroupArn"]
    await elb.call("RegisterTargets", TargetGroupArn=group, Targets=[{"Id": app}])
    await elb.call("RegisterTargets", TargetGroupArn=group, Targets=[{"Id": app, "Port": 80}])
    health = (await elb.call("DescribeTargetHealth", TargetGroupArn=group))["TargetHealthDescriptions"]
    assert [one["Target"] for one in health] == [{"Id": app, "Port": 80}]
    refusal = await elb.refused("DeleteLoadBalancer", LoadBalancerArn=app)
    assert refusal.code == "ResourceInUse"
    await elb.call("DeregisterTargets", TargetGroupArn=group, Targets=[{"Id": app}])
    await elb.call("DeleteLoadBalancer", LoadBalancerArn=app)


@pytest.mark.parametrize("wrong", ["nonsense", "network", "port", "listener", "second"])
async def test_what_cannot_be_an_alb_target(elb: Rig, wrong: str) -> None:
    app = await an_application(elb, port=81 if wrong == "listener" else 80)
    net = (await a_network(elb))["LoadBalancerArn"]
    group = (await elb.target_group("front", Protocol="TCP", TargetType="alb"))["TargetGroupArn"]
    other = (await elb.load_balancer("other"))["LoadBalancerArn"]
    await elb.listener(other)
    targets: list[dict[str, Any]] = {
        "nonsense": [{"Id": "10.0.0.1"}],
        "network": [{"Id": net}],
        "port": [{"Id": app, "Port": 81}],
        "listener": [{"Id": app}],
        "second": [{"Id": app}, {"Id": other}],
    }[wrong]
    refusal = await elb.refused("RegisterTargets", TargetGroupArn=group, Targets=targets)
    assert refusal.code == ("TooManyTargets" if wrong == "second" else "InvalidTarget")


async def test_an_alb_group_belongs_to_tcp(elb: Rig) -> None:
    refusal = await elb.refused(
        "CreateTargetGroup", Name="x", Protocol="HTTP", Port=80, VpcId="vpc-1", TargetType="alb"
    )
    assert refusal.code == "ValidationError"
    made = await elb.target_group("front", Protocol="TCP", TargetType="alb")
    assert (made["HealthCheckProtocol"], made["HealthCheckTimeoutSeconds"]) == ("HTTP", 6)


FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:hello"


async def test_a_function_as_target(elb: Rig) -> None:
    made = (await elb.call("CreateTargetGroup", Name="fn", TargetType="lambda"))["TargetGroups"][0]
    assert not {"Protocol", "Port", "VpcId", "ProtocolVersion", "HealthCheckProtocol", "HealthCheckPort"} & set(made)
    assert (made["HealthCheckEnabled"], made["HealthCheckIntervalSeconds"], made["HealthCheckTimeoutSeconds"]) == (
        False,
        35,
        30,
    )
    group = made["TargetGroupArn"]
    await elb.call("RegisterTargets", TargetGroupArn=group, Targets=[{"Id": FUNCTION}])
    health = (await elb.call("DescribeTargetHealth", TargetGroupArn=group))["TargetHealthDescriptions"]
    assert [one["Target"] for one in health] == [{"Id": FUNCTION}]
    asked = [{"Id": FUNCTION + "-2"}]
    health = await elb.call("DescribeTargetHealth", TargetGroupArn=group, Targets=asked)
    assert health["TargetHealthDescriptions"][0]["Target"] == asked[0]
    refusal = await elb.refused("RegisterTargets", TargetGroupArn=group, Targets=[{"Id": FUNCTION + ":live"}])
    assert refusal.code == "TooManyTargets"
    refusal = await elb.refused("RegisterTargets", TargetGroupArn=group, Targets=[{"Id": "hello"}])
    assert refusal.code == "InvalidTarget"
    shown = (await elb.call("DescribeTargetGroupAttributes", TargetGroupArn=group))["Attributes"]
    assert {one["Key"]: one["Value"] for one in shown}["lambda.multi_value_headers.enabled"] == "false"
    await elb.listener((await elb.load_balancer())["LoadBalancerArn"], group)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"Port": 80}, "Port cannot be specified for target groups with target type 'lambda'"),
        (
            {"HealthCheckPort": "80"},
            "Health check port cannot be specified for target groups with target type 'lambda'",
        ),
        (
            {"ProtocolVersion": "GRPC"},
            "Protocol version cannot be specified for target groups with target type 'lambda'",
        ),
    ],
)
async def test_what_a_function_has_not(elb: Rig, params: dict[str, Any], message: str) -> None:
    refusal = await elb.refused("CreateTargetGroup", Name="fn", TargetType="lambda", **params)
    assert (refusal.code, refusal.message) == ("ValidationError", message)


async def test_freed_by_deregistration_a_function_group_takes_another(elb: Rig) -> None:
    group = (await elb.call("CreateTargetGroup", Name="fn", TargetType="lambda"))["TargetGroups"][0]["TargetGroupArn"]
    await elb.call("RegisterTargets", TargetGroupArn=group, Targets=[{"Id": FUNCTION}])
    await elb.call("DeregisterTargets", TargetGroupArn=group, Targets=[{"Id": FUNCTION}])
    await elb.call("RegisterTargets", TargetGroupArn=group, Targets=[{"Id": FUNCTION + "-2"}])


# --- anomalies of application load balancers' targets -----------------------------------------------------------------
class OneFails:
    async def passed_over(self, target_group_arn: str) -> frozenset[tuple[str, int]]:
        return frozenset({("10.0.0.1", 80)})


async def test_anomalies_are_shown_when_asked_for(elb: Rig) -> None:
    group = (await elb.target_group())["TargetGroupArn"]
    await elb.call("RegisterTargets", TargetGroupArn=group, Targets=[{"Id": "10.0.0.1"}, {"Id": "10.0.0.2"}])
    for lookup, found in ((None, {"normal"}), (OneFails(), {"anomalous", "normal"})):
        elb.provider.anomalies = lookup
        answer = await elb.call("DescribeTargetHealth", TargetGroupArn=group, Include=["AnomalyDetection"])
        shown = {one["Target"]["Id"]: one["AnomalyDetection"]["Result"] for one in answer["TargetHealthDescriptions"]}
        assert set(shown.values()) == found
        assert shown["10.0.0.2"] == "normal"
