"""The smallest image registry that Docker pulls from, with a count of what was asked: tests of pulling, not of ours."""

from __future__ import annotations

import gzip
import hashlib
import json
import platform
from collections import Counter

from aiohttp import web

_ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class FakeRegistry:
    """`asked[path]`: how often. Serves `name:tag` for every pair given to `add`."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._blobs: dict[str, bytes] = {}
        self._manifests: dict[tuple[str, str], bytes] = {}
        self._runner: web.AppRunner | None = None
        self.port = 0

    def add(self, name: str, tag: str, layer_tar: bytes, command: list[str]) -> str:
        """Returns the manifest's digest."""
        layer = gzip.compress(layer_tar, mtime=0)
        config = json.dumps(
            {
                "architecture": _ARCHITECTURE,
                "os": "linux",
                "config": {"Cmd": command},
                "rootfs": {"type": "layers", "diff_ids": [_digest(layer_tar)]},
            }
        ).encode()
        self._blobs |= {_digest(layer): layer, _digest(config): config}
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": {
                    "mediaType": "application/vnd.docker.container.image.v1+json",
                    "size": len(config),
                    "digest": _digest(config),
                },
                "layers": [
                    {
                        "mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip",
                        "size": len(layer),
                        "digest": _digest(layer),
                    }
                ],
            }
        ).encode()
        for reference in (tag, _digest(manifest)):
            self._manifests[name, reference] = manifest
        return _digest(manifest)

    async def start(self) -> None:
        app = web.Application()
        app.router.add_route("GET", "/v2/", self._root)
        app.router.add_route("*", "/v2/{name:.+}/manifests/{reference}", self._manifest)
        app.router.add_route("*", "/v2/{name:.+}/blobs/{digest}", self._blob)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _root(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def _manifest(self, request: web.Request) -> web.Response:
        name, reference = request.match_info["name"], request.match_info["reference"]
        self.asked[f"{request.method} {name}:{reference}"] += 1
        manifest = self._manifests.get((name, reference))
        if manifest is None:
            return web.json_response(
                {"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}, status=404
            )
        return web.Response(body=manifest, content_type=_MANIFEST, headers={"Docker-Content-Digest": _digest(manifest)})

    async def _blob(self, request: web.Request) -> web.Response:
        self.asked["blob"] += 1
        return web.Response(body=self._blobs[request.match_info["digest"]])
