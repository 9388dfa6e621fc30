"""The verdict over a task: what it rests on, and how long it holds."""

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from decide.builders import a_container, a_document, a_task, balanced
from moorage.decide.health import TargetFact, judge

CHECK = {"command": ["CMD-SHELL", "true"]}
STATES = ("PENDING", "RUNNING")


@st.composite
def cases(draw):
    document = a_document({"name": "app", "image": "app", **({"healthCheck": CHECK} if draw(st.booleans()) else {})})
    health = draw(st.sampled_from(("HEALTHY", "UNHEALTHY", "UNKNOWN")))
    task = replace(
        a_task(),
        last_status=draw(st.sampled_from(STATES)),
        started_at=draw(st.none() | st.floats(0, 100)),
        became_healthy_at=draw(st.none() | st.just(50.0)),
        containers=(a_container("app", known="RUNNING", health=health),),
    )
    if draw(st.booleans()):
        task = balanced(task)
    groups = [ref.target_group_arn for ref in task.load_balancers if draw(st.booleans())]
    state = draw(st.sampled_from(("healthy", "unhealthy", "initial", "unused")))
    return (
        task,
        document,
        {arn: TargetFact(arn, 80, state, "why") for arn in groups},
        draw(st.sampled_from((0.0, 60.0))),
    )


@given(cases(), st.floats(100, 200), st.floats(0, 1000))
def test_a_verdict_that_names_no_time_holds_for_ever(case, now, later):
    task, document, targets, grace = case
    verdict = judge(task, document, targets, grace, now)
    if verdict.again_after is None:
        assert judge(task, document, targets, grace, now + later) == verdict
    else:
        assert verdict.again_after > 0
        assert judge(task, document, targets, grace, now + 0.999 * verdict.again_after).state == verdict.state
