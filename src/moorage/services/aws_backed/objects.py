"""What Moorage's own services read from S3 (`ObjectLookup` and `BucketLookup` of `services/lookups`), answered by the
embedded one."""

from __future__ import annotations

from typing import Any

from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.services.aws_backed.forward import AwsBacked


class MotoObjects:
    def __init__(self, backed: AwsBacked) -> None:
        self._backed = backed

    async def read(self, scope: Scope, bucket: str, key: str, version: str | None = None) -> bytes | None:
        """The content of an object; None when there is no such bucket, object or version."""
        params: dict[str, Any] = {"Bucket": bucket, "Key": key}
        if version:
            params["VersionId"] = version
        try:
            answer = await self._backed.call(scope, "s3", "GetObject", params)
        except AwsError as error:
            if error.status >= 500:
                raise
            return None
        body = answer["Body"]
        return body if isinstance(body, bytes) else bytes(body.read())

    async def bucket_policy(self, scope: Scope, bucket: str) -> str | None:
        """In JSON; empty when it has none; None when there is no such bucket."""
        try:
            answer = await self._backed.call(scope, "s3", "GetBucketPolicy", {"Bucket": bucket})
        except AwsError as error:
            if error.status >= 500:
                raise
            return "" if error.code == "NoSuchBucketPolicy" else None
        return str(answer["Policy"])
