"""The front of the embedded AWS: what the gateway and Moorage's own services call. Never imports moto.

`forward` takes an HTTP request as it came from a client, `call` an operation by name with a dict; both end in the
worker process. What moto would block on (long polls) is waited for here, so that the worker never waits.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from moorage.domain.clock import Clock, Ids
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.services.aws_backed import client, translate
from moorage.services.aws_backed.frames import Answer, Call, Reset
from moorage.services.aws_backed.operations import MOTO_SERVICES, changes_state
from moorage.services.aws_backed.process import WorkerFailed, WorkerProcess
from moorage.services.aws_backed.sessions import Sessions
from moorage.services.base import RequestContext
from moorage.settings import Settings
from moorage.wire.messages import WireRequest

JOURNAL = "aws-backed.journal"
LOG = "aws-backed.log"
IDLE_AFTER = 1800.0

# Say nothing to moto, or would make it guess.
_DROPPED_HEADERS = frozenset(
    {"authorization", "connection", "expect", "transfer-encoding", "user-agent", "accept-encoding", "x-moto-account-id"}
)

_RECEIVE = ("sqs", "ReceiveMessage")
_LONGEST_PAUSE = 1.0

Reply = tuple[int, dict[str, str], bytes]


class AwsBacked:
    """Every service in `services` (botocore's names). The worker starts with the first request that needs it."""

    services = frozenset(MOTO_SERVICES)

    def __init__(
        self, settings: Settings, clock: Clock, ids: Ids | None = None, *, idle_after: float | None = IDLE_AFTER
    ) -> None:
        """`idle_after`: seconds without a call after which the worker is ended, to give its memory back (None: never).
        The next call starts it again from the journal."""
        self._settings = settings
        self._clock = clock
        self._ids = ids or Ids()
        self._journal = settings.data_dir / JOURNAL
        self._worker = WorkerProcess(
            self._journal, settings.data_dir / LOG, settings.account, self._clock, self._ids, idle_after
        )
        self.version = 0
        """Grows with every request that may have changed something: what was read at an older one may be stale."""
        self._changed = asyncio.Event()
        self.on_answer: list[Callable[[Call, int], None]] = []
        """Called with every request that was answered, and its status; must not raise."""
        self.sessions = Sessions()
        """For `gateway.set_session_lookup`."""

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
        headers: Mapping[str, str],
        body: bytes,
    ) -> Reply:
        """Answers an HTTP request with moto's status, headers and body. `path` is raw, with its query string. The
        operation is found here when `context.operation` is empty.

        Raises `AwsError` when moto cannot do the operation at all; the gateway words that in the caller's protocol."""
        if service not in MOTO_SERVICES:
            raise AwsError("UnsupportedOperation", f"Moorage has no service {service} (asked for {context.operation})")
        raw_path, _, query = path.partition("?")
        request = WireRequest(method, raw_path, query, headers, body)
        operation = context.operation or translate.operation_of(service, request)
        context = msgspec.structs.replace(context, service=service, operation=operation)
        if translate.is_cbor(request):
            plain = translate.from_cbor(service, operation, context.region, request)
            answer = await self._send(context, plain.method, plain.path, plain.headers, plain.body)
            return translate.to_cbor(service, operation, answer, context.request_id)
        return await self._send(context, method, path, headers.items(), body)

    async def _send(
        self,
        context: RequestContext,
        method: str,
        path: str,
        headers: Iterable[tuple[str, str]],
        body: bytes,
        *,
        kept_on_disk: bool = True,
    ) -> Reply:
        service, operation = context.service, context.operation
        kept = [(str(name), str(value)) for name, value in headers if name.lower() not in _DROPPED_HEADERS]
        call = Call(
            id=self._ids.hex(32),
            at=self._clock.now(),
            seed=self._ids.hex(32),
            service=service,
            operation=operation,
            account=context.account,
            region=context.region,
            access_key=context.access_key_id or "test",
            method=method,
            path=path,
            headers=kept,
            body=body,
            mutates=kept_on_disk and changes_state(service, operation, method),
        )
        if (service, operation) == _RECEIVE:
            answer = await self._poll(call)
        else:
            answer = await self._ask(call)
            if call.mutates:
                self._note_change()
        for told in self.on_answer:
            told(call, answer.status)
        if answer.status == 200:
            self.sessions.learn(service, operation, context.account, answer.body)
        return answer.status, dict(answer.headers), answer.body

    async def call(
        self, scope: Scope, service: str, operation: str, params: Mapping[str, Any], *, kept: bool = True
    ) -> dict[str, Any]:
        """One operation for a neighbour inside the control plane. Answers the parsed result in the model's member
        names; refusals are raised as `AwsError` with the service's code. Not `kept`: what it changes ends with the
        worker."""
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
        answer = await self._send(
            context, request.method, request.path, request.headers, request.body, kept_on_disk=kept
        )
        return client.parse(service, operation, *answer)

    async def reset(self) -> None:
        """Forgets everything, durably. A worker that runs stays loaded."""
        self._note_change()
        self.sessions.forget()
        if self._worker.running:
            await self._worker.ask(Reset(self._ids.hex(32), self._clock.now(), self._ids.hex(32)))
        else:
            self._journal.unlink(missing_ok=True)

    async def changed(self) -> None:
        """Returns with the next request that may change something."""
        await self._changed.wait()

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
        """SQS long polling: asks again whenever anything changed, and once a second for what time alone brings back."""
        answer = await self._ask(call)
        deadline = asyncio.get_running_loop().time() + answer.wait
        while answer.wait:
            left = deadline - asyncio.get_running_loop().time()
            if left <= 0:
                break
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait(), min(left, _LONGEST_PAUSE))
            call = msgspec.structs.replace(call, id=self._ids.hex(32), at=self._clock.now(), seed=self._ids.hex(32))
            answer = await self._ask(call)
        if not answer.wait:
            self._note_change()
        return answer

    def _note_change(self) -> None:
        self.version += 1
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()
