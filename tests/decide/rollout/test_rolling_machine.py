"""A rolling update as a state machine: whatever users, tasks and time do between two passes, every pass keeps to the
percentages; and left alone, with tasks that work, it ends."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from decide.builders import a_task
from moorage.decide.health import Verdict
from moorage.decide.rollout.percent import maximum_running, minimum_healthy
from moorage.decide.rollout.rolling import Candidate, Step, next_step

ZONES = ("us-east-1a", "us-east-1b", "us-east-1c")
which = st.integers(0, 50)


class Rollout(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tasks: dict[str, Candidate] = {}
        self.number = 0
        self.desired, self.minimum, self.maximum = 2, 100, 200
        self.wrong: list[str] = []

    def put(self, name: str, state: str, *, new: bool, status: str = "RUNNING") -> None:
        known = self.tasks.get(name)
        task = a_task(name, last_status=status, availability_zone=ZONES[self.number % 3], created_at=float(self.number))
        if known is not None:
            task = a_task(
                name,
                last_status=status,
                availability_zone=known.task.availability_zone,
                created_at=known.task.created_at,
            )
        self.tasks[name] = Candidate(task, Verdict(state, "test"), new=new)  # type: ignore[arg-type]

    def one(self, which: int) -> str | None:
        names = list(self.tasks)
        return names[which % len(names)] if names else None

    # --- what happens between two passes -----------------------------------------------------------------------------
    @rule(desired=st.integers(0, 6))
    def scale(self, desired: int) -> None:
        self.desired = desired

    @rule(percents=st.sampled_from(((100, 200), (50, 100), (50, 200), (0, 100), (67, 134), (100, 150))))
    def configure(self, percents: tuple[int, int]) -> None:
        self.minimum, self.maximum = percents

    @rule()
    def deploy(self) -> None:
        for name, one in list(self.tasks.items()):
            self.tasks[name] = Candidate(one.task, one.verdict, new=False)

    @rule(which=which, state=st.sampled_from(("healthy", "unhealthy", "waiting")))
    def turns(self, which: int, state: str) -> None:
        if (name := self.one(which)) is not None:
            self.put(name, state, new=self.tasks[name].new)

    @rule(which=which)
    def dies(self, which: int) -> None:
        if (name := self.one(which)) is not None:
            del self.tasks[name]

    # --- a pass ------------------------------------------------------------------------------------------------------
    @rule(may_start=st.sampled_from((True, True, False)))
    def passes(self, may_start: bool) -> None:
        self.one_pass(may_start=may_start)

    def one_pass(self, *, may_start: bool = True) -> Step:
        before = list(self.tasks.values())
        least = minimum_healthy(self.desired, self.minimum)
        most = maximum_running(self.desired, self.maximum)
        step = next_step(before, desired=self.desired, minimum=least, maximum=most, may_start=may_start)
        if step.start and len(before) + step.start > most:
            self.wrong.append(f"{len(before)} + {step.start} tasks, at most {most}")
        if step.start and not may_start:
            self.wrong.append("starts although it may not")
        healthy = sum(1 for one in before if one.verdict.state == "healthy")
        replaced = [one for one in step.stop if one.verdict.state == "healthy" and one.why == "replaced"]
        if replaced and healthy - len(replaced) < least:
            self.wrong.append(f"stops {len(replaced)} of {healthy} healthy tasks, {least} must stay")
        if len({one.task.arn for one in step.stop}) != len(step.stop):
            self.wrong.append("stops one task twice")
        for one in step.stop:
            del self.tasks[one.task.id]
        for _ in range(step.start):
            self.number += 1
            self.put(f"n{self.number}", "waiting", new=True, status="PENDING")
        return step

    @invariant()
    def keeps_to_the_percentages(self) -> None:
        assert not self.wrong

    def teardown(self) -> None:
        """Tasks work from now on: the update ends, unless the percentages forbid every step, and says so."""
        for _ in range(6 * (len(self.tasks) + self.desired) + 6):
            for name, one in list(self.tasks.items()):
                self.put(name, "healthy", new=one.new)
            step = self.one_pass()
            if step.blocked:
                return
            if not step.start and not step.stop:
                break
        assert not self.wrong
        assert len(self.tasks) == self.desired
        assert all(one.new for one in self.tasks.values())


TestRollout = Rollout.TestCase
TestRollout.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
