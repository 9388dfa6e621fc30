"""`python -m moorage.dns.serve <directory> <port>`: answers names until SIGTERM, reads the table again at SIGHUP."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import signal
import sys
from pathlib import Path

import msgspec

from moorage.dns.process import LOCK, TABLE, VERSION, version
from moorage.dns.server import DnsServer
from moorage.dns.table import Table

log = logging.getLogger("moorage.dns")


class Serving:
    def __init__(self, directory: Path, port: int) -> None:
        self._directory = directory
        self.table = Table()
        self.server = DnsServer(lambda name: self.table.addresses(name), lambda: self.table.resolvers, port=port)
        self._reading = asyncio.Lock()
        self._refused: set[str] = set()

    async def read(self) -> None:
        """Takes the table of now into use. A damaged one is not believed."""
        async with self._reading:
            try:
                self.table = msgspec.json.decode((self._directory / TABLE).read_bytes(), type=Table)
            except (OSError, msgspec.DecodeError) as error:
                log.warning("the table of names cannot be read: %s", error)
                return
            for address in set(self.server.addresses) - set(self.table.doors):
                self.server.leave(address)
            for address in self.table.doors:
                try:
                    await self.server.listen(address)
                    self._refused.discard(address)
                except OSError as error:
                    if address not in self._refused:  # said once, not with every change of the table
                        log.warning("tasks at %s cannot resolve the names of load balancers: %s", address, error)
                    self._refused.add(address)


async def main(directory: Path, port: int) -> None:
    import dns.message  # noqa: F401  now, not when the first question waits

    serving = Serving(directory, port)
    loop, over, jobs = asyncio.get_running_loop(), asyncio.Event(), set[asyncio.Task[None]]()

    def again() -> None:
        job = loop.create_task(serving.read())
        jobs.add(job)
        job.add_done_callback(jobs.discard)

    loop.add_signal_handler(signal.SIGHUP, again)
    loop.add_signal_handler(signal.SIGTERM, over.set)
    (directory / VERSION).write_text(version())
    with (directory / LOCK).open("a+b") as lock:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # who comes second goes
        again()
        await over.wait()
        await serving.server.close()


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
