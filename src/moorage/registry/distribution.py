"""The answers of the distribution API: blobs, uploads, manifests, tags, referrers of one authenticated call.

Bytes are `blobs`' business, manifests and tags are records of the store, the rules for putting an image are `images`'.
Who asks, and where a name is looked up, is settled before (`registry`). Source: semantics around §1.2.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlencode

import msgspec
from aiohttp import web

from moorage.domain.clock import Clock
from moorage.domain.ecr import Image, Layer, Repository, image_key, not_in_registry, repository_arn, tag_key
from moorage.domain.errors import Retryable
from moorage.domain.scope import Scope
from moorage.registry.access import grants
from moorage.registry.blobs import BlobStore
from moorage.registry.errors import RegistryError
from moorage.registry.images import MAX_MANIFEST, OCI_INDEX, parse_manifest, put_image
from moorage.registry.names import DIGEST_PATTERN, REPOSITORY_PATTERN, is_digest, is_repository_name
from moorage.store.api import StoreApi, Transaction
from moorage.store.tables.ecr import IMAGE_TAGS, IMAGES, LAYERS, REPOSITORIES

# The time of the last pull is kept to this resolution, so that pulls do not become writes (seconds).
PULL_TIME_RESOLUTION = 600.0

Handler = Callable[["Call"], Awaitable[web.StreamResponse]]


class Call(msgspec.Struct, frozen=True):
    """One authenticated request: `scope` is where `name` is looked up, `caller` the account that asks; `rest` is the
    path's last part."""

    request: web.BaseRequest
    scope: Scope
    caller: str
    name: str
    rest: str


