"""What the control loops need from parts that they may not import: narrow Protocols, filled in by `app.py` and by the
simulated world."""

from __future__ import annotations

from typing import Any, Protocol

import msgspec

from moorage.decide.rollout.hooks import HookAnswer
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


class SecretSource(Protocol):
    async def value(self, scope: Scope, value_from: str) -> str:
        """The value behind `valueFrom` (ecs-tasks §18). Raises `AwsError` with the reason."""
        ...


class ContainerLog(msgspec.Struct, frozen=True):
    """Where a container's output goes: `prefix` None means that the stream is named by the container's engine id."""

    scope: Scope
    container_id: str
    container_name: str
    task_id: str
    group: str
    region: str
    prefix: str | None = None
    create_group: bool = False


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
