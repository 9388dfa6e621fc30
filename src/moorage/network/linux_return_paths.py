"""Return paths by `nft` and `ip`: what they are told is rendered purely, and put in place inside the namespaces."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import socket
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path

from moorage.network.commands import run
from moorage.network.return_paths import ReturnPathsUnavailable, Way, foot_mac

TABLE = "moorage_return"
PRIORITY = 70
"""Of the first of our routing rules: behind the kernel's own addresses (0), before everything else (32766)."""
FEET, TAKEN_IN = 71, 73
"""Routing tables of a node."""
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"
_NO_REVERSE_PATH_FILTER = 'for f in /proc/sys/net/ipv4/conf/*/rp_filter; do echo 0 > "$f"; done'
_THERE_ALREADY = "File exists"


def foot_name(bridge: str) -> str:
    """What a foot is called in its node; at most 15 characters."""
    return f"f{_short(bridge, 10)}"


def feet_prefix(bridges: str, namespace: str = "") -> str:
    """What the outsides of the feet of an installation, or of one node of it, begin with."""
    return f"mrf{_short(bridges, 3)}{_short(namespace, 5) if namespace else ''}"


def _short(text: str, digits: int) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def node_routes(address: str, feet: Mapping[str, str]) -> list[str]:
    """Lines for `ip -batch` in a node. What the node says in its own name goes as before; what it says in a client's goes
    to the target's subnet directly; what comes in for a client is taken in."""
    return [
        f"rule add pref {PRIORITY} from {address} iif lo lookup main",
        f"rule add pref {PRIORITY + 1} iif lo lookup {FEET}",
        f"rule add pref {PRIORITY + 2} iif lo lookup main",
        f"rule add pref {PRIORITY + 3} ipproto tcp lookup {TAKEN_IN}",
        f"route replace local default dev lo table {TAKEN_IN}",
        *(f"link set {foot_name(bridge)} addrgenmode none up" for bridge in sorted(feet)),
        *(
            f"route replace {cidr} dev {foot_name(bridge)} scope link table {FEET}"
            for bridge, cidr in sorted(feet.items())
        ),
    ]


def node_feet(prefix: str, namespace: str, address: str, bridges: Iterable[str]) -> list[str]:
    """Lines for `ip -batch` on this machine. `prefix`: what the outsides of this node's feet begin with."""
    lines = []
    for bridge in sorted(bridges):
        outside = prefix + _short(bridge, 15 - len(prefix))
        inside = f"{foot_name(bridge)} address {foot_mac(address)} netns {namespace}"
        lines += [
            f"link add {outside} type veth peer name {inside}",
            f"link set {outside} master {bridge} up",
        ]
    return lines


def target_marks(ways: Iterable[Way]) -> str:
    """The input of `nft -f` in a target's namespace: added to what is there, in one transaction."""
    ordered = sorted(ways)
    macs = ", ".join(f"{way.mac} . {way.protocol} : {way.mark:#010x}" for way in ordered)
    marks = ", ".join(f"{mark:#010x}" for mark in sorted({way.mark for way in ordered}))
    return f"""add table inet {TABLE}
add map inet {TABLE} ways {{ type ether_addr . inet_proto : mark; }}
add set inet {TABLE} marks {{ type mark; }}
add chain inet {TABLE} arriving {{ type filter hook prerouting priority mangle; }}
add chain inet {TABLE} leaving {{ type route hook output priority mangle; }}
flush chain inet {TABLE} arriving
flush chain inet {TABLE} leaving
add rule inet {TABLE} arriving ct direction original ct mark set ether saddr . meta l4proto map @ways
add rule inet {TABLE} leaving ct mark @marks meta mark set ct mark
add element inet {TABLE} ways {{ {macs} }}
add element inet {TABLE} marks {{ {marks} }}
"""


def target_routes(ways: Iterable[Way]) -> list[str]:
    """Lines for `ip -batch` in a target's namespace."""
    lines = []
    for way in sorted(ways):
        lines += [
            f"rule add pref {PRIORITY} fwmark {way.mark:#x} lookup {way.mark}",
            f"route replace default via {way.via} dev eth0 onlink table {way.mark}",
        ]
        if not way.known:
            lines.append(f"neigh replace {way.via} lladdr {way.mac} dev eth0 nud permanent")
    return lines


def machine_marks(table: str, bridges: str, mark: int) -> str:
    """The input of `nft -f` on this machine. `bridges`: what the interfaces of our networks begin with."""
    ours = f'iifname "{bridges}*" meta l4proto {{ tcp, udp }}'
    return f"""add table ip {table}
add chain ip {table} arriving {{ type filter hook prerouting priority mangle; }}
flush chain ip {table} arriving
add rule ip {table} arriving {ours} socket transparent 1 meta mark set {mark:#010x}
"""