class Distribution:
    """One handler per address and method; `route` finds it."""

    def __init__(self, store: StoreApi, clock: Clock, blobs: BlobStore) -> None:
        self._store = store
        self._clock = clock
        self.blobs = blobs
        self._background: set[asyncio.Task[None]] = set()
        name = f"(?P<name>{REPOSITORY_PATTERN})"
        # First match wins: an upload's address also looks like a blob's.
        self._routes: list[tuple[re.Pattern[str], dict[str, Handler]]] = [
            (re.compile(f"/v2/{name}/blobs/uploads/?(?P<rest>)"), {"POST": self._start_upload}),
            (
                re.compile(f"/v2/{name}/blobs/uploads/(?P<rest>[A-Za-z0-9-]+)"),
                {
                    "GET": self._upload_status,
                    "PATCH": self._append,
                    "PUT": self._finish_upload,
                    "DELETE": self._abandon,
                },
            ),
            (re.compile(f"/v2/{name}/blobs/(?P<rest>[^/]+)"), {"GET": self._blob, "HEAD": self._blob}),
            (
                re.compile(f"/v2/{name}/manifests/(?P<rest>[^/]+)"),
                {"GET": self._manifest, "HEAD": self._manifest, "PUT": self._put_manifest},
            ),
            (re.compile(f"/v2/{name}/tags/list(?P<rest>)"), {"GET": self._tags}),
            (re.compile(f"/v2/{name}/referrers/(?P<rest>{DIGEST_PATTERN})"), {"GET": self._referrers}),
        ]

    def route(self, method: str, path: str) -> tuple[Handler, str, str]:
        """The handler, the repository's name and the rest of the path; raises RegistryError when there is none."""
        for pattern, methods in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            handler = methods.get(method)
            if handler is None:
                raise RegistryError(405, "UNSUPPORTED", "The operation is unsupported.", Allow=", ".join(methods))
            return handler, match["name"], match["rest"]
        raise RegistryError(404, "UNSUPPORTED", f"{path} is not part of this registry's API.")

    async def close(self) -> None:
        await asyncio.gather(*self._background, return_exceptions=True)

    async def add_layer(self, arn: str, digest: str, size: int) -> None:
        """Lets a repository serve a blob that is on disk (durable when this returns)."""
        layer = Layer(arn, digest, size, self._clock.now())
        await self._store.update(lambda tx: tx.put(LAYERS, layer))

    # -- repositories and what is in them ----------------------------------------------------------------------------

    def _repository(self, call: Call, name: str | None = None) -> Repository:
        name = name or call.name
        repository = self._store.get(REPOSITORIES, repository_arn(call.scope, name))
        if repository is None:
            raise RegistryError(404, "NAME_UNKNOWN", not_in_registry(name, call.scope.account))
        action = "ecr:BatchGetImage" if call.request.method in ("GET", "HEAD") else "ecr:PutImage"
        if not _may(call, repository, action):
            raise RegistryError(
                403,
                "DENIED",
                f"User: arn:aws:iam::{call.caller}:root is not authorized to perform: {action} on resource: "
                f"{repository.arn} because no resource-based policy allows the {action} action",
            )
        return repository

    def _layer(self, repository: Repository, digest: str) -> Layer | None:
        return self._store.get(LAYERS, image_key(repository.arn, digest))

    def _find_image(self, repository: Repository, reference: str) -> Image:
        digest = reference
        if not is_digest(reference):
            tag = self._store.get(IMAGE_TAGS, tag_key(repository.arn, reference))
            digest = tag.digest if tag else ""
        image = self._store.get(IMAGES, image_key(repository.arn, digest))
        if image is None:
            raise RegistryError(404, "MANIFEST_UNKNOWN", "Requested image not found")
        return image

    async def _tags(self, call: Call) -> web.StreamResponse:
        repository = self._repository(call)
        names = sorted(tag.tag for tag in self._store.find(IMAGE_TAGS, "repository", repository.arn))
        last = call.request.query.get("last")
        if last is not None:
            names = [name for name in names if name > last]
        limit = call.request.query.get("n")
        headers = {}
        if limit is not None:
            if not limit.isdigit():
                raise RegistryError(400, "PAGINATION_NUMBER_INVALID", f"n must be a number, not {limit!r}")
            page = names[: int(limit)]
            if page and len(page) < len(names):
                query = urlencode({"n": limit, "last": page[-1]})
                headers["Link"] = f'</v2/{call.name}/tags/list?{query}>; rel="next"'
            names = page
        return web.json_response({"name": call.name, "tags": names}, headers=headers)

    async def _referrers(self, call: Call) -> web.StreamResponse:
        repository = self._repository(call)
        wanted = call.request.query.get("artifactType")
        manifests = [
            {"mediaType": image.media_type, "digest": image.digest, "size": len(image.manifest)}
            | ({"artifactType": image.artifact_media_type} if image.artifact_media_type else {})
            for image in self._store.find(IMAGES, "repository", repository.arn)
            if image.subject == call.rest and wanted in (None, image.artifact_media_type)
        ]
        headers = {"OCI-Filters-Applied": "artifactType"} if wanted else {}
        body = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests}
        return web.json_response(body, content_type=OCI_INDEX, headers=headers)

    # -- manifests ---------------------------------------------------------------------------------------------------

    async def _manifest(self, call: Call) -> web.StreamResponse:
        image = self._find_image(self._repository(call), call.rest)
        if call.request.method == "GET":
            self._note_pull(image)
        return web.Response(
            body=image.manifest,
            headers={
                "Content-Type": image.media_type,
                "Docker-Content-Digest": image.digest,
                "ETag": f'"{image.digest}"',
            },
        )

    async def _put_manifest(self, call: Call) -> web.StreamResponse:
        repository = self._repository(call)
        content = await _read(call.request, MAX_MANIFEST)
        media_type = call.request.headers.get("Content-Type", "").partition(";")[0].strip() or None
        manifest = parse_manifest(content, None if media_type == "application/json" else media_type)
        by_digest = ":" in call.rest
        if by_digest and call.rest != manifest.digest:
            raise RegistryError(
                400, "DIGEST_INVALID", f"The manifest has the digest {manifest.digest}, not {call.rest}."
            )
        now = self._clock.now()

        def put(tx: Transaction) -> None:
            current = tx.get(REPOSITORIES, repository.arn)
            if current is None:
                raise RegistryError(404, "NAME_UNKNOWN", not_in_registry(call.name, call.scope.account))
            put_image(tx, current, content, manifest, None if by_digest else call.rest, now)

        await self._store.update(put)
        headers = {
            "Location": f"/v2/{call.name}/manifests/{manifest.digest}",
            "Docker-Content-Digest": manifest.digest,
        }
        if manifest.subject:
            headers["OCI-Subject"] = manifest.subject
        return web.Response(status=201, headers=headers)

    def _note_pull(self, image: Image) -> None:
        """Keeps the time of the pull, in the background: a pull never waits for the disk."""
        now = self._clock.now()
        if image.last_pulled_at is not None and now - image.last_pulled_at < PULL_TIME_RESOLUTION:
            return

        def note(tx: Transaction) -> None:
            current = tx.get(IMAGES, image.key)
            if current is not None:
                tx.put(IMAGES, msgspec.structs.replace(current, last_pulled_at=now))

        async def write() -> None:
            with contextlib.suppress(Retryable):
                await self._store.update(note)

        task = asyncio.create_task(write(), name="registry pull time")
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    # -- blobs -------------------------------------------------------------------------------------------------------

    async def _blob(self, call: Call) -> web.StreamResponse:
        repository = self._repository(call)
        layer = self._layer(repository, call.rest) if is_digest(call.rest) else None
        if layer is None or self.blobs.size(call.rest) is None:
            raise RegistryError(404, "BLOB_UNKNOWN", f"The blob {call.rest} is not in the repository {call.name}.")
        if call.request.method == "HEAD":
            # A push that finds its layer here relies on it until its manifest arrives.
            self.blobs.touch(call.rest)
        headers = {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": call.rest,
            "Docker-Distribution-Api-Version": "registry/2.0",
        }
        # FileResponse answers HEAD, Range and If-Range by itself and sends the file from the kernel.
        return web.FileResponse(self.blobs.path(call.rest), headers=headers, chunk_size=1 << 20)

    async def _start_upload(self, call: Call) -> web.StreamResponse:
        """POST: mounts a blob from another repository, takes a whole blob (`digest`), or opens an upload."""
        repository = self._repository(call)
        query = call.request.query
        mount = query.get("mount")
        if mount is not None and is_digest(mount) and await self._mount(call, repository, mount, query.get("from")):
            return _created(call.name, mount)
        digest = query.get("digest")
        upload_id = await self.blobs.start_upload(repository.arn)
        if digest is not None:
            return await self._complete(call, repository, upload_id, digest)
        return _accepted(call.name, upload_id, 0)

    async def _mount(self, call: Call, repository: Repository, digest: str, source: str | None) -> bool:
        """Whether the blob could be taken over from `source`, a repository of the same registry."""
        if source is None or not is_repository_name(source) or self.blobs.size(digest) is None:
            return False
        other = self._store.get(REPOSITORIES, repository_arn(call.scope, source))
        if other is None or not _may(call, other, "ecr:BatchGetImage"):
            return False
        layer = self._layer(other, digest)
        if layer is None:
            return False
        self.blobs.touch(digest)
        await self.add_layer(repository.arn, digest, layer.size)
        return True

    async def _upload_status(self, call: Call) -> web.StreamResponse:
        size = await self.blobs.upload_size(self._repository(call).arn, call.rest)
        return _accepted(call.name, call.rest, size, status=204)

    async def _append(self, call: Call) -> web.StreamResponse:
        repository = self._repository(call)
        size = await self.blobs.append(repository.arn, call.rest, _body(call.request), _first_byte(call.request))
        return _accepted(call.name, call.rest, size)

    async def _finish_upload(self, call: Call) -> web.StreamResponse:
        return await self._complete(call, self._repository(call), call.rest, call.request.query.get("digest", ""))

    async def _complete(self, call: Call, repository: Repository, upload_id: str, digest: str) -> web.StreamResponse:
        if not is_digest(digest):
            raise RegistryError(400, "DIGEST_INVALID", f"{digest!r} is not a sha256 digest.")
        await self.blobs.append(repository.arn, upload_id, _body(call.request), _first_byte(call.request))
        size = await self.blobs.finish(repository.arn, upload_id, digest)
        await self.add_layer(repository.arn, digest, size)
        return _created(call.name, digest)

    async def _abandon(self, call: Call) -> web.StreamResponse:
        await self.blobs.abandon(self._repository(call).arn, call.rest)
        return web.Response(status=204)


