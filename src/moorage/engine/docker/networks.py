"""The Docker network behind a subnet: a bridge with the subnet's CIDR, made on first use.

As in a VPC the first addresses are taken: .1 is the gateway (the machine itself, where load balancers come from),
.2 (DNS) and .3 are reserved; the control plane gives every other address away, so Docker never picks one.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from moorage.engine.docker.client import ApiError, Client
from moorage.engine.docker.forwarding import Forwarding
from moorage.engine.docker.names import bridge_name
from moorage.engine.driver import LABEL_INSTALLATION, NetworkError, SubnetNetwork

LABEL_SUBNET = "io.moorage.subnet"
# Where substitutes for ranges that are taken come from: shared address space (RFC 6598), which AWS accepts for targets.
SUBSTITUTES = ipaddress.IPv4Network("100.64.0.0/10")


def network_body(network: SubnetNetwork, installation: str) -> dict[str, Any]:
    """The body of POST /networks/create."""
    block = ipaddress.IPv4Network(network.cidr)
    return {
        "Name": network.name,
        "Driver": "bridge",
        "CheckDuplicate": True,
        "Attachable": False,
        "IPAM": {
            "Driver": "default",
            "Config": [
                {
                    "Subnet": str(block),
                    "Gateway": str(block[1]),
                    "AuxiliaryAddresses": {"dns": str(block[2]), "reserved": str(block[3])},
                }
            ],
        },
        "Options": {"com.docker.network.bridge.name": bridge_name(installation, network.name)},
        "Labels": {LABEL_INSTALLATION: installation, LABEL_SUBNET: network.subnet_id},
    }


def overlapping(cidr: str, networks: Iterable[dict[str, Any]]) -> list[tuple[str, str]]:
    """(name, CIDR) of the Docker networks that share addresses with `cidr`."""
    wanted = ipaddress.IPv4Network(cidr)
    found = []
    for network in networks:
        for config in (network.get("IPAM") or {}).get("Config") or []:
            try:
                block = ipaddress.ip_network(config.get("Subnet") or "")
            except ValueError:
                continue
            if isinstance(block, ipaddress.IPv4Network) and block.overlaps(wanted):
                found.append((str(network.get("Name")), str(block)))
    return found


def routed_gateway(cidr: str, route_table: str) -> str | None:
    """A gateway of this machine inside `cidr`, from the text of /proc/net/route: a bridge with that CIDR would cut the
    machine off (an EC2 instance in the default VPC, a home network on 172.31.0.0/16)."""
    block = ipaddress.IPv4Network(cidr)
    for line in route_table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 2 and fields[2] != "00000000":
            gateway = ipaddress.IPv4Address(int.from_bytes(bytes.fromhex(fields[2]), "little"))
            if gateway in block:
                return str(gateway)
    return None


def is_routed(cidr: str, route_table: str) -> bool:
    """Does this machine route any part of `cidr` already (default routes apart)? `route_table`: /proc/net/route."""
    block = ipaddress.IPv4Network(cidr)
    for line in route_table.splitlines()[1:]:
        fields = line.split()
        if len(fields) > 7 and fields[1] != "00000000":
            address, mask = (int.from_bytes(bytes.fromhex(fields[n]), "little") for n in (1, 7))
            if ipaddress.IPv4Network((address, mask.bit_count())).overlaps(block):
                return True
    return False


def substitutes(cidr: str, installation: str) -> Iterator[str]:
    """Ranges of the size of `cidr` to try instead, beginning at a place of the installation's own."""
    bits = ipaddress.IPv4Network(cidr).prefixlen
    count = 1 << max(0, bits - SUBSTITUTES.prefixlen)
    start = int(installation, 16) % count
    base = int(SUBSTITUTES.network_address)
    for step in range(count):
        yield str(ipaddress.IPv4Network((base + ((start + step) % count << (32 - bits)), bits)))


class RangeTaken(NetworkError):
    """Another network has the range, or a part of it; perhaps one that is just being made and not listed yet."""


