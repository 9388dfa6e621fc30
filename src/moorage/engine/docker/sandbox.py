"""Sandboxes: the pause container that holds a task's network namespace, and the pool of those made ahead.

Starting a container on a bridge network costs Docker hundreds of milliseconds; joining a namespace that exists costs
tens. So the control plane reserves addresses ahead and has them warmed (`warm`); `start` with such an address only
renames what already runs. Decides nothing about addresses: they are given.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

from moorage.engine.docker import pause
from moorage.engine.docker.client import ApiError, Client
from moorage.engine.docker.images import Images
from moorage.engine.docker.names import mac_address, named_task, pool_name, sandbox_name
from moorage.engine.docker.networks import Networks
from moorage.engine.driver import (
    LABEL_INSTALLATION,
    LABEL_POOL,
    LABEL_SANDBOX,
    LABEL_TASK,
    NetworkError,
    Sandbox,
    SandboxSpec,
    SubnetNetwork,
)

# Sandboxes being warmed at the same time: the pool must not stand in the way of tasks that start now.
WARMING_AT_ONCE = 2
# The engine forgot a thing between two of our calls, or two processes raced: look again, this many times.
_ATTEMPTS = 3


def pause_body(
    spec: SandboxSpec, installation: str, api: tuple[int, int], resolvers: Sequence[str] | None = None
) -> dict[str, Any]:
    """The body of POST /containers/create for a task's sandbox. With `resolvers`, names are asked at the subnet's gateway
    first, and there when it does not answer."""
    host: dict[str, Any] = {
        "NetworkMode": spec.network.name if spec.mode == "awsvpc" and spec.network else spec.mode,
        "RestartPolicy": {"Name": "no"},
        "LogConfig": {"Type": "none"},
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges"],
    }
    if spec.shares_ipc:
        host["IpcMode"] = "shareable"
    if spec.sysctls:
        host["Sysctls"] = dict(spec.sysctls)
    if spec.dns_servers:
        host["Dns"] = list(spec.dns_servers)
    elif resolvers is not None and spec.mode == "awsvpc" and spec.network:
        host["Dns"] = [str(IPv4Network(spec.network.cidr)[1]), *resolvers]
    if spec.dns_search:
        host["DnsSearch"] = list(spec.dns_search)
    if spec.extra_hosts:
        host["ExtraHosts"] = [f"{name}:{address}" for name, address in spec.extra_hosts]
    body: dict[str, Any] = {
        "Image": pause.IMAGE,
        "Entrypoint": ["/pause"],
        "Labels": {
            **spec.labels,
            LABEL_INSTALLATION: installation,
            LABEL_SANDBOX: "true",
            **({LABEL_TASK: spec.task_arn} if spec.task_arn else {}),
        },
        "HostConfig": host,
    }
    if spec.hostname:
        body["Hostname"] = spec.hostname
    if spec.mode == "awsvpc" and spec.network and spec.ipv4:
        mac = spec.mac or mac_address(spec.ipv4)
        endpoint: dict[str, Any] = {"IPAMConfig": {"IPv4Address": spec.ipv4}}
        # API 1.44 moved the MAC address from the container to its endpoint.
        if api >= (1, 44):
            endpoint["MacAddress"] = mac
        else:
            body["MacAddress"] = mac
        body["NetworkingConfig"] = {"EndpointsConfig": {spec.network.name: endpoint}}
    return body


def start_failure(spec: SandboxSpec, error: ApiError) -> NetworkError:
    """A sentence for the ways in which Docker refuses a network namespace."""
    text = error.message.lower()
    if "address already in use" in text:
        return NetworkError(f"the address {spec.ipv4} is already in use in {_subnet(spec)}: {error.text}")
    return NetworkError(f"starting the network namespace of the task: {error.text}")


def _subnet(spec: SandboxSpec) -> str:
    return f"{spec.network.subnet_id} ({spec.network.cidr})" if spec.network else spec.mode


class Sandboxes:
    def __init__(
        self,
        client: Client,
        installation: str,
        networks: Networks,
        images: Images,
        resolvers: Sequence[str] | None = None,
    ) -> None:
        self._resolvers = resolvers
        self._client = client
        self._installation = installation
        self._networks = networks
        self._images = images
        self._locks: dict[str, tuple[asyncio.Lock, int]] = {}
        self._warming = asyncio.Semaphore(WARMING_AT_ONCE)

    async def start(self, spec: SandboxSpec) -> Sandbox:
        """Idempotent by task ARN. A leftover of an interrupted start is used again; one that died is replaced."""
        name = sandbox_name(self._installation, spec.task_arn)
        key = f"{spec.network.name}/{spec.ipv4}" if spec.mode == "awsvpc" and spec.network else name
        async with self._alone(key):
            claimed = await self._claim(spec, name)
            if claimed is not None:
                return Sandbox(claimed)
            return Sandbox(await self._make(spec, name))

    async def warm(self, network: SubnetNetwork, ipv4: str, mac: str, hostname: str | None = None) -> None:
        """Starts a sandbox that `start` with the same network, address and host name will find. Idempotent."""
        spec = SandboxSpec(
            task_arn="",
            mode="awsvpc",
            labels={LABEL_POOL: ipv4},
            network=network,
            ipv4=ipv4,
            mac=mac,
            hostname=hostname,
        )
        async with self._warming, self._alone(f"{network.name}/{ipv4}"):
            await self._make(spec, pool_name(self._installation, network.name, ipv4))

    async def namespace(self, sandbox_id: str) -> str | None:
        """Where Docker keeps the running sandbox's network namespace, if that is on this machine."""
        found = await self._inspect(sandbox_id)
        if found is None or not found["State"]["Running"]:
            return None
        path = Path(found["NetworkSettings"]["SandboxKey"])
        return str(path) if await asyncio.to_thread(path.exists) else None

    async def remove(self, sandbox_id: str) -> None:
        await remove_container(self._client, sandbox_id)

    async def _claim(self, spec: SandboxSpec, name: str) -> str | None:
        """The id of the warm sandbox with this address, renamed; None when there is none that fits."""
        if spec.mode != "awsvpc" or spec.network is None or spec.ipv4 is None:
            return None
        pooled = await self._inspect(pool_name(self._installation, spec.network.name, spec.ipv4))
        if pooled is None:
            return None
        fits = (
            pooled["State"]["Running"]
            and named_task(name) == spec.task_arn
            and (spec.hostname is None or pooled["Config"]["Hostname"] == spec.hostname)
            and not (spec.shares_ipc or spec.sysctls or spec.dns_servers or spec.dns_search or spec.extra_hosts)
        )
        if fits:
            try:
                await self._client.call("POST", f"/containers/{pooled['Id']}/rename", query={"name": name})
                return str(pooled["Id"])
            except ApiError as error:
                if error.status not in (404, 409):
                    raise start_failure(spec, error) from error
        # The address is this task's now: whatever stands in its way goes.
        await remove_container(self._client, str(pooled["Id"]))
        return None

    async def _make(self, spec: SandboxSpec, name: str) -> str:
        """The id of the running sandbox called `name`."""
        api = (await self._client.version()).api
        for attempt in range(_ATTEMPTS):
            if spec.mode == "awsvpc" and spec.network is not None:
                await self._networks.ensure(spec.network)
            await self._images.ensure_pause()
            try:
                body = pause_body(spec, self._installation, api, self._resolvers)
                created = await self._client.call("POST", "/containers/create", query={"name": name}, body=body)
                container_id = str(created["Id"])
            except ApiError as error:
                if error.status == 409:
                    adopted = await self._adopt(name)
                    if adopted is None:
                        continue
                    container_id = adopted
                elif error.status == 404 and attempt + 1 < _ATTEMPTS:
                    self._forget(spec)
                    continue
                else:
                    raise start_failure(spec, error) from error
            try:
                await self._client.call("POST", f"/containers/{container_id}/start")
            except ApiError as error:
                await remove_container(self._client, container_id)
                if error.status == 404 and attempt + 1 < _ATTEMPTS:
                    self._forget(spec)
                    continue
                raise start_failure(spec, error) from error
            return container_id
        raise NetworkError(f"the network namespace of the task was removed {_ATTEMPTS} times while it started")

    async def _adopt(self, name: str) -> str | None:
        """The container that holds `name`: its id when it runs or was never started, else it is removed."""
        found = await self._inspect(name)
        if found is None:
            return None
        if found["State"]["Status"] in ("created", "running"):
            return str(found["Id"])
        await remove_container(self._client, str(found["Id"]))
        return None

    async def _inspect(self, name: str) -> dict[str, Any] | None:
        try:
            return dict(await self._client.call("GET", f"/containers/{name}/json"))
        except ApiError as error:
            if error.status == 404:
                return None
            raise NetworkError(f"looking for the sandbox {name}: {error.text}") from error

    def _forget(self, spec: SandboxSpec) -> None:
        """Docker does not know the network or the pause image any more: somebody pruned."""
        self._images.forget_pause()
        if spec.network is not None:
            self._networks.forget(spec.network.name)

    @asynccontextmanager
    async def _alone(self, key: str) -> AsyncIterator[None]:
        """One at a time per address or task; the lock goes when nobody wants it."""
        lock, users = self._locks.get(key, (asyncio.Lock(), 0))
        self._locks[key] = (lock, users + 1)
        try:
            async with lock:
                yield
        finally:
            lock, users = self._locks[key]
            if users == 1:
                del self._locks[key]
            else:
                self._locks[key] = (lock, users - 1)


async def remove_container(client: Client, container_id: str) -> None:
    """Kills and removes, with anonymous volumes, and returns when it is gone; gone already is fine."""
    try:
        await client.call("DELETE", f"/containers/{container_id}", query={"force": "true", "v": "true"})
    except ApiError as error:
        if error.status == 404:
            return
        if error.status != 409:
            raise
        # Somebody else is removing it ("removal of container … is already in progress").
        try:
            await client.call("POST", f"/containers/{container_id}/wait", query={"condition": "removed"}, patience=30)
        except ApiError as gone:
            if gone.status != 404:
                raise
