"""May this engine set limits of its own choice? Found out once, by trying.

Docker sets a container's ulimits with its own rights: where it runs without CAP_SYS_RESOURCE under a lower limit (a
container, a small virtual machine), a container that asks for more does not start. A default that nobody asked for must
not stop a task: it is left out there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from moorage.engine.docker import pause
from moorage.engine.docker.client import ApiError, Client
from moorage.engine.docker.images import Images
from moorage.engine.docker.sandbox import remove_container
from moorage.engine.driver import LABEL_INSTALLATION, Ulimit


def ulimits_body(limits: Sequence[Ulimit]) -> list[dict[str, str | int]]:
    return [{"Name": limit.name, "Soft": limit.soft, "Hard": limit.hard} for limit in limits]


class Limits:
    def __init__(self, client: Client, installation: str, images: Images) -> None:
        self._client = client
        self._installation = installation
        self._images = images
        self._lock = asyncio.Lock()
        self._known: dict[tuple[Ulimit, ...], bool] = {}

    async def allowed(self, limits: tuple[Ulimit, ...]) -> bool:
        async with self._lock:
            known = self._known.get(limits)
            if known is None:
                try:
                    known = self._known[limits] = await self._try(limits)
                except ApiError:
                    return False  # something else is the matter: the next one may find out
            return known

    async def _try(self, limits: tuple[Ulimit, ...]) -> bool:
        """A pause container with these limits starts, or Docker names a resource limit as the reason why not."""
        await self._images.ensure_pause()
        body = {
            "Image": pause.IMAGE,
            "Entrypoint": ["/pause"],
            "Labels": {LABEL_INSTALLATION: self._installation},
            "HostConfig": {"NetworkMode": "none", "LogConfig": {"Type": "none"}, "Ulimits": ulimits_body(limits)},
        }
        created = await self._client.call("POST", "/containers/create", body=body)
        container_id = str(created["Id"])
        try:
            await self._client.call("POST", f"/containers/{container_id}/start")
        except ApiError as error:
            if "rlimit" not in error.message:
                raise
            return False
        finally:
            await remove_container(self._client, container_id)
        return True
