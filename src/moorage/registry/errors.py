"""Refusals of the distribution API in its own JSON shape, and how ECR's error codes map to them."""

from __future__ import annotations

from aiohttp import web

from moorage.domain.errors import AwsError

JSON = "application/json; charset=utf-8"


class RegistryError(Exception):
    """`code` is one of the distribution specification's; docker prints it in lower case before the message
    ("name unknown: The repository …")."""

    def __init__(self, status: int, code: str, message: str, **headers: str) -> None:
        super().__init__(f"{code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def response(self) -> web.Response:
        return web.json_response(
            {"errors": [{"code": self.code, "message": self.message}]}, status=self.status, headers=self.headers
        )


_FROM_AWS: dict[str, tuple[int, str]] = {
    "RepositoryNotFoundException": (404, "NAME_UNKNOWN"),
    "ImageTagAlreadyExistsException": (400, "TAG_INVALID"),
    "LayersNotFoundException": (400, "MANIFEST_BLOB_UNKNOWN"),
    "ReferencedImagesNotFoundException": (400, "MANIFEST_UNKNOWN"),
    "ImageDigestDoesNotMatchException": (400, "DIGEST_INVALID"),
    "InvalidLayerException": (400, "DIGEST_INVALID"),
    "UploadNotFoundException": (404, "BLOB_UPLOAD_UNKNOWN"),
    "InvalidLayerPartException": (416, "BLOB_UPLOAD_INVALID"),
    "InvalidParameterException": (400, "MANIFEST_INVALID"),
}


def from_aws(error: AwsError) -> RegistryError:
    status, code = _FROM_AWS.get(error.code, (error.status, "UNKNOWN"))
    return RegistryError(status, code, error.message)
