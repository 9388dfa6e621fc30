"""Ingress rules as nftables in a network namespace: rendered purely, put in place in one transaction by the `nft` program
inside the namespace (docs of nftables: a file given to `nft -f` is applied whole or not at all).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Sequence

from moorage.domain.network import EVERYWHERE, Ingress
from moorage.network.firewall import FirewallUnavailable

TABLE = "moorage"
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"
_WITH_PORTS = ("tcp", "udp")


def ruleset(ingress: Sequence[Ingress], resets: Sequence[int] = ()) -> str:
    """The input of `nft -f`. What is not let in is dropped; what is let in may then be reset."""
    lines = "\n".join(f"    {line} accept" for line in map(_match, ingress))
    nobody = f"""
  chain nobody {{
    type filter hook input priority filter + 10; policy accept;
    ct state new tcp dport {{ {", ".join(map(str, sorted(resets)))} }} reject with tcp reset
  }}"""
    return f"""add table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
  chain ingress {{
    type filter hook input priority filter; policy drop;
    iif "lo" accept
    ct state established,related accept
    ct state invalid drop
{lines}
  }}{nobody if resets else ""}
}}
"""


def _match(rule: Ingress) -> str:
    words = []
    if rule.sources != (EVERYWHERE,):
        words.append(f"ip saddr {{ {', '.join(rule.sources)} }}")
    if rule.protocol in _WITH_PORTS:
        ports = str(rule.low) if rule.low == rule.high else f"{rule.low}-{rule.high}"
        words.append(f"{rule.protocol} dport {ports}")
    elif rule.protocol != "any":
        words.append(f"meta l4proto {rule.protocol}")
    return " ".join(words) or "meta nfproto ipv4"


class NfTables:
    def __init__(self) -> None:
        self._nft = shutil.which("nft", path=_PATH)
        self._enter = shutil.which("nsenter", path=_PATH)

    async def apply(self, namespace: str, ingress: Sequence[Ingress], resets: Sequence[int] = ()) -> None:
        if self._nft is None or self._enter is None:
            raise FirewallUnavailable(
                "Security groups are not enforced",
                "nft and nsenter are not on this machine",
                "Install them: sudo apt-get install nftables util-linux",
            )
        process = await asyncio.create_subprocess_exec(
            self._enter,
            *(f"--net={namespace}", self._nft, "-f", "-"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, told = await process.communicate(ruleset(ingress, resets).encode())
        if process.returncode != 0:
            raise FirewallUnavailable(
                f"Security groups are not enforced in {namespace}",
                told.decode(errors="replace").strip().partition("\n")[0],
                "Wait a moment",
            )
