"""Blobs as content-addressed files, and uploads in progress.

A blob's name is its digest; it appears by fsync and rename, whole or not at all. An upload is a temporary file that is
hashed while it streams in; after a restart it can be resumed, since nothing about it lives only in memory. This module
knows neither repositories nor HTTP: who may read a blob is decided elsewhere. File work happens in threads.

    <directory>/blobs/sha256/<two hex digits>/<hex>        <directory>/uploads/<owner hash>-<upload id>
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from moorage.domain.clock import Clock, Ids
from moorage.domain.errors import AwsError

BATCH = 1 << 20
MAX_BLOB = 10 << 30


class Upload:
    """`hasher` has seen exactly the first `size` bytes of the file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size = 0
        self.hasher = hashlib.sha256()
        self.lock = asyncio.Lock()

    def absorb(self) -> None:
        """Hashes what an earlier process left in the file."""
        with self.path.open("rb") as file:
            while chunk := file.read(BATCH):
                self.hasher.update(chunk)
                self.size += len(chunk)

    def write(self, chunk: bytes) -> None:
        """Writes at the hashed end; whatever a failed write left behind it is overwritten."""
        with self.path.open("r+b", buffering=0) as file:
            file.seek(self.size)
            view = memoryview(chunk)
            while view:
                view = view[file.write(view) :]
        self.hasher.update(chunk)
        self.size += len(chunk)


class BlobStore:
    """All blobs of an installation. `owner` binds an upload to the repository that started it."""

    def __init__(self, directory: Path, clock: Clock, ids: Ids) -> None:
        self._blobs = directory / "blobs" / "sha256"
        self._uploads = directory / "uploads"
        self._clock = clock
        self._ids = ids
        self._open: dict[Path, Upload] = {}

    # -- blobs -------------------------------------------------------------------------------------------------------

    def path(self, digest: str) -> Path:
        hexadecimal = digest.removeprefix("sha256:")
        return self._blobs / hexadecimal[:2] / hexadecimal

    def size(self, digest: str) -> int | None:
        """Bytes; None when there is no such blob."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            return None

    def touch(self, digest: str) -> None:
        """Marks the blob as wanted now, which keeps the sweep away from it for the grace period."""
        now = self._clock.now()
        os.utime(self.path(digest), (now, now))

    def wanted_since(self, digest: str, moment: float) -> bool:
        try:
            return self.path(digest).stat().st_mtime >= moment
        except FileNotFoundError:
            return False

    def delete(self, digest: str) -> None:
        self.path(digest).unlink(missing_ok=True)

    def digests(self, older_than: float) -> Iterator[str]:
        """Blobs last wanted before `older_than` (epoch seconds)."""
        for file in self._blobs.glob("*/*"):
            if file.stat().st_mtime < older_than:
                yield f"sha256:{file.name}"

    # -- uploads -----------------------------------------------------------------------------------------------------

    async def start_upload(self, owner: str) -> str:
        upload_id = self._ids.uuid()
        path = self._upload_path(owner, upload_id)

        def create() -> None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

        await asyncio.to_thread(create)
        self._open[path] = Upload(path)
        return upload_id

    async def upload_size(self, owner: str, upload_id: str) -> int:
        return (await self._upload(owner, upload_id)).size

    async def append(
        self, owner: str, upload_id: str, chunks: AsyncIterator[bytes], first_byte: int | None = None
    ) -> int:
        """Appends a stream and returns the new size. `first_byte`, when given, must be the current size. A stream that
        breaks off keeps what arrived: the caller may resume from there."""
        upload = await self._upload(owner, upload_id)
        async with upload.lock:
            if first_byte is not None and first_byte != upload.size:
                raise AwsError(
                    "InvalidLayerPartException",
                    f"The layer part first byte was '{first_byte}', but the expected first byte is '{upload.size}'.",
                )
            async for batch in _batches(chunks):
                if upload.size + len(batch) > MAX_BLOB:
                    raise AwsError("LimitExceededException", f"A layer may not be larger than {MAX_BLOB} bytes.")
                await asyncio.to_thread(upload.write, batch)
            return upload.size

    async def finish(self, owner: str, upload_id: str, digest: str) -> int:
        """Makes the upload a blob and returns its size; refuses when the content has another digest."""
        upload = await self._upload(owner, upload_id)
        async with upload.lock:
            found = f"sha256:{upload.hasher.hexdigest()}"
            if found != digest:
                raise AwsError(
                    "InvalidLayerException",
                    f"The layer digest calculation performed by the registry returned '{found}', which does not match "
                    f"the provided digest '{digest}'.",
                )
            await asyncio.to_thread(self._publish, upload, digest)
            self._open.pop(upload.path, None)
            return upload.size

    async def abandon(self, owner: str, upload_id: str) -> None:
        upload = await self._upload(owner, upload_id)
        self._open.pop(upload.path, None)
        upload.path.unlink(missing_ok=True)

    def remove_stale_uploads(self, older_than: float) -> int:
        """Removes uploads last written before `older_than`; returns how many."""
        removed = 0
        for file in self._uploads.glob("*"):
            upload = self._open.get(file)
            if file.stat().st_mtime < older_than and not (upload and upload.lock.locked()):
                file.unlink()
                self._open.pop(file, None)
                removed += 1
        return removed

    def _publish(self, upload: Upload, digest: str) -> None:
        target = self.path(digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        with upload.path.open("r+b") as file:
            file.truncate(upload.size)
            file.flush()
            os.fsync(file.fileno())
        upload.path.replace(target)
        self.touch(digest)
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _upload_path(self, owner: str, upload_id: str) -> Path:
        return self._uploads / f"{hashlib.sha256(owner.encode()).hexdigest()[:16]}-{upload_id}"

    async def _upload(self, owner: str, upload_id: str) -> Upload:
        path = self._upload_path(owner, upload_id)
        upload = self._open.get(path)
        if upload is None:
            if "/" in upload_id or not path.exists():
                raise AwsError(
                    "UploadNotFoundException",
                    "The upload could not be found, or the specified upload id is not valid for this repository.",
                )
            upload = Upload(path)
            await asyncio.to_thread(upload.absorb)
            upload = self._open.setdefault(path, upload)
        return upload


async def _batches(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same bytes in pieces of about `BATCH`, so that a thread is not started for every network read."""
    gathered = bytearray()
    async for chunk in chunks:
        gathered += chunk
        if len(gathered) >= BATCH:
            yield bytes(gathered)
            gathered.clear()
    if gathered:
        yield bytes(gathered)
