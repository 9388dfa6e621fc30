"""Named volumes: made with what a task definition says of them, and removed with the task or the installation.

A volume that `outlives` (shared ones, file systems) carries LABEL_KEPT instead of the installation's label: nothing here
ever removes it, because what is in it belongs to its users.
"""

from __future__ import annotations

from moorage.engine.docker.client import ApiError, Client
from moorage.engine.driver import LABEL_INSTALLATION, LABEL_KEPT, CannotCreateVolumeError, VolumeSpec


class Volumes:
    def __init__(self, client: Client, installation: str) -> None:
        self._client = client
        self._installation = installation

    async def ensure(self, spec: VolumeSpec) -> str:
        """The path of its files on the engine's host. Docker answers a name that is there with the volume as it is."""
        name = f"{spec.name}-{self._installation}" if spec.of_installation else spec.name
        try:
            if not spec.create:
                return str((await self._client.call("GET", f"/volumes/{name}"))["Mountpoint"])
            label = LABEL_KEPT if spec.outlives else LABEL_INSTALLATION
            body = {
                "Name": name,
                "Driver": spec.driver,
                "DriverOpts": dict(spec.options),
                "Labels": {**spec.labels, label: self._installation},
            }
            return str((await self._client.call("POST", "/volumes/create", body=body))["Mountpoint"])
        except ApiError as error:
            if error.status == 404 and not spec.create:
                raise CannotCreateVolumeError(
                    f"initialize volume: volume detection failed, volume '{spec.name}' does not exist and autoprovision"
                    " is set to false"
                ) from error
            raise CannotCreateVolumeError(error.text) from error

    async def remove(self, name: str) -> None:
        try:
            await self._client.call("DELETE", f"/volumes/{name}")
        except ApiError as error:
            # 409: a container that somebody else started uses it too; it is theirs now.
            if error.status not in (404, 409):
                raise

    async def remove_all(self) -> None:
        """Every volume that ends with the installation."""
        query = {"filters": f'{{"label": ["{LABEL_INSTALLATION}={self._installation}"]}}'}
        found = await self._client.call("GET", "/volumes", query=query)
        for volume in found.get("Volumes") or ():
            await self.remove(str(volume["Name"]))