class Networks:
    """`ensure` may be called for the same subnet by many tasks at once; it is made once."""

    def __init__(self, client: Client, installation: str) -> None:
        self._client = client
        self._installation = installation
        self._ready: dict[str, SubnetNetwork] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        # Subnets that look for a substitute at the same time would all choose the same.
        self._choosing = asyncio.Lock()
        self._forwarding = Forwarding(installation, client.host.local)

    async def prepare(self, network: SubnetNetwork) -> str:
        """The range of the network that stands for this subnet, made now when there is none: the subnet's own range, or
        a substitute when that one is taken."""
        ready = self._ready.get(network.name)
        if ready is not None:
            return ready.cidr
        found = await self._inspect(network.name)
        if found is not None and (found.get("Labels") or {}).get(LABEL_INSTALLATION) == self._installation:
            for config in (found.get("IPAM") or {}).get("Config") or []:
                return str(config["Subnet"])
        try:
            await self.ensure(network)
        except NetworkError as refusal:
            async with self._choosing:
                ready = self._ready.get(network.name)
                return ready.cidr if ready is not None else await self._substitute(network, refusal)
        return network.cidr

    async def _substitute(self, network: SubnetNetwork, refusal: NetworkError) -> str:
        taken = await self._client.call("GET", "/networks") or []
        routes = _route_table() if self._client.host.local else ""
        taken_here = isinstance(refusal, RangeTaken) or overlapping(network.cidr, taken)
        if not taken_here and not routed_gateway(network.cidr, routes):
            raise refusal
        for cidr in substitutes(network.cidr, self._installation):
            if overlapping(cidr, taken) or is_routed(cidr, routes):
                continue
            try:
                await self.ensure(replace(network, cidr=cidr))
            except RangeTaken:
                taken = await self._client.call("GET", "/networks") or []
                continue
            return cidr
        raise refusal

    async def ensure(self, network: SubnetNetwork) -> None:
        if self._ready.get(network.name) == network:
            return
        async with self._locks.setdefault(network.name, asyncio.Lock()):
            if self._ready.get(network.name) != network:
                await self._find_or_make(network)
                await self._forwarding.allow()
                self._ready[network.name] = network

    def forget(self, name: str) -> None:
        """Somebody removed it: the next `ensure` makes it again."""
        self._ready.pop(name, None)

    async def remove(self, keep: Sequence[str] = (), only: Sequence[str] | None = None) -> list[str]:
        """Removes those of this installation that nothing uses; returns the names of those that something uses."""
        used: list[str] = []
        for network in await self._ours():
            name = str(network["Name"])
            if name in keep or (only is not None and name not in only):
                continue
            async with self._locks.setdefault(name, asyncio.Lock()):
                try:
                    await self._client.call("DELETE", f"/networks/{network['Id']}")
                except ApiError as error:
                    if error.status not in (403, 404, 409) and "active endpoints" not in error.message:
                        raise NetworkError(f"removing the network {name}: {error.text}") from error
                    if error.status != 404:
                        used.append(name)
                        continue
                self.forget(name)
        if not await self._ours():
            await self._forwarding.forbid()
        return used

    async def _ours(self) -> list[dict[str, Any]]:
        filters = json.dumps({"label": [f"{LABEL_INSTALLATION}={self._installation}"]})
        return list(await self._client.call("GET", "/networks", query={"filters": filters}) or [])

    async def _find_or_make(self, network: SubnetNetwork) -> None:
        found = await self._inspect(network.name)
        if found is not None and await self._usable(found, network):
            return
        if self._client.host.local:
            self._refuse_own_gateway(network)
        try:
            await self._client.call("POST", "/networks/create", body=network_body(network, self._installation))
        except ApiError as error:
            if error.status == 409 and "already exists" in error.message:
                found = await self._inspect(network.name)
                if found is not None and await self._usable(found, network):
                    return
            if "overlap" in error.message:
                raise await self._overlap(network, error) from error
            raise NetworkError(f"making the network of {network.subnet_id} ({network.cidr}): {error.text}") from error

    async def _usable(self, found: dict[str, Any], network: SubnetNetwork) -> bool:
        """True: it is the one. False: ours but with another CIDR, and removed. Raises when it is not ours to remove."""
        if (found.get("Labels") or {}).get(LABEL_INSTALLATION) != self._installation:
            raise NetworkError(
                f"a Docker network named {network.name} exists that this installation did not make;"
                f" remove it with: docker network rm {network.name}"
            )
        if any(cidr == network.cidr for _, cidr in overlapping(network.cidr, [found])):
            return True
        try:
            await self._client.call("DELETE", f"/networks/{found['Id']}")
        except ApiError as error:
            if error.status != 404:
                raise NetworkError(
                    f"the network {network.name} has another CIDR and is in use: {error.text}"
                ) from error
        return False

    async def _inspect(self, name: str) -> dict[str, Any] | None:
        try:
            return dict(await self._client.call("GET", f"/networks/{name}"))
        except ApiError as error:
            if error.status == 404:
                return None
            raise NetworkError(f"looking for the network {name}: {error.text}") from error

    async def _overlap(self, network: SubnetNetwork, refusal: ApiError) -> RangeTaken:
        taken = overlapping(network.cidr, await self._client.call("GET", "/networks"))
        if not taken:
            return RangeTaken(f"the range {network.cidr} of {network.subnet_id} is taken on this host: {refusal.text}")
        name, cidr = taken[0]
        return RangeTaken(
            f"the range {network.cidr} of {network.subnet_id} overlaps the Docker network {name} ({cidr});"
            f" remove that one with: docker network rm {name} (or give the subnet another range)"
        )

    def _refuse_own_gateway(self, network: SubnetNetwork) -> None:
        gateway = routed_gateway(network.cidr, _route_table())
        if gateway is not None:
            raise NetworkError(
                f"the range {network.cidr} of {network.subnet_id} holds {gateway}, through which this machine reaches"
                " its own network; use a subnet with another range (aws ec2 create-vpc --cidr-block 10.200.0.0/16)"
            )


def _route_table() -> str:
    try:
        return Path("/proc/net/route").read_text()
    except OSError:
        return ""
