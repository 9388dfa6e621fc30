"""What RegisterTaskDefinition refuses in container definitions (ecs-task-definitions §4.1, §4.3): order, health, restarts,
timeouts, secrets, Linux parameters. Rules as in `validate_task_definition`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from moorage.decide import firelens
from moorage.domain.task_definition import ContainerDefinition, Document

MOST_IGNORED_CODES = 50
MOST_FILES = 10
_OBJECT = re.compile(r"arn:aws[a-z-]*:s3:::[^/]+/.+")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
LONGEST_IMAGE = 255
_ULIMITS = frozenset(
    (
        "core", "cpu", "data", "fsize", "locks", "memlock", "msgqueue", "nice", "nofile", "nproc", "rss", "rtprio",
        "rttime", "sigpending", "stack",
    )
)  # fmt: skip


def images(d: Document) -> str | None:
    for c in d.container_definitions:
        name, at, digest = (c.image or "").partition("@")
        if len(name) > LONGEST_IMAGE or (at and not _DIGEST.fullmatch(digest)) or (c.image or "").strip() != c.image:
            return f"Invalid 'image' setting for container '{c.name}'"
    return None


def references(d: Document) -> str | None:
    """Containers that others name must exist."""
    names = {c.name for c in d.container_definitions}
    for c in d.container_definitions:
        for link in c.links or ():
            if link.partition(":")[0] not in names:
                return f"Container '{c.name}' links to '{link.partition(':')[0]}', which does not exist."
        for source in c.volumes_from or ():
            if source.source_container not in names:
                return f"Container '{c.name}' mounts volumes from '{source.source_container}', which does not exist."
    return None


def linux(d: Document) -> str | None:
    for c in d.container_definitions:
        wanted = _requirements(c.name, c.resource_requirements or ())
        for message in (_parameters(c, c.linux_parameters or {}), _limits(c), wanted):
            if message is not None:
                return message
    return None


def _parameters(c: ContainerDefinition, given: dict[str, Any]) -> str | None:
    swap, swappiness = given.get("maxSwap"), given.get("swappiness")
    if swap is not None and swap < 0:
        return f"The 'maxSwap' setting for container '{c.name}' must be 0 or greater."
    if swappiness is not None and not 0 <= swappiness <= 100:
        return f"The 'swappiness' setting for container '{c.name}' must be between 0 and 100."
    if given.get("sharedMemorySize") is not None and given["sharedMemorySize"] < 0:
        return f"The 'sharedMemorySize' setting for container '{c.name}' must be 0 or greater."
    for tmpfs in given.get("tmpfs") or ():
        if not str(tmpfs.get("containerPath", "")).startswith("/") or tmpfs.get("size", 0) < 1:
            return f"Invalid 'tmpfs' setting for container '{c.name}'"
    for device in given.get("devices") or ():
        if not str(device.get("hostPath", "")).startswith("/"):
            return f"Invalid 'devices' setting for container '{c.name}'"
    return None


def _limits(c: ContainerDefinition) -> str | None:
    for limit in c.ulimits or ():
        if limit.name not in _ULIMITS:
            return f"Invalid ulimit '{limit.name}' for container '{c.name}'"
        # -1 is no limit.
        if limit.hard_limit != -1 and (limit.soft_limit > limit.hard_limit or limit.soft_limit == -1):
            return f"The soft limit of ulimit '{limit.name}' for container '{c.name}' is greater than its hard limit."
    return None


def _requirements(name: str | None, given: Sequence[dict[str, Any]]) -> str | None:
    for requirement in given:
        kind, value = requirement.get("type"), str(requirement.get("value", ""))
        if kind == "InferenceAccelerator":
            return "Unsupported resource requirement type 'InferenceAccelerator'"
        if kind == "GPU" and not re.fullmatch(r"[1-9][0-9]{0,3}", value):
            return f"Invalid GPU resource requirement '{value}' for container '{name}'"
    return None


def _files(files: Sequence[dict[str, Any]]) -> str | None:
    if len(files) > MOST_FILES:
        return "The maximum number of environment files was exceeded. Specify ten or less and try again"
    for file in files:
        value = str(file.get("value", ""))
        if not _OBJECT.fullmatch(value):
            return "Invalid arn syntax"
        if not value.endswith(".env"):
            return f"The environment file '{value}' must have the file extension .env."
    return None


def files_refused(override: dict[str, Any]) -> str | None:
    """What is wrong with the environment files of a container override."""
    return _files(override.get("environmentFiles") or ())


def requirements_refused(override: dict[str, Any]) -> str | None:
    """What is wrong with the resource requirements of a container override."""
    return _requirements(override.get("name"), override.get("resourceRequirements") or ())


def dependencies(d: Document) -> str | None:
    links = {c.name or "": [link.partition(":")[0] for link in c.links or ()] for c in d.container_definitions}
    if _has_cycle(links):
        return "Container links should not have a cycle"
    graph = _implied(d)
    for c in d.container_definitions:
        for dependency in c.depends_on or ():
            graph.setdefault(c.name or "", []).append(dependency.container_name)
            target = d.container(dependency.container_name)
            if target is None:
                return f"Cannot depend on container + '{dependency.container_name}' because it does not exist"
            if dependency.condition in ("SUCCESS", "COMPLETE") and target.is_essential:
                return "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container"
            if dependency.condition == "HEALTHY" and not target.is_checked:
                return "A dependency container with HEALTHY condition must have health check configured"
    return "Cyclic dependency found in the container dependencies." if _has_cycle(graph) else None


def _implied(d: Document) -> dict[str, list[str]]:
    """Whom a container waits for without saying so: its links, the owners of its volumes, the log router."""
    router = firelens.router_of(d)
    graph: dict[str, list[str]] = {}
    for c in d.container_definitions:
        found = [link.partition(":")[0] for link in c.links or ()]
        found += [source.source_container or "" for source in c.volumes_from or ()]
        if router is not None and router is not c and firelens.uses_firelens(c):
            found.append(router.name or "")
        if found:
            graph[c.name or ""] = found
    return graph


def _has_cycle(graph: dict[str, list[str]]) -> bool:
    done: set[str] = set()
    path: set[str] = set()

    def visit(name: str) -> bool:
        if name in path:
            return True
        if name in done:
            return False
        path.add(name)
        cyclic = any(visit(other) for other in graph.get(name, ()))
        path.discard(name)
        done.add(name)
        return cyclic

    return any(visit(name) for name in graph)


_CHECK_LIMITS = (("interval", 5, 300), ("timeout", 2, 60), ("retries", 1, 10), ("start_period", 0, 300))
_CHECK_NAMES = {"start_period": "startPeriod"}


def health_checks(d: Document) -> str | None:
    for c in d.container_definitions:
        check = c.health_check
        if check is None:
            continue
        if not check.command or check.command[0] not in ("CMD", "CMD-SHELL", "NONE"):
            return f"Health check command must start with CMD, CMD-SHELL or NONE for container '{c.name}'"
        for field, least, most in _CHECK_LIMITS:
            value = getattr(check, field)
            shown = _CHECK_NAMES.get(field, field)
            if value is not None and value > most:
                return (
                    f"Health check {shown} must be less than or equal to the maximum allowed value {most} for "
                    f"container '{c.name}'"
                )
            if value is not None and value < least:
                return (
                    f"Health check {shown} must be greater than or equal to the minimum allowed value {least} for "
                    f"container '{c.name}'"
                )
    return None


def restart_policies(d: Document) -> str | None:
    for c in d.container_definitions:
        policy = c.restart_policy or {}
        if len(policy.get("ignoredExitCodes") or ()) > MOST_IGNORED_CODES:
            return (
                f"The 'ignoredExitCodes' setting for container '{c.name}' can have at most {MOST_IGNORED_CODES} items."
            )
        period = policy.get("restartAttemptPeriod")
        if period is not None and not 60 <= period <= 1800:
            return f"The 'restartAttemptPeriod' setting for container '{c.name}' must be between 60 and 1800."
    return None


def timeouts(d: Document) -> str | None:
    on_fargate = "FARGATE" in (d.requires_compatibilities or ())
    for c in d.container_definitions:
        for name, value in (("stopTimeout", c.stop_timeout), ("startTimeout", c.start_timeout)):
            if value is not None and value < 2:
                return f"The '{name}' setting for container '{c.name}' must be at least 2 seconds."
            if value is not None and on_fargate and value > 120:
                return f"The '{name}' setting for container '{c.name}' must be at most 120 seconds on Fargate."
    return None


def secrets(d: Document) -> str | None:
    for c in d.container_definitions:
        if c.secrets and not d.execution_role_arn:
            return "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'."
        if (c.repository_credentials or {}).get("credentialsParameter") and not d.execution_role_arn:
            return (
                "When you are specifying repositoryCredentials, you must also specify a value for 'executionRoleArn'."
            )
        taken = {pair.name for pair in c.environment or ()}
        for secret in c.secrets or ():
            if secret.name in taken:
                return secret_name_taken(secret.name)
            taken.add(secret.name)
        message = _files(c.environment_files or ())
        if message is not None:
            return message
    return None


def secret_name_taken(name: str) -> str:
    return (
        "The secret name must be unique and not shared with any new or existing environment variables set on the "
        f"container, such as '{name}'."
    )


def foreign_parameters(d: Document, *, account: str) -> str | None:
    for c in d.container_definitions:
        for secret in c.secrets or ():
            parts = secret.value_from.split(":")
            if parts[:1] == ["arn"] and parts[2:3] == ["ssm"] and parts[4:5] != [account]:
                return (
                    "The Systems Manager parameter ARN has a different account ID than the current account. The current "
                    f"account ID is {account} and the ARN account ID is {''.join(parts[4:5])}. Cross-account access for "
                    "ARNs is not currently supported."
                )
    return None
