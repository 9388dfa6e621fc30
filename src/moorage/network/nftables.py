"""Security groups as nftables in a network namespace: rendered purely, put in place in one transaction by the `nft` program
inside the namespace (docs of nftables: a file given to `nft -f` is applied whole or not at all).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from moorage.domain.network import ALL_TRAFFIC, EVERYWHERE, Guard, Traffic
from moorage.network.commands import run
from moorage.network.firewall import FirewallUnavailable

TABLE = "moorage"
_PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin:/usr/local/bin"
_WITH_PORTS = ("tcp", "udp")


def ruleset(guard: Guard) -> str:
    """The input of `nft -f`. What is not let in is dropped; what is let in may then be reset."""
    chains = [_chain("ingress", "input", "iif", "saddr", guard.ingress)]
    if guard.egress != ALL_TRAFFIC:
        chains.append(_chain("egress", "output", "oif", "daddr", guard.egress))
    if guard.resets:
        ports = ", ".join(map(str, sorted(guard.resets)))
        chains.append(f"""  chain nobody {{
    type filter hook input priority filter + 10; policy accept;
    ct state new tcp dport {{ {ports} }} reject with tcp reset
  }}""")
    return f"""add table inet {TABLE}
delete table inet {TABLE}
table inet {TABLE} {{
{chr(10).join(chains)}
}}
"""


def _chain(name: str, hook: str, device: str, peer: str, traffic: Sequence[Traffic]) -> str:
    lines = "\n".join(f"    {_match(rule, peer)} accept" for rule in traffic)
    return f"""  chain {name} {{
    type filter hook {hook} priority filter; policy drop;
    {device} "lo" accept
    ct state established,related accept
    ct state invalid drop
{lines}
  }}"""


def _match(rule: Traffic, peer: str) -> str:
    words = []
    if rule.peers != (EVERYWHERE,):
        words.append(f"ip {peer} {{ {', '.join(rule.peers)} }}")
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

    async def apply(self, namespace: str, guard: Guard) -> None:
        if self._nft is None or self._enter is None:
            raise FirewallUnavailable(
                "Security groups are not enforced",
                "nft and nsenter are not on this machine",
                "Install them: sudo apt-get install nftables util-linux",
            )
        status, told = await run((self._nft, "-f", "-"), ruleset(guard), namespace=namespace, enter=self._enter)
        if status != 0:
            raise FirewallUnavailable(
                f"Security groups are not enforced in {namespace}",
                told.strip().partition("\n")[0],
                "Wait a moment",
            )
