"""The local route of a VPC: tasks in different subnets reach each other, with their own addresses.

Docker keeps its bridges apart and masks what leaves one. Two iptables rules per installation undo that between the
bridges of this installation only (their names share a prefix): one in DOCKER-USER, the chain that Docker leaves to its
users, one before its masquerading. They need root on the engine's own host; without it everything else works, and
subnets stay apart.
"""

from __future__ import annotations

import asyncio
import logging
import shlex
import shutil
from collections.abc import Sequence

from moorage.engine.docker.names import bridge_prefix

log = logging.getLogger(__name__)


def rules(installation: str) -> list[tuple[str, str, list[str]]]:
    """(table, chain, rule)."""
    bridges = f"{bridge_prefix(installation)}+"
    return [
        ("filter", "DOCKER-USER", ["-i", bridges, "-o", bridges]),
        ("nat", "POSTROUTING", ["-o", bridges]),
    ]


_SPELLINGS = ("moorage", "moorage again")
"""Comments of one and the same rule: it is put in front under the other one before the old one goes, so that no connection
meets a moment without it."""


def spelled(rule: list[str], comment: str) -> list[str]:
    return [*rule, "-m", "comment", "--comment", comment, "-j", "ACCEPT"]


def places(listing: str, rule: list[str]) -> dict[str, list[int]]:
    """Comment → where this rule stands with it, in what `iptables -S <chain>` prints; 0 is before all others."""
    found: dict[str, list[int]] = {comment: [] for comment in _SPELLINGS}
    lines = [shlex.split(line) for line in listing.splitlines() if line.startswith("-A ")]
    for place, words in enumerate(lines):
        for comment in _SPELLINGS:
            if words[2:] == spelled(rule, comment):
                found[comment].append(place)
    return found


class Forwarding:
    def __init__(self, installation: str, local: bool) -> None:
        self._rules = rules(installation)
        self._alone = asyncio.Lock()
        self._told = False
        self._command = (
            shutil.which("iptables", path="/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin") if local else None
        )

    async def allow(self) -> None:
        """After every network that Docker makes: it puts each one's masquerading first, and ours must stand before it.
        Idempotent; a refusal is logged, not raised: a task in one subnet does not need it."""
        async with self._alone:
            for table, chain, rule in self._rules:
                refusal = await self._put_first(table, chain, rule)
                if refusal is not None:
                    if not self._told:
                        log.warning(
                            "tasks in different subnets cannot reach each other: %s (it takes root here)", refusal
                        )
                    self._told = True
                    return

    async def _put_first(self, table: str, chain: str, rule: list[str]) -> str | None:
        refusal, listing = await self._iptables(table, "-S", chain)
        if refusal is not None:
            return refusal
        known = places(listing, rule)
        old = [comment for comment in _SPELLINGS if known[comment]]
        if [known[comment] for comment in old] == [[0]]:
            return None
        fresh = next((comment for comment in _SPELLINGS if not known[comment]), _SPELLINGS[0])
        refusal, _ = await self._iptables(table, "-I", chain, spelled(rule, fresh))
        for comment in old:
            for _ in known[comment]:
                if comment != fresh:
                    await self._iptables(table, "-D", chain, spelled(rule, comment))
        return refusal

    async def forbid(self) -> None:
        async with self._alone:
            for table, chain, rule in self._rules:
                for comment in _SPELLINGS:
                    while (await self._iptables(table, "-D", chain, spelled(rule, comment)))[0] is None:
                        pass

    async def _iptables(self, table: str, action: str, chain: str, rule: Sequence[str] = ()) -> tuple[str | None, str]:
        """(what iptables refused, or None when it was done; what it printed)"""
        if self._command is None:
            return "no iptables on this side of the engine", ""
        process = await asyncio.create_subprocess_exec(
            self._command,
            *("-w", "-t", table, action, chain, *rule),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        printed, told = await process.communicate()
        refusal = None if process.returncode == 0 else told.decode(errors="replace").strip()
        return refusal, printed.decode(errors="replace")
