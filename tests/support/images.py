"""Small images without a registry: tars of a static busybox, imported into the local Docker engine.

    from support.images import busybox_image, web_image

    image = await busybox_image()                       # sh, sleep, httpd, wget …; no command of its own
    image = await web_image(port=8080, body="blue\n")   # serves `/` and `/health` at once

Importing the same content twice gives the same name and costs a few milliseconds. `remove_images` at the end of a
session takes them away again.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import subprocess
import tarfile
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

import pytest

from moorage.engine.docker.client import ApiError, Client
from moorage.engine.docker.hosts import current_host

BUSYBOX = Path("/bin/busybox")
REPOSITORY = "moorage-test"


@cache
def _applets() -> tuple[str, ...]:
    if not BUSYBOX.exists():
        pytest.skip("no /bin/busybox: apt-get install busybox-static")
    listed = subprocess.run([str(BUSYBOX), "--list"], capture_output=True, text=True, check=True)
    return tuple(name for name in listed.stdout.split() if name != "busybox")


def busybox_tar(files: Mapping[str, str | bytes] | None = None) -> bytes:
    """A root file system: busybox with all its names, /tmp, and `files` (path → content, executable)."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:

        def add(
            path: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, mode: int = 0o755, link: str = ""
        ) -> None:
            entry = tarfile.TarInfo(path.lstrip("/"))
            entry.type, entry.mode, entry.size, entry.linkname = kind, mode, len(content), link
            archive.addfile(entry, io.BytesIO(content))

        for folder, mode in (("bin", 0o755), ("etc", 0o755), ("www", 0o755), ("tmp", 0o1777)):
            add(folder, kind=tarfile.DIRTYPE, mode=mode)
        names = _applets()
        add("bin/busybox", BUSYBOX.read_bytes())
        for name in names:
            add(f"bin/{name}", kind=tarfile.SYMTYPE, link="busybox")
        add("etc/passwd", b"root:x:0:0:root:/:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n", mode=0o644)
        for path, content in (files or {}).items():
            add(path, content.encode() if isinstance(content, str) else content)
    return buffer.getvalue()


async def import_image(name: str, archive: bytes, changes: Sequence[str] = ()) -> str:
    """`changes` are Dockerfile lines ('CMD ["sleep", "60"]'). Returns `name`."""
    repository, _, tag = name.rpartition(":")
    client = Client(current_host(None))
    query = {"fromSrc": "-", "repo": repository, "tag": tag}
    if changes:
        query["changes"] = "\n".join(changes)
    headers = {"Content-Type": "application/x-tar"}
    try:
        await client.call("POST", "/images/create", query=query, data=archive, headers=headers)
    finally:
        await client.close()
    return name


async def busybox_image(
    name: str | None = None, *, files: Mapping[str, str | bytes] | None = None, changes: Sequence[str] = ()
) -> str:
    """Without a name, one is made from the content: equal calls share an image."""
    archive = busybox_tar(files)
    if name is None:
        key = hashlib.sha256(archive + "\n".join(changes).encode()).hexdigest()[:12]
        name = f"{REPOSITORY}/busybox:{key}"
        if await _exists(name):
            return name
    return await import_image(name, archive, changes)


async def web_image(name: str | None = None, *, port: int = 80, body: str = "hello\n") -> str:
    """busybox httpd: `/` answers `body`, `/health` answers "ok"; ends at once on SIGTERM."""
    script = f"#!/bin/sh\ntrap 'exit 0' TERM INT\nhttpd -f -p {port} -h /www &\nwait\n"
    files = {"www/index.html": body, "www/health": "ok\n", "bin/serve": script}
    return await busybox_image(name, files=files, changes=['CMD ["serve"]', f"EXPOSE {port}"])


def build_images() -> dict[str, str]:
    """For tests that are not async: {"busybox": name, "web": name}."""

    async def build() -> dict[str, str]:
        return {"busybox": await busybox_image(), "web": await web_image()}

    return asyncio.run(build())


async def remove_images(*names: str) -> None:
    client = Client(current_host(None))
    try:
        for name in names:
            try:
                await client.call("DELETE", f"/images/{name}", query={"force": "true"})
            except ApiError as error:
                if error.status != 404:
                    raise
    finally:
        await client.close()


async def _exists(name: str) -> bool:
    client = Client(current_host(None))
    try:
        await client.call("GET", f"/images/{name}/json")
    except ApiError:
        return False
    else:
        return True
    finally:
        await client.close()
