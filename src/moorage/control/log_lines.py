"""Lines put together into multi-line events, as the awslogs driver does with a pattern of their first line
(ecs-tasks §20).

Decides nothing about where events go; `log_router` stores them.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

from msgspec.structs import replace

from moorage.engine.driver import LogLine

# An event whose last line is not followed by anything is complete after this long (seconds), as with awslogs.
PATIENCE = 5.0


async def joined(
    lines: AsyncIterator[LogLine], start: re.Pattern[str], *, largest: int, resumed: bool, patience: float = PATIENCE
) -> AsyncIterator[LogLine]:
    """An event begins with a line that matches `start` and has the time of that line. `largest`: bytes, before a longer
    one is cut. `resumed`: the first lines may be the rest of an event that is stored already; they are left out."""
    event: LogLine | None = None
    size = 0
    following: asyncio.Future[LogLine | None] | None = None
    try:
        while True:
            following = following or asyncio.ensure_future(anext(lines, None))
            done, _ = await asyncio.wait({following}, timeout=patience if event is not None else None)
            if not done:
                assert event is not None
                yield event
                event = None
                continue
            line, following = following.result(), None
            if line is None:
                break
            begins = start.search(line.message) is not None
            length = len(line.message.encode())
            if event is not None and not begins and size + 1 + length <= largest:
                event = replace(event, message=f"{event.message}\n{line.message}")
                size += 1 + length
                continue
            if event is not None:
                yield event
                event = None
            if begins or not resumed:
                event, size, resumed = line, length, False
        if event is not None:
            yield event
    finally:
        if following is not None:
            following.cancel()
            await asyncio.gather(following, return_exceptions=True)
        close = getattr(lines, "aclose", None)
        if close is not None:
            await close()
