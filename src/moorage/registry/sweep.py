"""Garbage collection: layers that no image needs, blobs that no repository holds, uploads that nobody continues.

What a push has just brought must survive until its manifest arrives, so nothing younger than the grace period is
touched. The last look at the records and the removal of a file happen without giving way to anybody, and whoever wants
a blob touches it first: a push can therefore never find a blob that is about to vanish.
"""

from __future__ import annotations

import asyncio

from moorage.registry.blobs import BlobStore
from moorage.store.api import StoreApi, Transaction
from moorage.store.tables.ecr import IMAGES, LAYERS

UPLOAD_GRACE = 24 * 3600.0


async def sweep(store: StoreApi, blobs: BlobStore, now: float, grace: float) -> int:
    """Seconds; returns the number of blob files removed."""
    horizon = now - grace

    def forget_layers(tx: Transaction) -> None:
        needed = {(image.repository_arn, blob) for image in tx.all(IMAGES) for blob in image.blobs}
        for layer in list(tx.all(LAYERS)):
            if (layer.repository_arn, layer.digest) in needed or layer.uploaded_at >= horizon:
                continue
            if not blobs.wanted_since(layer.digest, horizon):
                tx.delete(LAYERS, layer.key)

    await store.update(forget_layers)
    removed = 0
    for digest in await asyncio.to_thread(lambda: list(blobs.digests(horizon))):
        if not store.find(LAYERS, "digest", digest) and not blobs.wanted_since(digest, horizon):
            blobs.delete(digest)
            removed += 1
    blobs.remove_stale_uploads(now - max(grace, UPLOAD_GRACE))
    return removed
