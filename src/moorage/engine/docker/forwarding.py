"""The local route of a VPC: tasks in different subnets reach each other, with their own addresses.

Docker keeps its bridges apart and masks what leaves one. Two iptables rules per installation undo that between the
bridges of this installation only (their names share a prefix): one in DOCKER-USER, the chain that Docker leaves to its
users, one before its masquerading. They need root on the engine's own host; without it everything else works, and
subnets stay apart.
"""

from __future__ import annotations

import asyncio
import logging
import shutil

from moorage.engine.docker.names import bridge_prefix

log = logging.getLogger(__name__)


def rules(installation: str) -> list[tuple[str, str, list[str]]]:
    """(table, chain, rule)."""
    bridges = f"{bridge_prefix(installation)}+"
    return [
        ("filter", "DOCKER-USER", ["-i", bridges, "-o", bridges, "-j", "ACCEPT"]),
        ("nat", "POSTROUTING", ["-o", bridges, "-j", "ACCEPT"]),
    ]


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
                await self._iptables(table, "-D", chain, rule)
                refusal = await self._iptables(table, "-I", chain, rule)
                if refusal is not None:
                    if not self._told:
                        log.warning(
                            "tasks in different subnets cannot reach each other: %s (it takes root here)", refusal
                        )
                    self._told = True
                    return

    async def forbid(self) -> None:
        async with self._alone:
            for table, chain, rule in self._rules:
                while await self._iptables(table, "-D", chain, rule) is None:
                    pass

    async def _iptables(self, table: str, action: str, chain: str, rule: list[str]) -> str | None:
        """None when it was done, else what iptables said."""
        if self._command is None:
            return "no iptables on this side of the engine"
        process = await asyncio.create_subprocess_exec(
            self._command,
            *("-w", "-t", table, action, chain, *rule),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, told = await process.communicate()
        return None if process.returncode == 0 else told.decode(errors="replace").strip()
