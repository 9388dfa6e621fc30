"""Express services: makes everything that one record asks for, by calling the APIs that people call (ecs-services §14).

Level-triggered: a pass does the first step that is not done, writes down what it made, and goes on. Every step finds what
an earlier life of the control plane made and could not write down any more (names follow from the record), so a kill
anywhere leaves nothing behind. What is made and how is `decide/express.py`; what runs is the ECS service's own controller.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from msgspec.structs import replace

from moorage.control.express_making import ExpressMaking
from moorage.control.express_removing import ExpressRemoving
from moorage.control.loop import Loop, Pass
from moorage.control.ports import AwsCalls
from moorage.domain.clock import Clock
from moorage.domain.errors import AwsError, Retryable
from moorage.domain.express import ExpressResources, ExpressService
from moorage.domain.service import Service
from moorage.store.api import Change, StoreApi, Transaction
from moorage.store.tables.ecs import EXPRESS_SERVICES, SERVICES

SETTLE_WITHIN = 20.0
"""Seconds that a caller waits for the first pass over what it asked for."""


class _Gone(Exception):
    """The record was taken away while it was worked on."""


class ExpressController:
    def __init__(self, store: StoreApi, clock: Clock, calls: AwsCalls) -> None:
        self._store = store
        self._clock = clock
        self._making = ExpressMaking(store, calls)
        self._removing = ExpressRemoving(store, calls)
        self._waiting: dict[str, list[asyncio.Event]] = {}
        # One at a time: services share load balancers, and rules on them need numbers of their own.
        self.loop = Loop("express", self._reconcile, workers=1)
        self._end_watch: Callable[[], None] = lambda: None

    def start(self) -> None:
        self._end_watch = self._store.watch(self._changed)
        for record in self._store.all(EXPRESS_SERVICES):
            self.loop.wake(record.arn)

    async def close(self) -> None:
        self._end_watch()
        await self.loop.close()

    def explain(self, arn: str) -> str | None:
        return self.loop.said(arn)

    async def settle(self, arn: str) -> None:
        """Returns when a pass that began after this call is over, or after `SETTLE_WITHIN` seconds."""
        over = asyncio.Event()
        self._waiting.setdefault(arn, []).append(over)
        self.loop.wake(arn)
        try:
            await asyncio.wait_for(over.wait(), SETTLE_WITHIN)
        except TimeoutError:
            return
        finally:
            waiting = self._waiting.get(arn, [])
            if over in waiting:
                waiting.remove(over)
            if not waiting:
                self._waiting.pop(arn, None)

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            before, after = change.before, change.after
            record = after if after is not None else before
            if isinstance(record, ExpressService):
                if after is None:
                    self.loop.forget(record.arn)
                elif before is None or _asked(before) != _asked(record):
                    self.loop.wake(record.arn)
            elif isinstance(record, Service) and self._store.get(EXPRESS_SERVICES, record.arn) is not None:
                statuses = {one.status if one is not None else None for one in (before, after)}
                if len(statuses) > 1:
                    self.loop.wake(record.arn)

    # --- a pass ------------------------------------------------------------------------------------------------------
    async def _reconcile(self, arn: str) -> Pass:
        told = self._waiting.pop(arn, [])
        try:
            return await self._pass(arn)
        except _Gone:
            return Pass("gone: everything was emptied meanwhile")
        except AwsError as error:
            await self._note(arn, f"{error.code}: {error.message}")
            raise Retryable(f"{error.code}: {error.message}") from error
        finally:
            for one in told:
                one.set()

    async def _pass(self, arn: str) -> Pass:
        record = self._store.get(EXPRESS_SERVICES, arn)
        if record is None:
            return Pass("gone")
        service = self._store.get(SERVICES, arn)
        if record.status == "INACTIVE":
            if service is None:
                await self._store.update(lambda tx: tx.delete(EXPRESS_SERVICES, arn))
            return Pass("no action: the service was deleted")
        if record.status == "ACTIVE" and record.applied and (service is None or service.status != "ACTIVE"):
            # Somebody deleted the ECS service itself: everything beside it goes too.
            record = await self._write(arn, lambda one: replace(one, status="DRAINING", updated_at=self._clock.now()))
        if record.status == "DRAINING":
            return await self._remove(record)
        return await self._make(record)

    async def _make(self, record: ExpressService) -> Pass:
        if record.applied == record.generation:
            return Pass("no action: everything is as it is wanted")
        names = []
        for name, step in self._making.steps():
            generation, made = record.generation, await step(record)
            if made is not None:
                names.append(name)
                record = await self._write(record.arn, partial(_with, made))
            if record.status != "ACTIVE" or record.generation != generation:
                return Pass(f"something else was asked for while the {name} was made", again_after=0.0)
        await self._making.run_service(record)
        await self._write(record.arn, partial(self._applied, used=record))
        return Pass(
            f"the ECS service is made of generation {record.generation}; made before: {', '.join(names) or '-'}"
        )

    def _applied(self, record: ExpressService, *, used: ExpressService) -> ExpressService:
        """The ECS service has a revision of this generation now; what older revisions were is kept while they live."""
        service = self._store.get(SERVICES, record.arn)
        assert service is not None, "it was made just now"
        living = {d.revision_arn for d in service.deployments} | {service.last_good_revision}
        revisions = {arn: one for arn, one in record.revisions.items() if arn in living}
        revisions[service.revision_arn] = used.wanted
        return replace(record, applied=used.generation, revisions=revisions, problem=None)

    async def _remove(self, record: ExpressService) -> Pass:
        await self._removing.stop_service(record)
        service = self._store.get(SERVICES, record.arn)
        if service is not None and service.status != "INACTIVE":
            return Pass("waiting for the tasks of the service to drain and stop")
        for _name, step in self._removing.steps():
            made = await step(record)
            if made is not None:
                record = await self._write(record.arn, partial(_with, made))
        await self._write(
            record.arn, lambda one: replace(one, status="INACTIVE", problem=None, updated_at=self._clock.now())
        )
        return Pass("everything that was made for the service is removed")

    # --- writing -----------------------------------------------------------------------------------------------------
    async def _note(self, arn: str, problem: str) -> None:
        record = self._store.get(EXPRESS_SERVICES, arn)
        if record is not None and record.problem != problem:
            with contextlib.suppress(_Gone):
                await self._write(arn, lambda one: replace(one, problem=problem))

    async def _write(self, arn: str, change: Callable[[ExpressService], ExpressService]) -> ExpressService:
        def write(tx: Transaction) -> ExpressService:
            current = tx.get(EXPRESS_SERVICES, arn)
            if current is None:
                raise _Gone
            return tx.put(EXPRESS_SERVICES, change(current))

        return await self._store.update(write)


def _with(made: ExpressResources, record: ExpressService) -> ExpressService:
    return replace(record, made=made)


def _asked(record: ExpressService) -> tuple[str, int]:
    """What the controller must act on when it changes; the rest it writes itself."""
    return record.status, record.generation
