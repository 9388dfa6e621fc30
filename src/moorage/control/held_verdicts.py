"""The last verdict over each living task of each service, and which of them still hold.

Judging is pure: a verdict that does not say when time alone may change it (`again_after`) holds until the task's record,
its targets or the service's grace period change. So a pass over a service of five thousand tasks judges the one that
changed. Records are compared by identity, which is exact: a changed record is another object. What the change feed tells
of targets makes a verdict doubtful (`doubt`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from moorage.decide.health import Verdict
from moorage.domain.service import Service
from moorage.domain.task import Task

_NONE: Mapping[str, Verdict] = {}


class HeldVerdicts:
    def __init__(self) -> None:
        self._given: dict[str, Mapping[str, Verdict]] = {}
        """By service ARN, then by task ARN."""
        self._over: dict[str, Mapping[str, Task]] = {}
        """The records over which they were given."""
        self._grace: dict[str, int | None] = {}
        self._doubtful: dict[str, set[str]] = {}

    def of(self, service_arn: str) -> Mapping[str, Verdict]:
        """The last verdict over each task, whether it still holds or not."""
        return self._given.get(service_arn, _NONE)

    def holding(self, service: Service, tasks: Collection[Task]) -> Mapping[str, Verdict]:
        """The verdicts over these tasks that need not be given again."""
        if self._grace.get(service.arn) != service.health_check_grace_period:
            return _NONE
        given, over = self.of(service.arn), self._over.get(service.arn, {})
        doubtful = self._doubtful.get(service.arn, ())
        return {
            task.arn: verdict
            for task in tasks
            if over.get(task.arn) is task
            and (verdict := given[task.arn]).again_after is None
            and task.arn not in doubtful
        }

    def note(self, service: Service, tasks: Collection[Task], verdicts: Mapping[str, Verdict]) -> None:
        self._given[service.arn] = verdicts
        self._over[service.arn] = {task.arn: task for task in tasks if task.arn in verdicts}
        self._grace[service.arn] = service.health_check_grace_period
        self._doubtful.pop(service.arn, None)

    def doubt(self, service_arn: str, task_arn: str) -> None:
        """Something that the verdict rests on, and that is not in the task's record, has changed."""
        self._doubtful.setdefault(service_arn, set()).add(task_arn)

    def forget(self, service_arn: str) -> None:
        for remembered in (self._given, self._over, self._grace, self._doubtful):
            remembered.pop(service_arn, None)
