"""What an Express service may be made of (semantics ecs-services §14): the request's members as one configuration.

The sentences of these refusals are not published by AWS; they name the member and what is wrong with it.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from moorage.domain.errors import AwsError
from moorage.domain.express import CONTAINER, ExpressConfiguration, ExpressContainer, ExpressScaling
from moorage.domain.scope import Scope
from moorage.services.ecs import fargate, resolve
from moorage.services.ecs.shapes import convert
from moorage.store.api import View

DEFAULT_PORT = 80
_OF_A_TASK_DEFINITION = (
    "primaryContainer",
    "executionRoleArn",
    "taskRoleArn",
    "cpu",
    "memory",
    "cpuArchitecture",
)


def refuse(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


def new_configuration(
    view: View, scope: Scope, request: dict[str, Any], subnets: tuple[str, ...]
) -> ExpressConfiguration:
    """Raises InvalidParameterException, ClientException."""
    return _configuration(view, scope, ExpressConfiguration(subnets=subnets), request)


def changed_configuration(
    view: View, scope: Scope, current: ExpressConfiguration, request: dict[str, Any]
) -> ExpressConfiguration:
    """Members that are not given stay; so do those of `primaryContainer` and `scalingTarget`."""
    network = request.get("networkConfiguration") or {}
    current = replace(current, subnets=tuple(network.get("subnets") or current.subnets))
    return _configuration(view, scope, current, request)


def _configuration(
    view: View, scope: Scope, current: ExpressConfiguration, request: dict[str, Any]
) -> ExpressConfiguration:
    network = request.get("networkConfiguration") or {}
    wanted = replace(
        current,
        security_groups=tuple(network.get("securityGroups") or current.security_groups),
        health_check_path=_path(request.get("healthCheckPath") or current.health_check_path),
        scaling=_scaling(current.scaling, request.get("scalingTarget")),
    )
    if request.get("taskDefinitionArn"):
        return _brought(view, scope, wanted, request)
    if current.task_definition_arn is not None and not any(request.get(name) for name in _OF_A_TASK_DEFINITION):
        return wanted
    return _made(wanted, request)


def _made(wanted: ExpressConfiguration, request: dict[str, Any]) -> ExpressConfiguration:
    """ECS makes the task definition."""
    given = request.get("primaryContainer") or {}
    before = msgspec.to_builtins(wanted.container) if wanted.container is not None else {}
    if not given.get("image") and not before:
        raise refuse("primaryContainer.image is required when taskDefinitionArn is not specified.")
    container = convert(
        {**before, **{name: value for name, value in given.items() if value is not None}}, ExpressContainer
    )
    execution = request.get("executionRoleArn") or wanted.execution_role_arn
    if not execution:
        raise refuse("executionRoleArn is required when taskDefinitionArn is not specified.")
    port = DEFAULT_PORT if container.container_port is None else container.container_port
    if not 1 <= port <= 65535:
        raise refuse(f"primaryContainer.containerPort must be between 1 and 65535, but was {port}.")
    cpu, memory = request.get("cpu") or wanted.cpu, request.get("memory") or wanted.memory
    if not (_number(cpu) and _number(memory) and fargate.is_offered(int(cpu), int(memory))):
        raise AwsError(
            "ClientException",
            f"No Fargate configuration exists for given values: {cpu} CPU, {memory} memory. See the Amazon ECS "
            "documentation for the valid values.",
        )
    return replace(
        wanted,
        container=container,
        container_port=port,
        task_definition_arn=None,
        execution_role_arn=execution,
        task_role_arn=request.get("taskRoleArn") or wanted.task_role_arn,
        cpu=cpu,
        memory=memory,
        cpu_architecture=request.get("cpuArchitecture") or wanted.cpu_architecture,
    )


def _brought(view: View, scope: Scope, wanted: ExpressConfiguration, request: dict[str, Any]) -> ExpressConfiguration:
    """The caller brings the task definition: with a container `Main` that has one TCP port mapping with a name."""
    if both := [name for name in _OF_A_TASK_DEFINITION if request.get(name)]:
        raise refuse(f"{', '.join(both)} cannot be specified together with taskDefinitionArn.")
    definition = resolve.task_definition(view, scope, request["taskDefinitionArn"])
    if definition is None:
        raise AwsError("ClientException", "TaskDefinition not found.")
    if definition.status != "ACTIVE":
        raise AwsError("ClientException", "TaskDefinition is inactive")
    document = definition.document
    if "FARGATE" not in definition.compatibilities:
        raise refuse("Task definition does not support launch_type FARGATE.")
    container = document.container(CONTAINER)
    if container is None:
        raise refuse(f"The task definition must have a container named {CONTAINER}.")
    mappings = [one for one in container.port_mappings or () if (one.protocol or "tcp") == "tcp"]
    if len(mappings) != 1 or not mappings[0].name or not mappings[0].container_port:
        raise refuse(
            f"The container {CONTAINER} must have a single TCP port mapping that includes a container port and a port "
            "name."
        )
    architecture = (document.runtime_platform or {}).get("cpuArchitecture") or "X86_64"
    return replace(
        wanted,
        container=None,
        container_port=mappings[0].container_port,
        task_definition_arn=definition.arn,
        execution_role_arn=None,
        task_role_arn=None,
        cpu=document.cpu or wanted.cpu,
        memory=document.memory or wanted.memory,
        cpu_architecture=str(architecture),
    )


def _path(path: str) -> str:
    if not path.startswith("/") or len(path) > 1024:
        raise refuse("healthCheckPath must start with a forward slash and have at most 1024 characters.")
    return path


def _scaling(current: ExpressScaling, given: dict[str, Any] | None) -> ExpressScaling:
    chosen = {name: value for name, value in (given or {}).items() if value is not None}
    scaling = convert({**msgspec.to_builtins(current), **chosen}, ExpressScaling)
    if scaling.min_task_count < 0 or scaling.max_task_count < 1:
        raise refuse("minTaskCount cannot be negative, and maxTaskCount must be at least 1.")
    if scaling.min_task_count > scaling.max_task_count:
        raise refuse(
            f"minTaskCount ({scaling.min_task_count}) cannot be greater than maxTaskCount ({scaling.max_task_count})."
        )
    percent = scaling.auto_scaling_metric != "REQUEST_COUNT_PER_TARGET"
    if scaling.auto_scaling_target_value < 1 or (percent and scaling.auto_scaling_target_value > 100):
        raise refuse(f"autoScalingTargetValue must be at least 1{' and at most 100' if percent else ''}.")
    return scaling


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 10
