"""Layers over the AWS API: the same blobs and the same rules as `docker push`, in ECR's own operations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from moorage.domain.ecr import Layer, Repository, image_key
from moorage.domain.errors import AwsError
from moorage.registry.names import is_digest
from moorage.services.base import RequestContext, operation
from moorage.services.ecr import present
from moorage.services.ecr.common import EcrOperations, Params, in_repository, invalid
from moorage.store.tables.ecr import LAYERS

Answer = dict[str, Any]
PART_SIZE = 10 << 20


class LayerOperations(EcrOperations):
    @operation("BatchCheckLayerAvailability")
    async def batch_check_layer_availability(self, context: RequestContext, params: Params) -> Answer:
        owner = self._repository(self._store, context, params)
        layers: list[Answer] = []
        failures: list[Answer] = []
        for digest in params["layerDigests"]:
            if not is_digest(digest):
                reason = "Invalid layer digest: it must be sha256 and 64 hexadecimal digits"
                failures.append({"layerDigest": digest, "failureCode": "InvalidLayerDigest", "failureReason": reason})
                continue
            layer = self._layer(owner, digest)
            if layer is None:
                layers.append({"layerDigest": digest, "layerAvailability": "UNAVAILABLE"})
            else:
                layers.append({"layerDigest": digest, "layerAvailability": "AVAILABLE", "layerSize": layer.size})
        return {"layers": layers, "failures": failures}

    @operation("GetDownloadUrlForLayer")
    async def get_download_url_for_layer(self, context: RequestContext, params: Params) -> Answer:
        owner = self._repository(self._store, context, params)
        digest = params["layerDigest"]
        if self._layer(owner, digest) is None:
            raise AwsError(
                "LayersNotFoundException", f"Layer with digest '{digest}' not found in the {in_repository(owner)}"
            )
        return {"downloadUrl": self._registry.download_url(owner, digest), "layerDigest": digest}

    @operation("InitiateLayerUpload")
    async def initiate_layer_upload(self, context: RequestContext, params: Params) -> Answer:
        owner = self._repository(self._store, context, params)
        return {"uploadId": await self._registry.blobs.start_upload(owner.arn), "partSize": PART_SIZE}

    @operation("UploadLayerPart")
    async def upload_layer_part(self, context: RequestContext, params: Params) -> Answer:
        owner = self._repository(self._store, context, params)
        part: bytes = params["layerPartBlob"]
        first, last = params["partFirstByte"], params["partLastByte"]
        if last - first + 1 != len(part):
            raise invalid("partLastByte", f"bytes {first} to {last} were announced, {len(part)} bytes were sent")
        size = await self._registry.blobs.append(owner.arn, params["uploadId"], _once(part), first)
        return {**present.named(owner), "uploadId": params["uploadId"], "lastByteReceived": size - 1}

    @operation("CompleteLayerUpload")
    async def complete_layer_upload(self, context: RequestContext, params: Params) -> Answer:
        owner = self._repository(self._store, context, params)
        upload_id = params["uploadId"]
        digest = params["layerDigests"][0]
        if not is_digest(digest):
            raise AwsError("InvalidLayerException", f"'{digest}' is not a sha256 digest")
        if not await self._registry.blobs.upload_size(owner.arn, upload_id):
            raise AwsError("EmptyUploadException", "The specified layer upload does not contain any layer parts.")
        if self._layer(owner, digest) is not None:
            await self._registry.blobs.abandon(owner.arn, upload_id)
            raise AwsError(
                "LayerAlreadyExistsException",
                f"Layer with digest '{digest}' already exists in the {in_repository(owner)}",
            )
        size = await self._registry.blobs.finish(owner.arn, upload_id, digest)
        await self._registry.add_layer(owner.arn, digest, size)
        return {**present.named(owner), "uploadId": upload_id, "layerDigest": digest}

    def _layer(self, owner: Repository, digest: str) -> Layer | None:
        return self._store.get(LAYERS, image_key(owner.arn, digest))


async def _once(part: bytes) -> AsyncIterator[bytes]:
    yield part
