"""What RunTask and StartTask may say instead of the task definition (semantics ecs-tasks §9.1, §10)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from msgspec.structs import replace

from moorage.domain.errors import AwsError
from moorage.domain.task_definition import Document
from moorage.services.ecs import normalise, validate_container, validate_fargate
from moorage.services.ecs import validate_task_definition as rules

MOST_CHARACTERS = 8192


def _refuse(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


def read(document: Document, given: dict[str, Any] | None, launches_on: str) -> dict[str, Any] | None:
    """The overrides, with cpu and memory as plain numbers ("1 vCPU" → "1024") and one for a container, the first; None
    when there are none. Raises InvalidParameterException and, for what a task definition is refused for as well,
    ClientException."""
    if not given:
        return None
    if len(json.dumps(given, separators=(",", ":"))) > MOST_CHARACTERS:
        raise _refuse(f"Container Overrides length must be at most {MOST_CHARACTERS}")
    for override in given.get("containerOverrides") or ():
        _container(document, override, launches_on)
    sizes = {"cpu": normalise.cpu(given.get("cpu")), "memory": normalise.memory(given.get("memory"))}
    overrides = given | {name: value for name, value in sizes.items() if value is not None}
    if given.get("containerOverrides"):
        by_name = {one["name"]: one for one in reversed(given["containerOverrides"]) if one.get("name")}
        overrides["containerOverrides"] = list(reversed(by_name.values()))
    for message in _sizes(overridden(document, overrides), overrides, launches_on):
        raise AwsError("ClientException", message)
    return overrides


def _container(document: Document, override: dict[str, Any], launches_on: str) -> None:
    name = override.get("name")
    if not name and len(override) > 0:
        raise _refuse("Container override must name a container.")
    container = document.container(name) if name else None
    if name and container is None:
        raise _refuse(f"Override for container named {name} is not a container in the TaskDefinition.")
    for message in (validate_container.files_refused(override), validate_container.requirements_refused(override)):
        if message is not None:
            raise _refuse(message)
    for one in override.get("resourceRequirements") or ():
        if launches_on == "FARGATE" and one.get("type") == "GPU":
            raise _refuse("Tasks using the Fargate launch type do not support GPU resource requirements.")
    secrets = {secret.name for secret in (container.secrets if container is not None else None) or ()}
    for pair in override.get("environment") or ():
        if pair.get("name") in secrets:
            raise AwsError("ClientException", validate_container.secret_name_taken(str(pair["name"])))


def overridden(document: Document, overrides: dict[str, Any]) -> Document:
    """The document with the sizes that the overrides give the task and its containers."""
    by_name = {one["name"]: one for one in overrides.get("containerOverrides") or ()}
    containers = tuple(
        replace(
            container,
            cpu=_given(by_name.get(container.name), "cpu", container.cpu),
            memory=_given(by_name.get(container.name), "memory", container.memory),
            memory_reservation=_given(by_name.get(container.name), "memoryReservation", container.memory_reservation),
        )
        for container in document.container_definitions
    )
    return replace(
        document,
        container_definitions=containers,
        cpu=overrides.get("cpu") or document.cpu,
        memory=overrides.get("memory") or document.memory,
        ephemeral_storage=overrides.get("ephemeralStorage") or document.ephemeral_storage,
    )


def _given(override: dict[str, Any] | None, name: str, otherwise: int | None) -> int | None:
    value = (override or {}).get(name)
    return otherwise if value is None else int(value)


def _sizes(changed: Document, overrides: dict[str, Any], launches_on: str) -> Iterator[str]:
    """What would be refused of a task definition with these sizes. A document that was registered breaks no rule, so
    whatever is found comes of the overrides."""
    of_fargate = launches_on == "FARGATE"
    wanted = [rules.memory, rules.cpu, validate_fargate.storage]
    if overrides.get("cpu") or overrides.get("memory"):
        wanted.append(validate_fargate.size if of_fargate else rules.size)
    for rule in wanted:
        message = rule(changed)
        if message is not None:
            yield message
