"""Whole rolling updates, step by step, with tasks that start, sicken and die as they like."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from decide.builders import NOW, a_task
from moorage.decide.health import Verdict
from moorage.decide.rollout.percent import early_success, maximum_running, minimum_healthy
from moorage.decide.rollout.rolling import Candidate, Step, hold, next_step

HEALTHY, WAITING, SICK = Verdict("healthy", ""), Verdict("waiting", ""), Verdict("unhealthy", "")


class Fleet:
    """The tasks of a service, `mishaps` of which happen before each step until there are none left."""

    def __init__(self, desired: int, low: int, high: int, mishaps: list[str]) -> None:
        self.desired = desired
        self.minimum, self.maximum = minimum_healthy(desired, low), maximum_running(desired, high)
        self.mishaps = mishaps
        self.count = 0
        self.tasks = [self._new(HEALTHY, new=False) for _ in range(desired)]

    def _new(self, verdict: Verdict, *, new: bool = True) -> Candidate:
        self.count += 1
        zone = "abc"[self.count % 3]
        task = a_task(f"t{self.count:03}", availability_zone=zone, created_at=NOW + self.count)
        return Candidate(task, verdict, new=new)

    def healthy(self) -> int:
        return sum(1 for one in self.tasks if one.verdict.state == "healthy")

    def suffer(self) -> None:
        """What happens to tasks by itself: at most one mishap, then everything that waits becomes healthy."""
        mishap = self.mishaps.pop() if self.mishaps else "nothing"
        if self.tasks and mishap == "dies":
            self.tasks.pop(len(self.mishaps) % len(self.tasks))
        elif self.tasks and mishap == "sickens":
            place = len(self.mishaps) % len(self.tasks)
            self.tasks[place] = replace(self.tasks[place], verdict=SICK)
        self.tasks = [replace(one, verdict=HEALTHY) if one.verdict == WAITING else one for one in self.tasks]

    def step(self) -> Step:
        step = next_step(self.tasks, desired=self.desired, minimum=self.minimum, maximum=self.maximum, may_start=True)
        before, sound = len(self.tasks), self.healthy()
        gone = {stop.task.arn for stop in step.stop}
        healthy_gone = sum(1 for stop in step.stop if stop.verdict.state == "healthy")
        assert before + step.start <= max(self.maximum, before), "more than maximumPercent were started"
        if healthy_gone:
            assert sound - healthy_gone >= self.minimum, "fewer than minimumHealthyPercent were left"
        self.tasks = [one for one in self.tasks if one.task.arn not in gone]
        self.tasks += [self._new(WAITING) for _ in range(step.start)]
        return step


@settings(deadline=None)
@given(
    st.integers(0, 12),
    st.integers(0, 100),
    st.integers(100, 300),
    st.lists(st.sampled_from(["dies", "sickens", "nothing"]), max_size=8),
)
def test_a_rollout_ends_and_never_breaks_its_percentages(desired: int, low: int, high: int, mishaps: list[str]) -> None:
    fleet = Fleet(desired, low, high, mishaps)
    for _ in range(12 * (desired + 4)):
        step = fleet.step()
        done = not step.start and not step.stop
        if done and not fleet.mishaps:
            break
        fleet.suffer()
    if step.blocked:
        assert fleet.minimum == fleet.maximum, "only percentages that leave no room block"
        return
    assert [one.new for one in fleet.tasks] == [True] * desired
    assert fleet.healthy() == desired


@given(st.integers(1, 400), st.integers(0, 100), st.integers(100, 400))
def test_the_bounds_enclose_the_desired_count(desired: int, low: int, high: int) -> None:
    assert minimum_healthy(desired, low) <= desired <= maximum_running(desired, high)
    assert 100 * (minimum_healthy(desired, low) - 1) < desired * low <= 100 * minimum_healthy(desired, low) or low == 0
    assert early_success(desired, low) == minimum_healthy(desired, low)


@given(st.integers(0, 10), st.integers(0, 10), st.integers(0, 10), st.data())
def test_a_failed_deployment_only_shrinks_what_is_more_than_desired(
    desired: int, old: int, new: int, data: st.DataObject
) -> None:
    verdicts = st.sampled_from([HEALTHY, WAITING, SICK])
    tasks = [
        Candidate(a_task(f"{kind}{number}"), data.draw(verdicts), new=kind == "n")
        for kind, count in (("o", old), ("n", new))
        for number in range(count)
    ]
    step = hold(tasks, desired=desired)
    assert step.start == 0
    gone = Counter(stop.task.id[0] for stop in step.stop)
    for kind, count in (("o", old), ("n", new)):
        assert count - gone[kind] >= min(count, desired)
        sick = sum(1 for one in tasks if one.task.id[0] == kind and one.verdict == SICK)
        assert count - gone[kind] - sick <= desired