# --- putting it in place ----------------------------------------------------------------------------------------------
class LinuxReturnPaths:
    """`bridges`: what the interfaces of this installation's networks on this machine begin with."""

    def __init__(self, bridges: str) -> None:
        self._bridges = bridges
        self._table = f"moorage_{bridges}"
        self.mark = 0x4D000000 | (zlib.crc32(bridges.encode()) & 0xFFFFFF)
        self._nft, self._ip, self._enter = (shutil.which(one, path=_PATH) for one in ("nft", "ip", "nsenter"))
        self.streams = False
        self.datagrams = False

    async def probe(self) -> None:
        """Finds out what this kernel can do, changing nothing."""
        if self._nft is None or self._ip is None or self._enter is None:
            return
        example = Way("02:42:0a:00:00:01", "tcp", "10.0.0.1")
        on_machine = machine_marks(self._table, self._bridges, self.mark)
        self.streams, also = await asyncio.gather(self._checks(target_marks([example])), self._checks(on_machine))
        self.datagrams = self.streams and also

    def mac_of(self, bridge: str) -> str | None:
        try:
            return Path(f"/sys/class/net/{bridge}/address").read_text().strip() or None
        except OSError:
            return None

    async def open_node(self, namespace: str, address: str, feet: Mapping[str, str]) -> None:
        if feet:
            await self._batch(None, node_feet(feet_prefix(self._bridges, namespace), namespace, address, feet))
        await self._batch(namespace, node_routes(address, feet))
        # what comes back comes by another way than this kernel would choose
        await self._run(namespace, ["/bin/sh", "-c", _NO_REVERSE_PATH_FILTER])

    async def keep_nodes(self, namespaces: Collection[str]) -> None:
        kept = tuple(feet_prefix(self._bridges, namespace) for namespace in namespaces)
        ours = feet_prefix(self._bridges)
        gone = [name for _, name in socket.if_nameindex() if name.startswith(ours) and not name.startswith(kept)]
        if gone:
            await self._batch(None, [f"link delete {name}" for name in gone])

    async def open_target(self, namespace: str, ways: Sequence[Way]) -> None:
        await self._batch(namespace, target_routes(ways))
        await self._must(namespace, [self._program(self._nft), "-f", "-"], target_marks(ways))

    async def open_machine(self) -> None:
        await self._batch(
            None,
            [
                f"route replace local default dev lo table {self.mark}",
                f"rule add pref {PRIORITY} fwmark {self.mark:#x} lookup {self.mark}",
            ],
        )
        marks = machine_marks(self._table, self._bridges, self.mark)
        await self._must(None, [self._program(self._nft), "-f", "-"], marks)

    async def close(self) -> None:
        """Removes what was made on this machine; nothing there is fine."""
        if self._nft is None or self._ip is None:
            return
        with contextlib.suppress(ReturnPathsUnavailable):
            await self.keep_nodes(())
        await self._run(None, [self._nft, "delete", "table", "ip", self._table])
        rule = ["pref", str(PRIORITY), "fwmark", f"{self.mark:#x}", "lookup", str(self.mark)]
        while (await self._run(None, [self._ip, "rule", "del", *rule]))[0] == 0:
            pass
        await self._run(None, [self._ip, "route", "flush", "table", str(self.mark)])

    async def _checks(self, rules: str) -> bool:
        status, _ = await self._run(None, [self._program(self._nft), "--check", "-f", "-"], rules)
        return status == 0

    async def _batch(self, namespace: str | None, lines: Sequence[str]) -> None:
        command = [self._program(self._ip), "-force", "-batch", "-"]
        status, told = await self._run(namespace, command, "\n".join(lines) + "\n")
        trouble = [line for line in told.splitlines() if _THERE_ALREADY not in line and "Command failed" not in line]
        if status != 0 and trouble:
            raise _unavailable(namespace, trouble[0])

    async def _must(self, namespace: str | None, command: Sequence[str], given: str) -> None:
        status, told = await self._run(namespace, command, given)
        if status != 0:
            raise _unavailable(namespace, told.strip().partition("\n")[0])

    async def _run(self, namespace: str | None, command: Sequence[str], given: str = "") -> tuple[int, str]:
        """(exit status, what it complained about)"""
        enter = self._program(self._enter) if namespace is not None else ""
        return await run(command, given, namespace=namespace, enter=enter)

    def _program(self, found: str | None) -> str:
        if found is None:
            raise _unavailable(None, "nft, ip and nsenter are not all on this machine")
        return found


def _unavailable(namespace: str | None, why: str) -> ReturnPathsUnavailable:
    return ReturnPathsUnavailable(
        f"Clients' addresses cannot be preserved in {namespace or 'this machine'}", why, "Wait a moment"
    )
