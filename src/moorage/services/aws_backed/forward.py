"""The front of the embedded AWS: what the gateway and Moorage's own services call. Never imports moto.

`forward` takes an HTTP request as it came from a client, `call` an operation by name with a dict; both end in the
worker process. What moto would block on (long polls) is waited for here, so that the worker never waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from moorage.domain.clock import Clock, Ids
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.services.aws_backed import client, long_poll
from moorage.services.aws_backed.frames import Answer, Call, Reset
from moorage.services.aws_backed.operations import MOTO_SERVICES, changes_state
from moorage.services.aws_backed.process import WorkerFailed, WorkerProcess
from moorage.services.base import RequestContext
from moorage.settings import Settings

JOURNAL = "aws-backed.journal"
LOG = "aws-backed.log"

# Say nothing to moto, or would make it guess.
_DROPPED_HEADERS = frozenset(
    {"authorization", "connection", "expect", "transfer-encoding", "user-agent", "accept-encoding", "x-moto-account-id"}
)

Headers = list[tuple[str, str]]


class AwsBacked:
    """Every service in `services` (botocore's names). The worker starts with the first request that needs it."""

    services = frozenset(MOTO_SERVICES)

    def __init__(self, settings: Settings, clock: Clock, ids: Ids | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._ids = ids or Ids()
        self._journal = settings.data_dir / JOURNAL
        self._worker = self._new_worker()

    def _new_worker(self) -> WorkerProcess:
        log_file = self._settings.data_dir / LOG
        return WorkerProcess(self._journal, log_file, self._settings.account, self._clock, self._ids)

    @property
    def loaded(self) -> bool:
        """Whether the worker runs (and memory is spent)."""
        return self._worker.running

    @property
    def worker(self) -> WorkerProcess:
        return self._worker

    async def forward(
        self,
        service: str,
        context: RequestContext,
        method: str,
        path: str,
        headers: Mapping[str, str] | Iterable[tuple[str, str]],
        body: bytes,
    ) -> tuple[int, Headers, bytes]:
        """Answers an HTTP request with moto's status, headers and body. `path` is raw, with its query string.

        Raises `AwsError` when moto cannot do the operation at all; the gateway words that in the caller's protocol."""
        if service not in MOTO_SERVICES:
            raise AwsError("UnsupportedOperation", f"Moorage has no service {service} (asked for {context.operation})")
        pairs = headers.items() if isinstance(headers, Mapping) else headers
        kept = [(str(name), str(value)) for name, value in pairs if name.lower() not in _DROPPED_HEADERS]
        call = Call(
            id=self._ids.hex(32),
            at=self._clock.now(),
            seed=self._ids.hex(32),
            service=service,
            operation=context.operation,
            account=context.account,
            region=context.region,
            access_key=context.access_key_id or "test",
            method=method,
            path=path,
            headers=kept,
            body=body,
            mutates=changes_state(service, context.operation, method),
        )
        answer = await self._poll(call) if (service, context.operation) == long_poll.RECEIVE else await self._ask(call)
        return answer.status, answer.headers, answer.body

    async def call(self, scope: Scope, service: str, operation: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """One operation for a neighbour inside the control plane. Answers the parsed result in the model's member
        names; refusals are raised as `AwsError` with the service's code."""
        request = client.serialize(service, operation, params, scope.region)
        context = RequestContext(
            account=scope.account,
            region=scope.region,
            service=service,
            operation=operation,
            request_id=self._ids.uuid(),
            access_key_id="test",
            principal_arn=f"arn:aws:iam::{scope.account}:root",
        )
        status, headers, body = await self.forward(
            service, context, request.method, request.path, request.headers, request.body
        )
        return client.parse(service, operation, status, headers, body)

    async def reset(self) -> None:
        """Forgets everything, durably. A worker that runs stays loaded."""
        if self._worker.running:
            await self._worker.ask(Reset(self._ids.hex(32), self._clock.now(), self._ids.hex(32)))
        else:
            self._journal.unlink(missing_ok=True)

    async def close(self) -> None:
        """Ends the worker; nothing is lost. Called when the control plane stops."""
        await self._worker.close()

    async def _ask(self, call: Call) -> Answer:
        try:
            answer = await self._worker.ask(call)
        except WorkerFailed as error:
            raise AwsError("ServiceUnavailable", str(error), status=503, sender=False) from error
        if answer.refused is not None:
            code, sentence = answer.refused
            raise AwsError(code, sentence, status=answer.status, sender=answer.status < 500)
        return answer

    async def _poll(self, call: Call) -> Answer:
        """SQS long polling: ask without waiting, again and again, until something comes or the time is over."""
        wait, call = long_poll.without_wait(call)
        deadline = asyncio.get_running_loop().time() + wait
        pause = long_poll.FIRST_PAUSE
        while True:
            answer = await self._ask(call)
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0 or answer.status >= 400 or long_poll.has_messages(answer):
                return answer
            await asyncio.sleep(min(pause, left))
            pause = min(pause * 2, long_poll.LONGEST_PAUSE)
            call = long_poll.again(call, self._ids.hex(32), self._clock.now(), self._ids.hex(32))
