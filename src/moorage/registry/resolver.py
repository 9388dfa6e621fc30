"""Which image a task means when it names one of ours, and how an engine pulls it.

Answers the ECS side: `digest` for the services (no exception, no I/O), `pull_reference` for whoever pulls. A name of
ours whose image does not exist is refused here, in the words that ECS users see, before any engine is asked.
Source: semantics ecs-tasks §3 (CannotPullContainerError), around §1.2.
"""

from __future__ import annotations

from moorage.domain.ecr import Image, PullReference, image_key, repository_arn, tag_key
from moorage.domain.scope import Scope
from moorage.engine.driver import CannotPullContainerError
from moorage.registry.access import grants
from moorage.registry.names import Reference, parse_reference
from moorage.registry.registry import Registry
from moorage.registry.tokens import USERNAME
from moorage.store.api import View
from moorage.store.tables.ecr import IMAGE_TAGS, IMAGES, REPOSITORIES


class ImageResolver:
    """Implements `services.lookups.ImageLookup`. `scope` is always the caller's; a name that carries an account and a
    region is looked up there."""

    def __init__(self, registry: Registry, store: View) -> None:
        self._registry = registry
        self._store = store

    def digest(self, scope: Scope, image: str) -> str | None:
        """The manifest digest behind a name; None when it is not an image of ours or does not exist (yet)."""
        reference = parse_reference(image, self._registry.port)
        if reference is None:
            return None
        found = self._find(reference.scope or scope, reference)
        return found.digest if found else None

    def pull_reference(self, scope: Scope, image: str) -> PullReference | None:
        """None for foreign images. Raises CannotPullContainerError when the name is ours and nothing is there."""
        reference = parse_reference(image, self._registry.port)
        if reference is None:
            return None
        home = reference.scope or scope
        found = self._find(home, reference)
        if found is None:
            raise CannotPullContainerError(
                "pull image manifest has been retried 1 time(s): "
                f"failed to resolve ref {_with_tag(image, reference)}: {_with_tag(image, reference)}: not found"
            )
        if home.account != scope.account and not self._may_pull(scope, home, reference):
            raise CannotPullContainerError(
                "pull image manifest has been retried 1 time(s): "
                f"failed to resolve ref {_with_tag(image, reference)}: pulling from host {image.partition('/')[0]} "
                "failed with status code [manifests]: 403 Forbidden"
            )
        return PullReference(
            image=f"127.0.0.1:{self._registry.port}/{reference.name}@{found.digest}",
            digest=found.digest,
            username=USERNAME,
            password=self._registry.token(home),
        )

    def _may_pull(self, scope: Scope, home: Scope, reference: Reference) -> bool:
        repository = self._store.get(REPOSITORIES, repository_arn(home, reference.name))
        return repository is not None and grants(repository.policy_text, scope.account, "ecr:BatchGetImage")

    def _find(self, scope: Scope, reference: Reference) -> Image | None:
        arn = repository_arn(scope, reference.name)
        digest = reference.digest
        if digest is None:
            tag = self._store.get(IMAGE_TAGS, tag_key(arn, reference.tag or "latest"))
            if tag is None:
                return None
            digest = tag.digest
        return self._store.get(IMAGES, image_key(arn, digest))


def _with_tag(image: str, reference: Reference) -> str:
    """The name as containerd prints it: a missing tag is `latest`."""
    return image if image.endswith((f":{reference.tag}", f"@{reference.digest}")) else f"{image}:{reference.tag}"
