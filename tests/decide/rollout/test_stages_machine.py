"""The stage machine of blue/green, linear and canary as a state machine: whatever tasks, time and users do, traffic and
stages only go the way the deployment goes; and left alone with tasks that work, it ends."""

from __future__ import annotations

from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from moorage.decide.rollout import stages
from moorage.decide.rollout.stages import Facts, Turn, advance
from moorage.domain.service import Canary, DeploymentConfiguration, Linear, Shift

ORDER = (
    "RECONCILE_SERVICE",
    "PRE_SCALE_UP",
    "SCALE_UP",
    "POST_SCALE_UP",
    "TEST_TRAFFIC_SHIFT",
    "POST_TEST_TRAFFIC_SHIFT",
    "PRE_PRODUCTION_TRAFFIC_SHIFT",
    "PRODUCTION_TRAFFIC_SHIFT",
    "POST_PRODUCTION_TRAFFIC_SHIFT",
    "BAKE_TIME",
    "CLEAN_UP",
)


class Stages(RuleBasedStateMachine):
    @initialize(
        strategy=st.sampled_from(("BLUE_GREEN", "LINEAR", "CANARY")),
        step=st.sampled_from((10.0, 33.3, 100.0)),
        blue=st.sampled_from(("ecs-svc/1", "ecs-svc/1", None)),
        others=st.booleans(),
    )
    def begin(self, strategy: Any, step: float, blue: str | None, others: bool) -> None:
        configuration = DeploymentConfiguration(
            strategy=strategy, bake_time_minutes=1, canary=Canary(step, 1), linear=Linear(step, 1)
        )
        self.now = 1000.0
        self.facts = Facts(desired=2, green_healthy=0, blue_healthy=2, others=2 if others else 0)
        stage = stages.first_stage(blue=blue is not None, others=others)
        self.shift = Shift("sd", "ecs-svc/2", blue, configuration, stage, self.now, began=self.now)
        self.moved: list[tuple[Shift, Turn]] = []

    def move(self) -> Turn:
        turn = advance(self.shift, self.facts, self.now, "7")
        self.moved.append((self.shift, turn))
        self.shift = turn.shift
        return turn

    @rule(seconds=st.sampled_from((0.0, 1.0, 30.0, 90.0)))
    def time_goes_on(self, seconds: float) -> None:
        self.now += seconds
        self.move()

    @rule(green=st.integers(0, 2), blue=st.integers(0, 2), others=st.integers(0, 2))
    def tasks_change(self, green: int, blue: int, others: int) -> None:
        self.facts = Facts(desired=2, green_healthy=green, blue_healthy=blue, others=others)
        self.move()

    @rule()
    def somebody_stops_it(self) -> None:
        if self.shift.direction == "forward" and self.shift.stage != "CLEAN_UP":
            turn = stages.turn_back(self.shift, "stopped", self.now)
            self.moved.append((self.shift, turn))
            self.shift = turn.shift

    @invariant()
    def goes_its_way(self) -> None:
        for before, turn in getattr(self, "moved", []):
            after = turn.shift
            assert 0.0 <= after.percent <= 100.0
            assert 0.0 <= after.test_percent <= 100.0
            if before.direction == after.direction == "forward":
                # LINEAR comes back to the stages of the shift with its next step.
                assert (after.step, ORDER.index(after.stage)) >= (before.step, ORDER.index(before.stage))
                assert after.percent >= before.percent, "on its way forward green never loses traffic"
            if after.direction == "back":
                assert before.direction != "halted"
            if before.direction in ("back", "halted"):
                assert after.direction == before.direction, "there is no third way"
            if before.direction == "back":
                assert after.percent <= before.percent
        self.moved = []

    def teardown(self) -> None:
        if not hasattr(self, "shift"):
            return
        for _ in range(300):
            self.facts = Facts(desired=2, green_healthy=2, blue_healthy=2, others=0)
            turn = self.move()
            if self.shift.direction == "halted" or (self.shift.stage == "CLEAN_UP" and self.shift.entered):
                break
            assert turn.again_after is not None, f"nothing would ever move in {self.shift.stage}"
            self.now += turn.again_after
        else:
            raise AssertionError(f"still in {self.shift.stage}")
        self.goes_its_way()
        if self.shift.direction == "forward" and self.shift.blue is not None:
            assert self.shift.percent == 100.0
        if self.shift.direction == "back":
            assert self.shift.percent == 0.0


TestStages = Stages.TestCase
TestStages.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
