"""Records in the API's shapes (botocore's member names), and nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorage.domain.load_balancer import (
    Action,
    AuthAction,
    Condition,
    FixedResponse,
    Forward,
    Listener,
    LoadBalancer,
    NodeAddress,
    Redirect,
    Rule,
)
from moorage.domain.target_group import HealthCheck, Target, TargetGroup, TargetState
from moorage.services.elbv2 import auth_actions, mutual, transforms
from moorage.services.elbv2.conditions import KINDS


def load_balancer(record: LoadBalancer) -> dict[str, Any]:
    state: dict[str, str] = {"Code": record.state}
    if record.state_reason:
        state["Reason"] = record.state_reason
    return {
        "LoadBalancerArn": record.arn,
        "DNSName": record.dns_name,
        "CanonicalHostedZoneId": record.canonical_hosted_zone_id,
        "CreatedTime": record.created_at,
        "LoadBalancerName": record.name,
        "Scheme": record.scheme,
        "VpcId": record.vpc_id,
        "State": state,
        "Type": record.type,
        "AvailabilityZones": zones(record),
        **_security(record),
        "IpAddressType": record.ip_address_type,
        "EnablePrefixForIpv6SourceNat": "off",
    }


def _security(record: LoadBalancer) -> dict[str, Any]:
    if record.type == "network" and not record.security_groups:
        return {}
    shape: dict[str, Any] = {"SecurityGroups": list(record.security_groups)}
    if record.private_link_rules:
        shape["EnforceSecurityGroupInboundRulesOnPrivateLinkTraffic"] = record.private_link_rules
    return shape


def security_groups(record: LoadBalancer) -> dict[str, Any]:
    shape = _security(record)
    return {"SecurityGroupIds": shape.pop("SecurityGroups", []), **shape}


def zones(record: LoadBalancer) -> list[dict[str, Any]]:
    return [
        {
            "ZoneName": zone,
            "SubnetId": subnet,
            "LoadBalancerAddresses": [_address(one) for one in record.addresses if one.subnet_id == subnet],
        }
        for subnet, zone in sorted(record.subnets, key=lambda pair: pair[1])
    ]


def _address(record: NodeAddress) -> dict[str, str]:
    shape = {
        "IpAddress": record.ip_address,
        "AllocationId": record.allocation_id,
        "PrivateIPv4Address": record.private_ipv4,
    }
    return {key: value for key, value in shape.items() if value is not None}


def target_group(record: TargetGroup, load_balancers: tuple[str, ...]) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "TargetGroupArn": record.arn,
        "TargetGroupName": record.name,
        "Protocol": record.protocol,
        "Port": record.port,
        "VpcId": record.vpc_id,
        **health_check(record.health_check, record.protocol_version),
        "LoadBalancerArns": list(load_balancers),
        "TargetType": record.target_type,
        "ProtocolVersion": record.protocol_version,
        "IpAddressType": record.ip_address_type,
    }
    return {key: value for key, value in shape.items() if value is not None}


def health_check(check: HealthCheck, protocol_version: str | None) -> dict[str, Any]:
    address = {"HealthCheckProtocol": check.protocol, "HealthCheckPort": check.port}
    shape: dict[str, Any] = {
        **(address if check.protocol else {}),  # functions have neither
        "HealthCheckEnabled": check.enabled,
        "HealthCheckIntervalSeconds": check.interval,
        "HealthCheckTimeoutSeconds": check.timeout,
        "HealthyThresholdCount": check.healthy_threshold,
        "UnhealthyThresholdCount": check.unhealthy_threshold,
    }
    if check.protocol != "TCP":
        shape["HealthCheckPath"] = check.path
        shape["Matcher"] = {"GrpcCode" if protocol_version == "GRPC" else "HttpCode": check.matcher}
    return shape


def listener(record: Listener) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "ListenerArn": record.arn,
        "LoadBalancerArn": record.load_balancer_arn,
        "Port": record.port,
        "Protocol": record.protocol,
        "DefaultActions": actions(record.default_actions),
    }
    if record.certificates:
        shape["Certificates"] = [{"CertificateArn": record.certificates[0]}]
    if record.ssl_policy:
        shape["SslPolicy"] = record.ssl_policy
    if record.alpn_policy:
        shape["AlpnPolicy"] = list(record.alpn_policy)
    if record.protocol == "HTTPS":
        shape["MutualAuthentication"] = mutual.shown(record.mutual)
    return shape


def rule(record: Rule) -> dict[str, Any]:
    return {
        "RuleArn": record.arn,
        "Priority": str(record.priority),
        "Conditions": [condition(one) for one in record.conditions],
        "Actions": actions(record.actions),
        "IsDefault": False,
        "Transforms": [transforms.shown(one) for one in record.transforms],
    }


def default_rule(record: Listener) -> dict[str, Any]:
    return {
        "RuleArn": record.default_rule_arn,
        "Priority": "default",
        "Conditions": [],
        "Actions": actions(record.default_actions),
        "IsDefault": True,
        "Transforms": [],
    }


def actions(records: tuple[Action, ...]) -> list[dict[str, Any]]:
    return [_action(record) for record in records]


def _action(record: Action) -> dict[str, Any]:
    order = record.order or 1
    if isinstance(record, AuthAction):
        return {"Order": order, **auth_actions.shown(record)}
    if isinstance(record, Forward):
        return _forward(record, order)
    if isinstance(record, Redirect):
        config = {
            "Protocol": record.protocol,
            "Port": record.port,
            "Host": record.host,
            "Path": record.path,
            "Query": record.query,
            "StatusCode": record.status_code,
        }
        return {"Type": "redirect", "Order": order, "RedirectConfig": config}
    return {"Type": "fixed-response", "Order": order, "FixedResponseConfig": _fixed_response(record)}


def _forward(record: Forward, order: int) -> dict[str, Any]:
    stickiness: dict[str, Any] = {"Enabled": record.stickiness_seconds is not None}
    if (seconds := record.stickiness_seconds or record.unused_stickiness_seconds) is not None:
        stickiness["DurationSeconds"] = seconds
    shape: dict[str, Any] = {"Type": "forward", "Order": order}
    if len(record.target_groups) == 1:
        shape["TargetGroupArn"] = record.target_groups[0].arn
    shape["ForwardConfig"] = {
        "TargetGroups": [{"TargetGroupArn": group.arn, "Weight": group.weight} for group in record.target_groups],
        "TargetGroupStickinessConfig": stickiness,
    }
    return shape


def _fixed_response(record: FixedResponse) -> dict[str, Any]:
    shape: dict[str, Any] = {"StatusCode": record.status_code}
    if record.content_type is not None:
        shape["ContentType"] = record.content_type
    if record.body is not None:
        shape["MessageBody"] = record.body
    return shape


def condition(record: Condition) -> dict[str, Any]:
    """Host and path conditions show their values twice: the older plain member and the typed one."""
    if record.field == "query-string":
        pairs = [{"Key": key, "Value": value} if key else {"Value": value} for key, value in record.pairs]
        return {"Field": record.field, "QueryStringConfig": {"Values": pairs}}
    config: dict[str, Any] = {}
    if record.header is not None:
        config["HttpHeaderName"] = record.header
    if record.values:
        config["Values"] = list(record.values)
    if record.regex:
        config["RegexValues"] = list(record.regex)
    shape: dict[str, Any] = {"Field": record.field, KINDS[record.field].config: config}
    if record.field in ("host-header", "path-pattern"):
        if record.values:
            shape["Values"] = list(record.values)
        if record.regex:
            shape["RegexValues"] = list(record.regex)
    return shape


def target_health(target: Target | Mapping[str, Any], group: TargetGroup, state: TargetState) -> dict[str, Any]:
    described = _target(target) if isinstance(target, Target) else dict(target)
    health: dict[str, str] = {"State": state.state}
    if state.reason is not None:
        health["Reason"] = state.reason
    if state.description is not None:
        health["Description"] = state.description
    shape: dict[str, Any] = {
        "Target": described,
        "TargetHealth": health,
        "AdministrativeOverride": {
            "State": "no_override",
            "Reason": "AdministrativeOverride.NoOverride",
            "Description": "No override is currently active on target",
        },
    }
    check = group.health_check
    if isinstance(target, Target) and target.port:
        shape["HealthCheckPort"] = str(target.port) if check.port == "traffic-port" else check.port
    return shape


def anomaly(failing: bool) -> dict[str, str]:
    return {"Result": "anomalous" if failing else "normal", "MitigationInEffect": "yes" if failing else "no"}


def _target(record: Target) -> dict[str, Any]:
    shape: dict[str, Any] = {"Id": record.id}
    if record.port:  # functions have none
        shape["Port"] = record.port
    if record.availability_zone is not None:
        shape["AvailabilityZone"] = record.availability_zone
    return shape


def tags(given: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"Key": key, "Value": value} for key, value in given.items()]
