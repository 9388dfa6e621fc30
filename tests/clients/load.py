"""A constant, bounded load on one URL of a load balancer, and what came of every request."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, NamedTuple

THREADS = 4
LONGEST_SECONDS = 240.0


class Answer(NamedTuple):
    """`status` is 0 when there was no answer; `error` then says why. `at`: seconds since the load began."""

    at: float
    status: int
    body: bytes
    error: str = ""

    def json(self) -> Any:
        return json.loads(self.body)


def get(
    host: str, port: int, path: str, *, method: str = "GET", body: bytes | None = None, timeout: float = 10
) -> Answer:
    """One request to a load balancer. Its name is not looked up: `*.localhost` is this machine, but the C library does
    not know that (curl and browsers do)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request(method, path, body, {"Host": host})
        response = connection.getresponse()
        return Answer(0.0, response.status, response.read())
    except (OSError, http.client.HTTPException) as error:
        return Answer(0.0, 0, b"", repr(error))
    finally:
        connection.close()


class Load:
    """With `Load(request, 50) as load:` about 50 requests a second go out until the block ends."""

    def __init__(self, request: Callable[[], Answer], per_second: float = 50) -> None:
        self._request = request
        self._pause = THREADS / per_second
        self._end = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=[number]) for number in range(THREADS)]
        self._begin = time.monotonic()
        self.answers: list[Answer] = []

    def __enter__(self) -> Load:
        self._begin = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        due = self._begin + self._pause * number / THREADS
        while not self._end.wait(max(0.0, due - time.monotonic())):
            at = time.monotonic() - self._begin
            if at > LONGEST_SECONDS:
                return
            self.answers.append(self._request()._replace(at=round(at, 3)))
            due = max(due + self._pause, time.monotonic())

    def count(self) -> int:
        return len(self.answers)

    def failures(self) -> list[Answer]:
        return [answer for answer in self.answers if answer.status != 200]
