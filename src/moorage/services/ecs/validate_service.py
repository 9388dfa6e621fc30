"""What CreateService and UpdateService refuse (semantics ecs-services §2). One sentence each, AWS's where it is known."""

from __future__ import annotations

import re
from typing import Any

from msgspec.structs import replace

from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.domain.service import DeploymentConfiguration
from moorage.domain.task import LoadBalancerRef
from moorage.domain.task_definition import Document
from moorage.services.ecs import placement
from moorage.services.ecs.validate_deployment import with_early_success, with_failure_detection
from moorage.services.ecs.validate_strategy import with_strategy
from moorage.store.api import View
from moorage.store.elbv2_queries import load_balancers_of
from moorage.store.tables.elbv2 import TARGET_GROUPS

MOST_TARGET_GROUPS = 5
_LONGEST_GRACE = 2_147_483_647
_TOKEN = re.compile(r"[\x21-\x7e]{0,36}")


def refuse(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


def check_unsupported(request: dict[str, Any]) -> None:
    """What Moorage does not do yet is refused by name, never accepted and ignored."""
    if len(request.get("serviceRegistries") or ()) > 1:
        raise refuse("service registries can have at most 1 items.")
    for given, what in (
        ((request.get("serviceConnectConfiguration") or {}).get("enabled"), "Service Connect"),
        (request.get("serviceRegistries"), "service registries (Cloud Map)"),
        (request.get("vpcLatticeConfigurations"), "VPC Lattice"),
        (request.get("gatewayConnectors"), "gateway connectors"),
        ((request.get("monitoring") or {}).get("metricConfigurations"), "monitoring configurations of services"),
    ):
        if given:
            raise refuse(f"Moorage does not support {what} yet.")


def check_members(request: dict[str, Any]) -> None:
    """Numbers and placement members that need no look at anything else (§2.1, §2.2)."""
    grace = request.get("healthCheckGracePeriodSeconds")
    if grace is not None and not 0 <= grace <= _LONGEST_GRACE:
        raise refuse(f"healthCheckGracePeriodSeconds must be between 0 and {_LONGEST_GRACE}.")
    token = request.get("clientToken")
    if token is not None and not _TOKEN.fullmatch(token):
        raise refuse("clientToken can have at most 36 characters, all of them ASCII characters from 33 to 126.")
    placement.read(request)


def check_role(request: dict[str, Any], document: Document) -> None:
    """`role` belongs to services that are behind a load balancer without networking of their own (§2.3)."""
    if request.get("role") and (document.network_mode == "awsvpc" or not request.get("loadBalancers")):
        raise refuse(
            "You cannot specify an IAM role for services that require a service linked role. Leave role out: the "
            "service linked role for ECS is used."
        )


def deployment_configuration(current: DeploymentConfiguration, given: dict[str, Any] | None) -> DeploymentConfiguration:
    """The configuration after the change; members that are not given stay (§2.1, §3.4)."""
    if given is None:
        return current
    changed = replace(
        current,
        maximum_percent=_or(given.get("maximumPercent"), current.maximum_percent),
        minimum_healthy_percent=_or(given.get("minimumHealthyPercent"), current.minimum_healthy_percent),
    )
    changed = with_failure_detection(changed, given)
    changed = with_strategy(changed, given)
    if changed.minimum_healthy_percent < 0:
        raise refuse("minimumHealthyPercent cannot be a negative number.")
    if changed.minimum_healthy_percent > 100:
        raise refuse("minimumHealthyPercent must be at most 100")
    if changed.maximum_percent < 100:
        raise refuse("maximumPercent must be at least 100")
    if changed.maximum_percent == 100 and changed.minimum_healthy_percent == 100:
        raise refuse("Both maximumPercent and minimumHealthyPercent cannot be 100 as this will block deployments.")
    return with_early_success(changed, given)


def check_load_balancers(
    view: View,
    scope: Scope,
    document: Document,
    load_balancers: tuple[LoadBalancerRef, ...],
    launches_on: str,
    *,
    attached: bool = True,
) -> None:
    """Every reference names a container port of the task definition and a target group in use (§2.3). Not `attached`:
    the references were checked when they were given; what became of their target groups since is not looked at."""
    if len(load_balancers) > MOST_TARGET_GROUPS:
        raise refuse(f"load balancers can have at most {MOST_TARGET_GROUPS} items.")
    _check_generations(load_balancers, launches_on)
    for ref in load_balancers:
        if not ref.target_group_arn:
            raise refuse("Target group ARN can not be blank.")
        container = document.container(ref.container_name or "")
        if container is None:
            raise refuse(f"The container {ref.container_name} does not exist in the task definition.")
        if not any(m.container_port == ref.container_port for m in container.port_mappings or ()):
            raise refuse(
                f"The container {ref.container_name} did not have a container port {ref.container_port} defined."
            )
        if attached:
            _check_target_groups(view, scope, document, ref, ref.target_group_arn)


def _check_generations(load_balancers: tuple[LoadBalancerRef, ...], launches_on: str) -> None:
    """Classic load balancers (ELBv1) go by name, all others by target group (§2.3, §5.5)."""
    classic = [ref for ref in load_balancers if ref.load_balancer_name]
    if not classic:
        return
    if any(ref.target_group_arn for ref in classic):
        raise refuse("loadBalancerName and targetGroupArn cannot both be specified")
    if any(ref.advanced_configuration for ref in classic):
        raise refuse("advancedConfiguration field is not allowed with ELBv1 loadBalancers")
    if len(classic) < len(load_balancers):
        raise refuse(
            "All loadBalancers must be strictly either ELBv1 (defining loadBalancerName) or ELBv2 (defining "
            "targetGroupArn)"
        )
    if launches_on == "FARGATE":
        raise refuse("Classic Load Balancers are not supported with Fargate.")
    raise refuse("Moorage does not support Classic Load Balancers yet.")


def _check_target_groups(view: View, scope: Scope, document: Document, ref: LoadBalancerRef, arn: str) -> None:
    """`arn`: the target group that `ref` names."""
    group = view.get(TARGET_GROUPS, arn)
    if group is None or (group.account, group.region) != (scope.account, scope.region):
        raise refuse(f"The target group with targetGroupArn {arn} does not exist.")
    alternate = (ref.advanced_configuration or {}).get("alternateTargetGroupArn")
    if alternate and ((other := view.get(TARGET_GROUPS, alternate)) is None or other.target_type != group.target_type):
        raise refuse(f"The alternateTargetGroupArn {alternate} does not exist or is of another target type.")
    wanted = "ip" if document.network_mode == "awsvpc" else "instance"
    if group.target_type != wanted:
        raise refuse(
            f"The provided target group {arn} has target type {group.target_type}, which is incompatible with the "
            f"{document.network_mode or 'bridge'} network mode specified in the task definition."
        )
    if not load_balancers_of(view, arn):
        raise refuse(f"The target group with targetGroupArn {arn} does not have an associated load balancer.")


def _or(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value
