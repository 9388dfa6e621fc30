"""Which verdicts a pass over a service may take over from an earlier one."""

from msgspec.structs import replace

from decide.builders import a_service, a_task
from moorage.control.held_verdicts import HeldVerdicts
from moorage.decide.health import Verdict

SOUND = Verdict("healthy", "passes all its checks", serving=True)
SOON = Verdict("waiting", "counts as healthy in 5 s", again_after=5.0)


def test_a_verdict_holds_while_its_task_its_targets_and_the_grace_period_are_the_same():
    held, service = HeldVerdicts(), a_service()
    tasks = [a_task("one"), a_task("two"), a_task("three")]
    assert held.holding(service, tasks) == {}
    held.note(service, tasks, {task.arn: SOUND for task in tasks})
    assert held.holding(service, tasks) == {task.arn: SOUND for task in tasks}
    changed = replace(tasks[0], version=2)
    held.doubt(service.arn, tasks[1].arn)
    assert held.holding(service, [changed, *tasks[1:]]) == {tasks[2].arn: SOUND}
    assert held.holding(replace(service, health_check_grace_period=60), tasks) == {}
    assert held.of(service.arn)[tasks[1].arn] == SOUND, "what was said last can still be read"


def test_a_verdict_that_time_changes_is_given_again():
    held, service, task = HeldVerdicts(), a_service(), a_task()
    held.note(service, [task], {task.arn: SOON})
    assert held.holding(service, [task]) == {}


def test_a_new_verdict_ends_the_doubt_and_a_deleted_service_leaves_nothing():
    held, service, task = HeldVerdicts(), a_service(), a_task()
    held.doubt(service.arn, task.arn)
    held.note(service, [task], {task.arn: SOUND})
    assert held.holding(service, [task]) == {task.arn: SOUND}
    held.forget(service.arn)
    assert held.holding(service, [task]) == {}
    assert held.of(service.arn) == {}
