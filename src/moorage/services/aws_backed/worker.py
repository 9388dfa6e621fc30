"""The child process that is moto: `python -m moorage.services.aws_backed.worker --socket FD --journal PATH …`.

One thread, one request at a time: moto has no locks. Requests that wait together share one fsync of the journal. The
process ends when the control plane does (its end of the socket closes); everything that was answered is in the journal.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import resource
import socket
import sys
import time
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

from moorage.services.aws_backed import determinism
from moorage.services.aws_backed.frames import Answer, Frames, Ready, Reply, Reset, decode_request, frame
from moorage.services.aws_backed.journal import Entry, Head, Journal
from moorage.services.aws_backed.operations import belongs_in_journal

if TYPE_CHECKING:
    from moorage.services.aws_backed.moto_host import MotoHost

log = logging.getLogger("moorage.aws_backed")

REMEMBERED_ANSWERS = 256
LONGEST_BATCH = 0.02


class Worker:
    """`epoch`/`seed` start a new journal when there is none."""

    def __init__(self, connection: socket.socket, host: MotoHost, journal: Journal) -> None:
        self._connection = connection
        self._host = host
        self._journal = journal
        self._answers: OrderedDict[str, Answer] = OrderedDict()

    def replay(self, epoch: float, seed: str) -> Ready:
        """Brings the state back. A request that now ends differently is logged, not fatal."""
        began = time.perf_counter()
        replayed = failed = 0
        empty = True
        for record in self._journal.read():
            if isinstance(record, Head):
                empty = False
                self._host.begin(record.epoch, record.seed)
                if record.moto != self._host.moto_version:
                    log.warning("the journal was begun with moto %s, this is %s", record.moto, self._host.moto_version)
                continue
            answer = self._host.answer(record.call, record.made)
            replayed += 1
            self._remember(answer)
            if answer.status != record.status:
                failed += 1
                log.error(
                    "%s %s was answered %s and is answered %s when replayed (%s)",
                    record.call.service,
                    record.call.operation,
                    record.status,
                    answer.status,
                    answer.refused,
                )
        if empty:
            self._host.begin(epoch, seed)
            self._journal.begin(Head(epoch, seed, self._host.moto_version))
        return Ready(replayed, time.perf_counter() - began, failed)

    def serve(self) -> None:
        """Until the other end closes."""
        frames = Frames()
        while data := self._connection.recv(1 << 20):
            replies: list[Reply] = []
            began = time.perf_counter()
            for body in frames.feed(data):
                replies.append(self._handle(body))
                if time.perf_counter() - began > LONGEST_BATCH:
                    self._send(replies)
                    replies, began = [], time.perf_counter()
            self._send(replies)

    def _handle(self, body: bytes) -> Reply:
        request = decode_request(body)
        if isinstance(request, Reset):
            return self._reset(request)
        known = self._answers.get(request.id)
        if known is not None:
            return known
        answer = self._host.answer(request)
        noted = determinism.moment.changed
        changed = request.mutates if noted is None else noted
        if changed and belongs_in_journal(request.service, answer.status):
            self._journal.append(Entry(request, determinism.moment.made, answer.status))
        return answer

    def _reset(self, request: Reset) -> Answer:
        self._host.reset()
        self._host.begin(request.at, request.seed)
        self._answers.clear()
        self._journal.begin(Head(request.at, request.seed, self._host.moto_version))
        return Answer(request.id, 200, [], b"")

    def _remember(self, answer: Answer) -> None:
        """The last answers of a replay, for requests that were journaled but whose answer never arrived."""
        self._answers[answer.id] = answer
        if len(self._answers) > REMEMBERED_ANSWERS:
            self._answers.popitem(last=False)

    def _send(self, replies: list[Reply]) -> None:
        if not replies:
            return
        if self._journal.dirty:
            try:
                self._journal.sync()
            except OSError as error:
                # The state is ahead of the disk: nothing of this is acknowledged, and the next worker has the old state.
                log.critical("the journal cannot be written (%s): stopping", error)
                why = f"Nothing was changed: the data directory cannot be written ({error.strerror}). Free some space"
                refused = ("ServiceUnavailable", why)
                lost = [Answer(reply.id, 503, [], b"", refused) for reply in replies if isinstance(reply, Answer)]
                self._connection.sendall(b"".join(map(frame, lost)))
                os._exit(3)
        self._connection.sendall(b"".join(map(frame, replies)))


def _end_with_parent() -> None:
    """On Linux also when this process is busy and does not see its socket close."""
    if sys.platform == "linux":
        import ctypes
        import signal

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--socket", type=int, required=True)
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--account", required=True)
    parser.add_argument("--epoch", type=float, required=True)
    parser.add_argument("--seed", required=True)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    _end_with_parent()
    if os.getppid() != options.parent:
        return
    connection = socket.socket(fileno=options.socket)
    determinism.install()
    from moorage.services.aws_backed.moto_host import MotoHost

    journal = Journal(options.journal)
    worker = Worker(connection, MotoHost(options.account), journal)
    ready = worker.replay(options.epoch, options.seed)
    log.info(
        "ready: %d requests replayed in %.2f s, %d MB",
        ready.replayed,
        ready.seconds,
        resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    )
    gc.freeze()  # what moto has loaded stays; collecting it again and again costs a tenth of every request
    connection.sendall(frame(ready))
    worker.serve()


if __name__ == "__main__":
    main()
