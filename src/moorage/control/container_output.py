"""Where the output of a container goes: CloudWatch Logs, a FireLens router, or wherever the engine's own log driver sends
it. Pure translation (ecs-tasks §20).
"""

from __future__ import annotations

from collections.abc import Mapping

from moorage.control.ports import ContainerLog
from moorage.decide import firelens
from moorage.domain.scope import Scope
from moorage.domain.task import Task
from moorage.domain.task_definition import ContainerDefinition
from moorage.engine.driver import LogDriver

AWSLOGS = "awslogs"


def container_log(task: Task, definition: ContainerDefinition, container_id: str) -> ContainerLog | None:
    """None when the container's output does not go to CloudWatch Logs."""
    configuration = definition.log_configuration
    if configuration is None or configuration.log_driver != AWSLOGS:
        return None
    options = configuration.options or {}
    region = options.get("awslogs-region") or task.region
    return ContainerLog(
        scope=Scope(task.account, region),
        container_id=container_id,
        container_name=definition.name or "",
        task_id=task.id,
        group=options.get("awslogs-group", ""),
        region=region,
        prefix=options.get("awslogs-stream-prefix"),
        create_group=options.get("awslogs-create-group", "").lower() == "true",
        options=options,
    )


def log_driver(
    task: Task, definition: ContainerDefinition, secrets: Mapping[str, str], socket_folder: str | None
) -> LogDriver | None:
    """What the engine is told. None: its own files, from which CloudWatch Logs is fed. `secrets`: the values of
    secretOptions. `socket_folder`: where the task's router listens, on the engine's host."""
    configuration = definition.log_configuration
    if configuration is None or configuration.log_driver == AWSLOGS:
        return None
    options = configuration.options or {}
    if configuration.log_driver == firelens.FIRELENS:
        assert socket_folder is not None, "a task with awsfirelens has a router"
        return LogDriver("fluentd", firelens.driver_options(definition.name or "", task.id, options, socket_folder))
    if configuration.log_driver == "json-file" and not options:
        return None
    return LogDriver(configuration.log_driver, {**options, **secrets})
