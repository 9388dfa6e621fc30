"""What a task needs from elsewhere before its containers can be made: environment files, secrets, file systems, volumes,
the configuration of its log router (ecs-tasks §10, §18, §19, §20).

Read once, before anything starts; kept in memory until every container was started, never written down (there are secrets
among it). Whatever cannot be had ends the task with ECS's ResourceInitializationError. Decides nothing.
"""

from __future__ import annotations

import asyncio
import posixpath
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from moorage.control.container_volumes import file_system_of, mounted, socket_volume, wanted_volume
from moorage.control.ports import TaskSources
from moorage.decide import environment_file, firelens
from moorage.decide.new_task import override_of
from moorage.domain import sentences
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.domain.task import StopCode, Task
from moorage.domain.task_definition import ContainerDefinition, Document, Volume
from moorage.engine.driver import Engine, EngineError

T = TypeVar("T")


class StepFailed(Exception):
    """The task cannot go on."""

    def __init__(self, stop_code: StopCode, reason: str) -> None:
        super().__init__(reason)
        self.stop_code: StopCode = stop_code
        self.reason = reason


class Resources(msgspec.Struct, frozen=True):
    """By container name: `files` (variables of its environment files), `secrets` (its secrets), `log_secrets` (values of
    secretOptions). `sources`: by volume name, what is mounted for it. `socket_folder`: of the task's log router, on the
    engine's host; `router_files` are put into the router."""

    files: Mapping[str, Mapping[str, str]] = {}
    secrets: Mapping[str, Mapping[str, str]] = {}
    log_secrets: Mapping[str, Mapping[str, str]] = {}
    sources: Mapping[str, str] = {}
    socket_folder: str | None = None
    router_files: Mapping[str, bytes] = {}

    def __repr__(self) -> str:
        return "Resources(…)"


NOTHING = Resources()


