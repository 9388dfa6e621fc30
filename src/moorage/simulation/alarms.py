"""CloudWatch alarms of the simulated world: they have the state that somebody gives them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from moorage.domain.alarm import ALARM, Alarm
from moorage.domain.scope import Scope


class SimulatedAlarms:
    """One set for every account and region. It lives on when the control plane dies."""

    def __init__(self) -> None:
        self._alarms: dict[str, Alarm] = {}
        self._since: dict[str, float] = {}
        self._changed = asyncio.Event()

    def set(self, name: str, state: str = "OK", *, window: float = 60.0) -> None:
        """Makes the alarm, or changes its state."""
        if name not in self._alarms or self._alarms[name].state != state:
            self._since[name] = asyncio.get_running_loop().time()
        self._alarms[name] = Alarm(name, state, window)
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def rings_for(self, name: str) -> float | None:
        """Seconds since it went into ALARM; None when it is not."""
        if name not in self._alarms or self._alarms[name].state != ALARM:
            return None
        return asyncio.get_running_loop().time() - self._since[name]

    async def alarms(self, scope: Scope, names: Sequence[str]) -> dict[str, Alarm]:
        return {name: self._alarms[name] for name in names if name in self._alarms}

    async def changed(self) -> None:
        await self._changed.wait()
