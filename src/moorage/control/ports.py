"""What the control loops need from parts that they may not import: narrow Protocols, filled in by `app.py` and by the
simulated world."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from moorage.decide.rollout.hooks import HookAnswer
from moorage.domain.alarm import Alarm
from moorage.domain.capacity_provider import HostGroup
from moorage.domain.network import SecurityGroup
from moorage.domain.scope import Scope
from moorage.engine.driver import RegistryAuth


class ImageReference(msgspec.Struct, frozen=True):
    """What the engine is told to pull. `digest`: known before pulling (images of our own registry)."""

    image: str
    auth: RegistryAuth | None = None
    digest: str | None = None


class ImageSource(Protocol):
    def resolve(self, scope: Scope, image: str) -> ImageReference:
        """The reference to pull for an image as a task definition names it. Foreign images come back unchanged.
        Raises `CannotPullContainerError` for an image of ours that does not exist."""
        ...


class AwsCalls(Protocol):
    async def call(
        self, scope: Scope, service: str, operation: str, params: Mapping[str, Any], *, principal: str = ""
    ) -> Mapping[str, Any]:
        """One call of any AWS service of this installation (botocore's names), as `principal` (an ARN; empty: the
        account's root) would make it over the wire. Raises `AwsError` with the service's own code."""
        ...


class SecretSource(Protocol):
    async def value(self, scope: Scope, value_from: str) -> str:
        """The value behind `valueFrom` (ecs-tasks §18). Raises `AwsError` with the reason."""
        ...


class ObjectSource(Protocol):
    async def read(self, scope: Scope, bucket: str, key: str, version: str | None = None) -> bytes | None:
        """The content of an object in S3; None when there is no such bucket or object. Raises `AwsError`."""
        ...


class FileSystemSource(Protocol):
    async def root(self, scope: Scope, file_system_id: str, access_point_id: str | None) -> str:
        """The directory of an EFS file system that an access point (None: the whole) begins at, from "/" on. Raises
        `AwsError` when there is no such file system or access point."""
        ...


class TaskSources(msgspec.Struct, frozen=True):
    """Where tasks get what their definitions only name. None: whoever asks is told that there is no such source."""

    secrets: SecretSource | None = None
    objects: ObjectSource | None = None
    file_systems: FileSystemSource | None = None


class ContainerLog(msgspec.Struct, frozen=True):
    """Where a container's output goes: `prefix` None means that the stream is named by the container's engine id.
    `options`: of the awslogs driver, as the task definition has them."""

    scope: Scope
    container_id: str
    container_name: str
    task_id: str
    group: str
    region: str
    prefix: str | None = None
    create_group: bool = False
    options: dict[str, str] = {}


class ContainerLogs(Protocol):
    async def validate(self, log: ContainerLog) -> str | None:
        """None, or why the log driver cannot start (the ResourceInitializationError text)."""
        ...

    async def follow(self, log: ContainerLog) -> None:
        """Follows the container's output in the background until it ends; asking again is fine."""
        ...

    async def drain(self, container_id: str) -> None:
        """Returns when everything that the stopped container wrote is stored."""
        ...


class PassThroughImages:
    """No registry of our own: every name is what it is."""

    def resolve(self, scope: Scope, image: str) -> ImageReference:
        return ImageReference(image)


class AlarmSource(Protocol):
    """CloudWatch, as deployments look at it."""

    async def alarms(self, scope: Scope, names: Sequence[str]) -> Mapping[str, Alarm]:
        """The alarms of these names, by name; those that do not exist are missing."""
        ...

    async def changed(self) -> None:
        """Returns when an alarm may have changed since the call; need not know of every change."""
        ...


class SecurityGroups(Protocol):
    """EC2's security groups, as far as they are enforced."""

    async def security_groups(self, scope: Scope, group_ids: Sequence[str]) -> Mapping[str, SecurityGroup]:
        """Those that exist, by id, with their ingress rules."""
        ...


class HostGroups(Protocol):
    """EC2 Auto Scaling, as capacity providers need it."""

    async def groups(self, scope: Scope) -> Sequence[HostGroup]:
        """All groups of the account and region, as they are now."""
        ...

    async def lost(self, scope: Scope, instance_ids: Collection[str]) -> Collection[str]:
        """Those of these instances, gone from their group, that went without being asked to leave: their machine was
        terminated under them."""
        ...

    async def set_desired(self, scope: Scope, name: str, desired: int) -> None:
        """Raises `AwsError`."""
        ...

    async def terminate(self, scope: Scope, instance_id: str) -> None:
        """Ends an instance of a group, which then wants one fewer. Raises `AwsError`; one that is gone is fine."""
        ...

    def watch(self, changed: Callable[[Scope], None]) -> None:
        """Calls back whenever a group of that scope may have changed."""
        ...


class HookRequest(msgspec.Struct, frozen=True):
    """A lifecycle hook to call: the function, the role to call it with, and the event that it gets (ecs-services §5.4)."""

    scope: Scope
    function_arn: str
    role_arn: str | None
    event: dict[str, Any]


class HookCaller(Protocol):
    async def call(self, request: HookRequest) -> HookAnswer:
        """What the function said. Does not raise for what the function does; may take as long as functions take."""
        ...


class NoFunctions:
    """Nothing runs functions: whatever a hook names has failed."""

    async def call(self, request: HookRequest) -> HookAnswer:
        return HookAnswer("FAILED")
