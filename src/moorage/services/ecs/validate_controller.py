"""What the scheduling strategy and the deployment controller of a service forbid (semantics ecs-services §2.1, §2.3, §3.2).

One sentence each, AWS's where it is known. Nothing here looks at the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from moorage.domain.errors import AwsError
from moorage.domain.service import DeploymentConfiguration, Service

CONTROLLERS = ("ECS", "CODE_DEPLOY", "EXTERNAL")
_OF_TASK_SETS = (
    "loadBalancers",
    "networkConfiguration",
    "serviceRegistries",
    "capacityProviderStrategy",
    "volumeConfigurations",
)
"""What a service of the controller EXTERNAL leaves to its task sets (or cannot have)."""
DAEMON_CONFIGURATION = DeploymentConfiguration(maximum_percent=100, minimum_healthy_percent=0)
"""What a DAEMON service starts from (§3.4)."""


def _refuse(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


def controller_of(request: Mapping[str, Any]) -> str:
    controller = str((request.get("deploymentController") or {}).get("type") or "ECS")
    if controller not in CONTROLLERS:
        raise _refuse(f"Invalid deployment controller type '{controller}'. Valid values are: {', '.join(CONTROLLERS)}")
    return controller


def is_daemon(request: Mapping[str, Any]) -> bool:
    return request.get("schedulingStrategy") == "DAEMON"


def check_create(request: Mapping[str, Any]) -> None:
    """Raises InvalidParameterException."""
    controller = controller_of(request)
    if is_daemon(request):
        _check_daemon(request)
        if controller != "ECS":
            raise _refuse(f"The daemon scheduling strategy does not support the {controller} deployment controller")
        if request.get("launchType") == "FARGATE":
            raise _refuse("The daemon scheduling strategy does not support the FARGATE launch type")
        if request.get("capacityProviderStrategy"):
            raise _refuse("The daemon scheduling strategy does not support capacity provider strategies")
    if controller == "CODE_DEPLOY" and not request.get("loadBalancers"):
        raise _refuse(
            "When specifying the CODE_DEPLOY deployment controller type, the service requires an Application Load "
            "Balancer or Network Load Balancer."
        )
    if controller == "EXTERNAL":
        for member in ("taskDefinition", "launchType", "platformVersion"):
            if request.get(member):
                raise _refuse(f"{_capital(member)} must be blank.")
        for member in _OF_TASK_SETS:
            if request.get(member):
                raise _refuse(f"{_capital(member)} must be empty or null.")
    if controller != "ECS":
        _check_task_sets(request, controller)


def check_update(service: Service, request: Mapping[str, Any]) -> None:
    """Raises InvalidParameterException."""
    moves = moves_to_ecs(service, request)
    if request.get("deploymentController") and not moves and controller_of(request) != service.controller:
        raise _refuse(
            f"The deployment controller of a service cannot be changed from {service.controller} to "
            f"{controller_of(request)}."
        )
    if service.scheduling_strategy == "DAEMON":
        if request.get("capacityProviderStrategy"):
            raise _refuse("The daemon scheduling strategy does not support capacity provider strategies")
        _check_daemon(request)
    if service.controller != "ECS" and not moves:
        for what in _of_a_deployment(request):
            raise _refuse(_updates_elsewhere(what, service.controller))
        _check_task_sets(request, service.controller)


def moves_to_ecs(service: Service, request: Mapping[str, Any]) -> bool:
    """Does the update take the service from CodeDeploy to ECS?"""
    return (
        service.controller == "CODE_DEPLOY"
        and controller_of(request) == "ECS"
        and bool(request.get("deploymentController"))
    )


def _check_daemon(request: Mapping[str, Any]) -> None:
    configuration = request.get("deploymentConfiguration") or {}
    if request.get("desiredCount") is not None:
        raise _refuse("The daemon scheduling strategy does not support a desired count for services")
    if request.get("placementStrategy"):
        raise _refuse("The daemon scheduling strategy does not support placement strategies")
    if (configuration.get("maximumPercent") or 0) > 100:
        raise _refuse("The daemon scheduling strategy does not support values above 100 for maximumPercent")
    if configuration.get("strategy") not in (None, "ROLLING"):
        raise _refuse("The daemon scheduling strategy does not support deployment strategies other than ROLLING")
    if request.get("availabilityZoneRebalancing") == "ENABLED":
        raise _refuse(
            "The service couldn't be created because Availability Zone Rebalancing does not support DAEMON as "
            "scheduling strategy. Update scheduling strategy and try again."
        )


def _check_task_sets(request: Mapping[str, Any], controller: str) -> None:
    """What only the rolling scheduler of ECS has."""
    configuration = request.get("deploymentConfiguration") or {}
    if (configuration.get("deploymentCircuitBreaker") or {}).get("enable"):
        raise _refuse(f"Deployment circuit breaker is not supported with the {controller} deployment controller.")
    if (configuration.get("alarms") or {}).get("enable"):
        raise _refuse(f"Deployment alarms are not supported with the {controller} deployment controller.")
    if (configuration.get("earlySuccessCriteria") or {}).get("enable"):
        raise _refuse(f"Early success criteria are not supported with the {controller} deployment controller.")
    if configuration.get("strategy") not in (None, "ROLLING"):
        raise _refuse(f"Deployment strategies are not supported with the {controller} deployment controller.")
    if request.get("availabilityZoneRebalancing") == "ENABLED":
        raise _refuse(f"Availability Zone Rebalancing is not supported with the {controller} deployment controller.")


def _of_a_deployment(request: Mapping[str, Any]) -> Iterable[str]:
    """The members that need new tasks: a task set (or CodeDeploy) brings those. Empty lists are as good as none."""
    for member, what in (
        ("taskDefinition", "update task definition"),
        ("networkConfiguration", "update network parameters"),
        ("platformVersion", "update platform version"),
        ("loadBalancers", "update load balancers"),
        ("serviceRegistries", "update service registries"),
        ("capacityProviderStrategy", "update capacity provider strategy"),
        ("volumeConfigurations", "update volume configurations"),
        ("forceNewDeployment", "force a new deployment"),
    ):
        if request.get(member):
            yield what


def _updates_elsewhere(what: str, controller: str) -> str:
    verb = f"Cannot {what}" if what.startswith("force") else f"Unable to {what}"
    how = "Use AWS CodeDeploy to trigger" if controller == "CODE_DEPLOY" else "Create a new task set to trigger"
    return f"{verb} on services with a {controller} deployment controller. {how} a new deployment."


def _capital(member: str) -> str:
    return member[0].upper() + member[1:]
