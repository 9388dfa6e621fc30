"""`requiresAttributes`: what a container instance must offer to run a task definition (ecs-task-definitions §3, second
table). Names only, sorted.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from moorage.domain.task_definition import ContainerDefinition, Document, Volume

_COM = "com.amazonaws.ecs.capability."
_API = _COM + "docker-remote-api."
_ECS = "ecs.capability."
_ECR = re.compile(r"\d{12}\.dkr\.ecr\.|(localhost|127\.0\.0\.1):\d+/")


def requires_attributes(d: Document) -> tuple[str, ...]:
    found = set(_of_document(d))
    for container in d.container_definitions:
        found.update(_of_container(d, container))
        found.update(_of_output(d, container))
    for volume in d.volumes:
        found.update(_of_volume(volume))
    return tuple(sorted(found))


def _of_document(d: Document) -> Iterator[str]:
    if d.network_mode == "awsvpc":
        yield from (_ECS + "task-eni", _API + "1.18")
    elif d.cpu or d.memory:
        yield _ECS + "task-cpu-mem-limit"
    if d.task_role_arn:
        yield _COM + "task-iam-role"
        if d.network_mode == "host":
            yield _COM + "task-iam-role-network-host"
    if d.pid_mode or d.ipc_mode:
        yield from (_ECS + "pid-ipc-namespace-sharing", _API + "1.24")
    if d.proxy_configuration is not None:
        yield _ECS + "aws-appmesh"
    if d.enable_fault_injection:
        yield _ECS + "fault-injection"


def _of_container(d: Document, c: ContainerDefinition) -> Iterator[str]:
    if _ECR.match(c.image or ""):
        yield _COM + "ecr-auth"
        if d.execution_role_arn:
            yield _ECS + "execution-role-ecr-pull"
    parameters = c.linux_parameters or {}
    secrets = [secret.value_from for secret in c.secrets or ()]
    yield from (
        name
        for wanted, name in (
            (c.ulimits or c.docker_labels, _API + "1.18"),
            (c.memory_reservation is not None, _API + "1.21"),
            (c.system_controls, _API + "1.24"),
            (c.health_check, _API + "1.24"),
            (c.health_check, _ECS + "container-health-check"),
            (c.health_check is not None and c.health_check.start_period, _API + "1.29"),
            (parameters.get("initProcessEnabled") or c.stop_timeout is not None, _API + "1.25"),
            (c.depends_on or c.start_timeout is not None or c.stop_timeout is not None, _ECS + "container-ordering"),
            (c.privileged, _COM + "privileged-container"),
            (any(":secretsmanager:" in s for s in secrets), _ECS + "secrets.asm.environment-variables"),
            (any(":secretsmanager:" not in s for s in secrets), _ECS + "secrets.ssm.environment-variables"),
            (c.environment_files, _ECS + "env-files.s3"),
            (c.restart_policy, _ECS + "container-restart-policy"),
            (c.repository_credentials, _ECS + "private-registry-authentication.secretsmanager"),
            (any(m.container_port_range for m in c.port_mappings or ()), _ECS + "network.container-port-range"),
            (c.credential_specs, _ECS + "gmsa"),
        )
        if wanted
    )


def _of_output(d: Document, c: ContainerDefinition) -> Iterator[str]:
    log = c.log_configuration
    if log is not None:
        yield from (f"{_COM}logging-driver.{log.log_driver}", _API + "1.18")
        if log.log_driver == "awslogs":
            yield _API + "1.19"
            if d.execution_role_arn:
                yield _ECS + "execution-role-awslogs"
        for option in log.secret_options or ():
            kind = "asm" if ":secretsmanager:" in str(option.get("valueFrom")) else "ssm"
            yield f"{_ECS}secrets.{kind}.bootstrap.log-driver"
    router = c.firelens_configuration
    if router is not None:
        yield f"{_ECS}firelens.{router.get('type')}"
        config = (router.get("options") or {}).get("config-file-type")
        if config is not None:
            yield f"{_ECS}firelens.options.config.{config}"


def _of_volume(volume: Volume) -> Iterator[str]:
    if volume.efs_volume_configuration is not None:
        yield from (_ECS + "efs", _API + "1.25")
        if volume.efs_volume_configuration.get("authorizationConfig"):
            yield _ECS + "efsAuth"
    if volume.docker_volume_configuration is not None:
        yield f"{_ECS}docker-plugin.{volume.docker_volume_configuration.get('driver') or 'local'}"
