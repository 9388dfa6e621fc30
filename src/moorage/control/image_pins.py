"""Every task of a service revision runs the same images, byte for byte (semantics ecs-services §5.6, `versionConsistency`).

The first task that needs an image finds out what its tag means and writes that into the revision; every later one, and
every rollback, gets exactly that, wherever the tag points by then. Nothing is ever held up by it: an image whose digest
nobody knows stays what its name says.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import msgspec
from msgspec.structs import replace

from moorage.control.ports import ImageReference, ImageSource
from moorage.control.task_sets import revision_of
from moorage.domain.scope import Scope
from moorage.domain.service import Revision
from moorage.domain.task import Task
from moorage.domain.task_definition import ContainerDefinition
from moorage.engine.driver import Engine, EngineError, PulledImage, RegistryAuth
from moorage.store.api import StoreApi, Transaction, View
from moorage.store.tables.ecs import REVISIONS, SERVICES

log = logging.getLogger("moorage.task")

Auth = Callable[[], Awaitable[RegistryAuth | None]]


class Pin(msgspec.Struct, frozen=True):
    """`local`: the image is of no registry, `digest` is the engine's own id of it."""

    digest: str
    local: bool = False


def at_digest(image: str, digest: str) -> str:
    """ "web:v2" → "web@sha256:…"; "localhost:5000/web" → "localhost:5000/web@sha256:…"."""
    name = image.partition("@")[0]
    head, slash, last = name.rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}@{digest}"


class ImagePins:
    def __init__(self, store: StoreApi, engine: Engine, images: ImageSource) -> None:
        self._store = store
        self._engine = engine
        self._images = images

    async def pull(
        self, task: Task, definition: ContainerDefinition, image: str, auth: Auth, architecture: str | None
    ) -> PulledImage:
        """What to create the container from. `auth`: credentials of the task definition. Raises `EngineError`."""
        name = definition.name or ""
        pin = self._pin(task, definition)
        if pin is None:
            pulled = await self._by_name(task, image, auth, architecture)
            if definition.version_consistency == "disabled" or task.service_arn is None:
                return pulled
            pin = await self._keep(task, name, pulled)
            if pin is None or pin.digest in (pulled.digest, pulled.id):
                return _as_pinned(pulled, pin)
        if pin.local:
            return await self._local(task, name, image, pin, auth, architecture)
        return _as_pinned(await self._by_name(task, at_digest(image, pin.digest), auth, architecture), pin)

    def _pin(self, task: Task, definition: ContainerDefinition) -> Pin | None:
        revision = _revision(self._store, task)
        if revision is None or definition.version_consistency == "disabled":
            return None
        return _of(revision, definition.name or "")

    async def _by_name(
        self, task: Task, image: str, auth: Auth, architecture: str | None, *, always: bool | None = None
    ) -> PulledImage:
        reference: ImageReference = self._images.resolve(Scope(task.account, task.region), image)
        credentials = await auth() or reference.auth
        if always is None:
            always = reference.digest is None and "@" not in reference.image
        pulled = await self._engine.pull(reference.image, credentials, always=always, architecture=architecture)
        return replace(pulled, digest=reference.digest or pulled.digest)

    async def _local(
        self, task: Task, name: str, image: str, pin: Pin, auth: Auth, architecture: str | None
    ) -> PulledImage:
        """By its name while that still means the image, else by the engine's id."""
        try:
            named = await self._by_name(task, image, auth, architecture, always=False)
        except EngineError:
            named = None
        if named is not None and named.id == pin.digest:
            return _as_pinned(named, pin)
        try:
            return _as_pinned(await self._engine.pull(pin.digest, always=False, architecture=architecture), pin)
        except EngineError as error:
            if named is None:
                raise
            log.warning("%s: %s of %s is gone, its tag must do: %s", task.id, pin.digest, name, error)
            return named

    async def _keep(self, task: Task, name: str, pulled: PulledImage) -> Pin | None:
        """Writes what the image was found to be into the revision; whoever was first has said it for all."""
        digest = pulled.digest or pulled.id
        if digest is None:
            return None
        local = pulled.digest is None

        def write(tx: Transaction) -> Pin | None:
            revision = _revision(tx, task)
            if revision is None:
                return None
            known = _of(revision, name)
            if known is not None:
                return known
            tx.put(
                REVISIONS,
                replace(
                    revision,
                    images={**revision.images, name: digest},
                    local_images=(*revision.local_images, name) if local else revision.local_images,
                ),
            )
            return Pin(digest, local)

        return await self._store.update(write)


def _revision(view: View, task: Task) -> Revision | None:
    service = view.get(SERVICES, task.service_arn) if task.service_arn is not None else None
    if service is None or task.deployment_id is None:
        return None
    if service.controller == "ECS" and not any(d.id == task.deployment_id for d in service.deployments):
        return None
    return revision_of(view, service, task.deployment_id)


def _of(revision: Revision, name: str) -> Pin | None:
    digest = revision.images.get(name)
    return Pin(digest, name in revision.local_images) if digest is not None else None


def _as_pinned(pulled: PulledImage, pin: Pin | None) -> PulledImage:
    """With the digest that the API shows for it."""
    return pulled if pin is None else replace(pulled, digest=pin.digest)
