"""Applies lifecycle policies: soon after a push, after a policy changes, and every hour for rules about age.

Thin: `decide/lifecycle_policy` says which images expire, one transaction removes them. Blobs are left to the registry's
sweep. AWS does the same within 24 hours. Source: semantics around §1.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from moorage.control.loop import Loop, Pass
from moorage.decide.lifecycle_policy import InvalidPolicy, evaluate, parse_policy
from moorage.domain.clock import Clock
from moorage.store.api import Change, StoreApi, Transaction
from moorage.store.tables.ecr import IMAGE_TAGS, IMAGES, REPOSITORIES, delete_image, image_facts

# A push is several requests (layers, manifest, perhaps a list of manifests): let it come to rest.
AFTER_PUSH = 5.0
EVERY = 3600.0


class LifecycleController:
    """`start()` looks at every repository once and follows the store from then on. Keys are repository ARNs."""

    def __init__(self, store: StoreApi, clock: Clock, *, after_push: float = AFTER_PUSH) -> None:
        self._store = store
        self._clock = clock
        self._after_push = after_push
        self.loop = Loop("lifecycle", self.reconcile, workers=2)
        self._unwatch: Callable[[], None] | None = None

    async def start(self) -> None:
        self._unwatch = self._store.watch(self._changed)
        for repository in self._store.all(REPOSITORIES):
            if repository.lifecycle_policy_text is not None:
                self.loop.wake(repository.arn)

    async def close(self) -> None:
        if self._unwatch is not None:
            self._unwatch()
        await self.loop.close()

    async def reconcile(self, arn: str) -> Pass:
        repository = self._store.get(REPOSITORIES, arn)
        if repository is None:
            self.loop.forget(arn)
            return Pass("the repository is gone")
        if repository.lifecycle_policy_text is None:
            return Pass("no lifecycle policy")
        try:
            rules = parse_policy(repository.lifecycle_policy_text)
        except InvalidPolicy as error:
            return Pass(f"the lifecycle policy cannot be applied: {error}")
        now = self._clock.now()

        def expire(tx: Transaction) -> int:
            current = tx.get(REPOSITORIES, arn)
            if current is None or current.lifecycle_policy_text != repository.lifecycle_policy_text:
                return 0
            expired = evaluate(rules, image_facts(tx, arn), now)
            for expiry in expired:
                delete_image(tx, arn, expiry.digest)
            tx.put(REPOSITORIES, msgspec.structs.replace(current, lifecycle_evaluated_at=now))
            return len(expired)

        count = await self._store.update(expire)
        return Pass(f"expired {count} images by lifecycle policy" if count else "no image to expire", again_after=EVERY)

    def _changed(self, changes: Sequence[Change[Any]]) -> None:
        for change in changes:
            if change.after is None:
                continue
            if change.table is REPOSITORIES:
                before = change.before.lifecycle_policy_text if change.before is not None else None
                if change.after.lifecycle_policy_text not in (None, before):
                    self.loop.wake_after(change.key, self._after_push)
            elif change.table is IMAGE_TAGS or (change.table is IMAGES and change.before is None):
                self.loop.wake_after(change.after.repository_arn, self._after_push)
