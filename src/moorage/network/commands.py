"""Programs of this machine (`nft`, `ip`) that read what they should do from their standard input."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence


async def run(
    command: Sequence[str], given: str = "", *, namespace: str | None = None, enter: str = ""
) -> tuple[int, str]:
    """(exit status, what it complained about). `enter`: the program `nsenter`, for a command inside `namespace`.

    The input is a file and not a pipe: a program that ends before it has read (its namespace has gone) must not break the
    writing."""
    inside = [enter, f"--net={namespace}"] if namespace is not None else []
    with tempfile.TemporaryFile() as words:
        words.write(given.encode())
        words.seek(0)
        process = await asyncio.create_subprocess_exec(
            *inside, *command, stdin=words, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
        )
        _, told = await process.communicate()
    return process.returncode or 0, told.decode(errors="replace")
