"""Small builders: a test shows only what matters to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from moorage.domain.load_balancer import Action, Condition, Forward, Listener, LoadBalancer, Rule, WeightedTargetGroup
from moorage.domain.target_group import HealthCheck, TargetGroup
from moorage.proxy.driver import Endpoint, LoadBalancerConfig, TargetGroupConfig

PREFIX = "arn:aws:elasticloadbalancing:us-east-1:000000000000:"


def a_load_balancer(
    name: str = "web", *, loopback: str = "127.83.0.1", dns_name: str | None = None, **attributes: str
) -> LoadBalancer:
    """Attributes with `__` for the dot: idle_timeout__timeout_seconds="5"."""
    return LoadBalancer(
        arn=f"{PREFIX}loadbalancer/app/{name}/50dc6c495c0c9188",
        account="000000000000",
        region="us-east-1",
        name=name,
        type="application",
        scheme="internet-facing",
        dns_name=dns_name or f"{name}-1234567890.us-east-1.elb.localhost",
        full_name=f"app/{name}/50dc6c495c0c9188",
        vpc_id="vpc-1",
        subnets=(("subnet-1", "us-east-1a"),),
        security_groups=(),
        ip_address_type="ipv4",
        canonical_hosted_zone_id="Z35SXDOTRQ7X7K",
        loopback=loopback,
        created_at=0.0,
        state="active",
        attributes=_dotted(attributes),
    )


def a_target_group(
    name: str = "web", *, protocol: str = "HTTP", version: str = "HTTP1", **attributes: str
) -> TargetGroup:
    return TargetGroup(
        arn=tg_arn(name),
        account="000000000000",
        region="us-east-1",
        name=name,
        full_name=f"targetgroup/{name}/73e2d6bc24d8a067",
        target_type="ip",
        protocol=protocol,
        protocol_version=version,
        port=80,
        vpc_id="vpc-1",
        ip_address_type="ipv4",
        health_check=HealthCheck(),
        created_at=0.0,
        attributes=_dotted(attributes),
    )


def tg_arn(name: str) -> str:
    return f"{PREFIX}targetgroup/{name}/73e2d6bc24d8a067"


def a_listener(balancer: LoadBalancer, *actions: Action, port: int = 80, protocol: str = "HTTP") -> Listener:
    return Listener(
        arn=f"{PREFIX}listener/{balancer.full_name}/{port:016x}",
        load_balancer_arn=balancer.arn,
        port=port,
        protocol=protocol,
        default_actions=actions or (to("web"),),
        default_rule_arn=f"{PREFIX}listener-rule/{balancer.full_name}/{port:016x}/default",
    )


def a_rule(priority: int, *conditions: Condition, action: Action) -> Rule:
    return Rule(
        arn=f"{PREFIX}listener-rule/{priority}",
        listener_arn="",
        priority=priority,
        conditions=conditions,
        actions=(action,),
    )


def to(*groups: str | tuple[str, int], stick: int | None = None) -> Forward:
    """`to("web")`, `to(("blue", 9), ("green", 1))`"""
    weighted = [
        WeightedTargetGroup(tg_arn(g)) if isinstance(g, str) else WeightedTargetGroup(tg_arn(g[0]), g[1])
        for g in groups
    ]
    return Forward(tuple(weighted), stickiness_seconds=stick)


def path(*values: str) -> Condition:
    return Condition("path-pattern", values)


def host(*values: str) -> Condition:
    return Condition("host-header", values)


def header(name: str, *values: str) -> Condition:
    return Condition("http-header", values, header=name)


def method(*values: str) -> Condition:
    return Condition("http-request-method", values)


def query(*pairs: tuple[str | None, str]) -> Condition:
    return Condition("query-string", pairs=pairs)


def source(*values: str) -> Condition:
    return Condition("source-ip", values)


def a_config(
    balancer: LoadBalancer, *listeners: Listener, rules: Mapping[int, tuple[Rule, ...]] | None = None
) -> LoadBalancerConfig:
    """`rules` by port."""
    by_port = {listener.port: listener.arn for listener in listeners}
    return LoadBalancerConfig(balancer, listeners, {by_port[port]: some for port, some in (rules or {}).items()})


def targets(group: str | TargetGroup, *endpoints: Endpoint | tuple[str, int], **kwargs: Any) -> TargetGroupConfig:
    made = a_target_group(group, **kwargs) if isinstance(group, str) else group
    return TargetGroupConfig(made, tuple(e if isinstance(e, Endpoint) else Endpoint(*e) for e in endpoints))


def _dotted(attributes: Mapping[str, str]) -> dict[str, str]:
    return {key.replace("__", "."): value for key, value in attributes.items()}