def _may(call: Call, repository: Repository, action: str) -> bool:
    return call.caller == repository.account or grants(repository.policy_text, call.caller, action)


def _accepted(name: str, upload_id: str, size: int, status: int = 202) -> web.Response:
    headers = {
        "Location": f"/v2/{name}/blobs/uploads/{upload_id}",
        "Docker-Upload-UUID": upload_id,
        "Range": f"0-{max(0, size - 1)}",
    }
    return web.Response(status=status, headers=headers)


def _created(name: str, digest: str) -> web.Response:
    headers = {"Location": f"/v2/{name}/blobs/{digest}", "Docker-Content-Digest": digest}
    return web.Response(status=201, headers=headers)


def _first_byte(request: web.BaseRequest) -> int | None:
    """The start of `Content-Range: <first>-<last>` (the distribution API's form; `bytes ` in front is tolerated)."""
    match = re.match(r"(?:bytes )?(\d+)-\d+", request.headers.get("Content-Range", ""))
    return int(match[1]) if match else None


async def _body(request: web.BaseRequest) -> AsyncIterator[bytes]:
    async for chunk in request.content.iter_any():
        yield chunk


async def _read(request: web.BaseRequest, limit: int) -> bytes:
    content = bytearray()
    async for chunk in _body(request):
        content += chunk
        if len(content) > limit:
            raise RegistryError(413, "MANIFEST_INVALID", f"A manifest may not be larger than {limit} bytes.")
    return bytes(content)
