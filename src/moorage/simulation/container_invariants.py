"""What must never happen to containers: checked when one is started and when one gets SIGTERM.

Written from what AWS promises; the engine is asked what runs, never the records. Source: semantics ecs-tasks §4, §5.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from moorage.domain.target_group import Target, target_key
from moorage.domain.task import Task
from moorage.domain.task_definition import Document
from moorage.engine.simulated import SimulatedEngine
from moorage.engine.simulated_container import SimulatedContainer
from moorage.store.api import StoreApi
from moorage.store.tables.ecs import TASK_DEFINITIONS, TASKS
from moorage.store.tables.elbv2 import TARGETS


class ContainerInvariants:
    def __init__(self, note: Callable[[str], None], engine: SimulatedEngine) -> None:
        self._note = note
        self._engine = engine
        self._store: StoreApi | None = None
        engine.on_sigterm.append(self._on_sigterm)
        engine.on_start.append(self._on_start)

    def watch(self, store: StoreApi) -> None:
        self._store = store

    def unwatch(self) -> None:
        self._store = None

    # --- at every start ----------------------------------------------------------------------------------------------
    def _on_start(self, container: SimulatedContainer) -> None:
        """What it depends on is as it should be, or was: health comes and goes. One that its restart policy starts again
        waits for nobody."""
        document = self._document(container)
        if document is None or container.started_at is not None:
            return
        for name, condition in _needs(document, container.spec.name):
            other = self._beside(container, name)
            if other is None and self._known(container, name) in ("RUNNING", "STOPPED"):
                continue  # somebody has removed it since
            if other is None or not _met(other, condition):
                self._note(f"{container.spec.docker_name} is started, but {name} is not {condition}")

    # --- at every SIGTERM --------------------------------------------------------------------------------------------
    def _on_sigterm(self, container: SimulatedContainer) -> None:
        """Out of its target groups, and drained, before it is told to end. A task that can serve nobody any more need
        not wait for the end of the draining, and one that Fargate Spot takes away is not waited for."""
        if self._store is None:
            return
        named = container.spec.docker_name
        task = self._store.get(TASKS, container.spec.task_arn)
        if task is None:
            self._note(f"SIGTERM to {named}, whose task is unknown")
            return
        if task.desired_status != "STOPPED":
            self._note(f"SIGTERM to {named}, whose task should run")
        for target in targets_of(self._store, task):
            if target.deregistered_at is None:
                self._note(f"SIGTERM to {named} while it is registered in {target.target_group_arn}")
            elif task.stop_code != "SpotInterruption" and self._is_whole(task, container):
                self._note(f"SIGTERM to {named} while it drains in {target.target_group_arn}")
        self._nobody_needs(container)

    def _is_whole(self, task: Task, container: SimulatedContainer) -> bool:
        """All its essential containers run."""
        document = self._document(container)
        essential = (
            {c.name for c in document.container_definitions if c.is_essential} if document is not None else set()
        )
        return all(one.known == "RUNNING" for one in task.containers if one.name in essential)

    def _nobody_needs(self, container: SimulatedContainer) -> None:
        """The containers that depend on it were told to end before. What a killed process had just started may be told
        later: the next one knows of it when it has compared the engine with its records."""
        document = self._document(container)
        for definition in document.container_definitions if document is not None else ():
            other = self._beside(container, definition.name or "")
            needs = {name for name, _ in _needs(document, definition.name or "")} if document is not None else set()
            if other is None or container.spec.name not in needs:
                continue
            if self._known(container, other.spec.name) != "RUNNING":
                continue
            if other.state == "running" and other.signalled_at is None:
                self._note(f"SIGTERM to {container.spec.docker_name}, but {other.spec.name} depends on it and runs")

    def _known(self, container: SimulatedContainer, name: str) -> str | None:
        """What the record says of another container of its task."""
        task = self._store.get(TASKS, container.spec.task_arn) if self._store is not None else None
        mine = task.container(name) if task is not None else None
        return mine.known if mine is not None else None

    def _document(self, container: SimulatedContainer) -> Document | None:
        task = self._store.get(TASKS, container.spec.task_arn) if self._store is not None else None
        definition = (
            self._store.get(TASK_DEFINITIONS, task.task_definition_arn)
            if self._store is not None and task is not None
            else None
        )
        return definition.document if definition is not None else None

    def _beside(self, container: SimulatedContainer, name: str) -> SimulatedContainer | None:
        return next((c for c in self._engine.of_task(container.spec.task_arn) if c.spec.name == name), None)


def targets_of(view: StoreApi, task: Task) -> list[Target]:
    """The task's targets that are registered or draining."""
    keys = (target_key(place.target_group_arn, place.id, place.port) for place in task.target_places)
    return [target for key in keys if (target := view.get(TARGETS, key)) is not None]


def _needs(document: Document, name: str) -> Iterator[tuple[str, str]]:
    definition = document.container(name)
    for dependency in (definition.depends_on if definition is not None else None) or ():
        yield dependency.container_name, dependency.condition


def _met(container: SimulatedContainer, condition: str) -> bool:
    match condition:
        case "START":
            return container.started_at is not None
        case "COMPLETE":
            return container.state == "stopped"
        case "SUCCESS":
            return container.state == "stopped" and container.exit_code == 0
        case _:
            return container.was_healthy
