"""ECR's tables, and the two small writes that keep them consistent wherever images are removed."""

from __future__ import annotations

from moorage.domain.ecr import Image, ImageFacts, ImageTag, Layer, LifecyclePreview, Repository, image_key
from moorage.store.api import Table, Transaction, View

REPOSITORIES: Table[Repository] = Table(
    "ecr_repositories", Repository, key=lambda r: r.arn, indexes={"scope": lambda r: (r.account, r.region)}
)
IMAGES: Table[Image] = Table(
    "ecr_images", Image, key=lambda r: r.key, indexes={"repository": lambda r: r.repository_arn}
)
IMAGE_TAGS: Table[ImageTag] = Table(
    "ecr_image_tags",
    ImageTag,
    key=lambda r: r.key,
    indexes={"repository": lambda r: r.repository_arn, "image": lambda r: (r.repository_arn, r.digest)},
)
LAYERS: Table[Layer] = Table(
    "ecr_layers",
    Layer,
    key=lambda r: r.key,
    indexes={"repository": lambda r: r.repository_arn, "digest": lambda r: r.digest},
)
PREVIEWS: Table[LifecyclePreview] = Table("ecr_lifecycle_previews", LifecyclePreview, key=lambda r: r.repository_arn)
TABLES = (REPOSITORIES, IMAGES, IMAGE_TAGS, LAYERS, PREVIEWS)


def tags_of(view: View, repository_arn: str, digest: str) -> list[str]:
    """The tags of an image, sorted."""
    return sorted(tag.tag for tag in view.find(IMAGE_TAGS, "image", (repository_arn, digest)))


def delete_image(tx: Transaction, repository_arn: str, digest: str) -> list[str]:
    """Removes an image and all its tags; returns the tags it had. Layers go later, by the registry's sweep."""
    tags = list(tx.find(IMAGE_TAGS, "image", (repository_arn, digest)))
    for tag in tags:
        tx.delete(IMAGE_TAGS, tag.key)
    tx.delete(IMAGES, image_key(repository_arn, digest))
    return sorted(tag.tag for tag in tags)


def image_facts(view: View, repository_arn: str) -> list[ImageFacts]:
    """The images of a repository as a lifecycle policy sees them."""
    images = view.find(IMAGES, "repository", repository_arn)
    lists: dict[str, list[str]] = {}
    for image in images:
        for child in image.children:
            lists.setdefault(child, []).append(image.digest)
    return [
        ImageFacts(
            digest=image.digest,
            pushed_at=image.pushed_at,
            tags=tuple(tags_of(view, repository_arn, image.digest)),
            pulled_at=image.last_pulled_at,
            referenced_by=tuple(lists.get(image.digest, ())),
        )
        for image in images
    ]