class TaskResources:
    def __init__(self, engine: Engine, sources: TaskSources) -> None:
        self._engine = engine
        self._sources = sources
        self._kept: dict[str, asyncio.Future[Resources]] = {}

    async def of(self, task: Task, document: Document) -> Resources:
        """Asked by several steps at once, they are read once. Raises `StepFailed`, and Retryable when the world is not
        ready; then the next one asks again."""
        if not needs_resources(task, document):
            return NOTHING
        kept = self._kept.get(task.arn)
        if kept is None:
            kept = asyncio.ensure_future(self._read(task, document))
            kept.add_done_callback(_heard)
            self._kept[task.arn] = kept
        try:
            return await asyncio.shield(kept)
        except BaseException:
            if kept.done():
                self._kept.pop(task.arn, None)
            raise

    def forget(self, arn: str) -> None:
        kept = self._kept.pop(arn, None)
        if kept is not None:
            kept.cancel()

    async def secret(self, scope: Scope, value_from: str) -> str:
        if self._sources.secrets is None:
            raise StepFailed("TaskFailedToStart", sentences.secret_failed(value_from, "no source of secrets"))
        return await _wanted(
            self._sources.secrets.value(scope, value_from), lambda why: sentences.secret_failed(value_from, why)
        )

    async def _read(self, task: Task, document: Document) -> Resources:
        scope = Scope(task.account, task.region)
        sources: dict[str, str] = {}
        for volume in mounted(document):
            mountable = await self._volume(task, scope, volume)
            if mountable is not None:
                sources[volume.name or ""] = mountable
        files: dict[str, dict[str, str]] = {}
        secrets: dict[str, dict[str, str]] = {}
        log_secrets: dict[str, dict[str, str]] = {}
        for definition in document.container_definitions:
            name, log = definition.name or "", definition.log_configuration
            files[name] = await self._environment(scope, environment_files(task, definition))
            secrets[name] = {one.name: await self.secret(scope, one.value_from) for one in definition.secrets or ()}
            log_secrets[name] = {
                str(one["name"]): await self.secret(scope, str(one["valueFrom"]))
                for one in (log.secret_options if log is not None else None) or ()
            }
        read = Resources(files, secrets, log_secrets, sources)
        router = firelens.router_of(document)
        if router is None:
            return read
        # The router writes to its destinations itself: it gets the secrets of the others, by the names in its config.
        given = secrets[router.name or ""]
        for source in firelens.sources_of(document):
            given |= {variable: log_secrets[source.name][name] for name, variable in source.secrets.items()}
        folder = await self._made(self._engine.ensure_volume(socket_volume(task)))
        put = firelens.files(
            document,
            cluster=task.cluster_arn.rsplit("/", 1)[-1],
            task_arn=task.arn,
            task_definition=task.task_definition_arn.rsplit("/", 1)[-1],
            instance_id=task.instance.ec2_instance_id if task.instance is not None else None,
            external=await self._external(scope, router),
        )
        return replace(read, socket_folder=folder, router_files=put)

    async def _environment(self, scope: Scope, arns: tuple[str, ...]) -> dict[str, str]:
        texts = [await self._object(scope, arn, sentences.environment_file_failed) for arn in arns]
        return environment_file.merged(environment_file.variables(text.decode(errors="replace")) for text in texts)

    async def _external(self, scope: Scope, router: ContainerDefinition) -> bytes | None:
        options: dict[str, Any] = (router.firelens_configuration or {}).get("options") or {}
        if options.get("config-file-type") != "s3":
            return None
        return await self._object(scope, str(options.get("config-file-value")), sentences.router_config_failed)

    async def _object(self, scope: Scope, arn: str, sentence: Callable[[str, str], str]) -> bytes:
        """An S3 object by its ARN (arn:aws:s3:::bucket/key)."""
        bucket, _, key = arn.split(":", 5)[-1].partition("/")
        if self._sources.objects is None:
            raise StepFailed("TaskFailedToStart", sentence(arn, "no source of objects"))
        found = await _wanted(self._sources.objects.read(scope, bucket, key), lambda why: sentence(arn, why))
        if found is None:
            raise StepFailed("TaskFailedToStart", sentence(arn, "NoSuchKey: The specified key does not exist."))
        return found

    async def _volume(self, task: Task, scope: Scope, volume: Volume) -> str | None:
        """What to mount instead of the volume that the name says; None when that is right."""
        file_system = file_system_of(volume)
        root = ""
        if file_system is not None:
            configuration = volume.efs_volume_configuration or {}
            root = await self._root_of(scope, file_system, configuration)
        spec = wanted_volume(task, volume)
        if spec is None:
            return None
        path = await self._made(self._engine.ensure_volume(spec))
        if file_system is None:
            return spec.name
        return path + root

    async def _root_of(self, scope: Scope, file_system: str, configuration: Mapping[str, Any]) -> str:
        point = (configuration.get("authorizationConfig") or {}).get("accessPointId")
        root = str(configuration.get("rootDirectory") or "/")
        if self._sources.file_systems is None:
            return _inside(root)
        found = await _wanted(
            self._sources.file_systems.root(scope, file_system, point),
            lambda why: sentences.file_system_failed(file_system, scope.region, why),
        )
        return _inside(found if point else root)

    async def _made(self, volume: Awaitable[str]) -> str:
        try:
            return await volume
        except EngineError as error:
            raise StepFailed("TaskFailedToStart", error.reason()) from error


def _inside(directory: str) -> str:
    """A directory of a file system as what follows the path of its root: no way leads out of it."""
    return posixpath.normpath("/" + directory.strip("/")).rstrip("/")


def environment_files(task: Task, definition: ContainerDefinition) -> tuple[str, ...]:
    """ARNs of S3 objects; an override replaces the list (ecs-tasks §10)."""
    given = override_of(task, definition.name or "").get("environmentFiles")
    files = definition.environment_files if given is None else given
    return tuple(str(one.get("value")) for one in files or ())


def needs_resources(task: Task, document: Document) -> bool:
    return any(
        c.secrets
        or c.firelens_configuration is not None
        or environment_files(task, c)
        or (c.log_configuration is not None and c.log_configuration.secret_options)
        for c in document.container_definitions
    ) or any(wanted_volume(task, volume) is not None for volume in mounted(document))


def _heard(read: asyncio.Future[Resources]) -> None:
    """Whoever asked may have been called off."""
    if not read.cancelled():
        read.exception()


async def _wanted(asked: Awaitable[T], sentence: Callable[[str], str]) -> T:
    try:
        return await asked
    except AwsError as error:
        raise StepFailed("TaskFailedToStart", sentence(f"{error.code}: {error.message}")) from error
