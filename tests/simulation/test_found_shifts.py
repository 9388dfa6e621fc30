"""What random stories found about deployments that shift traffic, in the fewest steps that show it."""

import pytest

from moorage.simulation.run import failure
from moorage.simulation.story import Step
from moorage.simulation.story_shifts import STRATEGIES, ShiftsPlayer


def street(strategy, desired):
    return Step(0.0, "create_street", {"strategy": strategy, "desired": desired, "breaker": False})


def deploy(after, image="good"):
    return Step(after, "deploy", {"name": "a", "image": image, "checked": False})


def scale(after, desired):
    return Step(after, "scale", {"name": "a", "desired": desired})


def ends_well(*steps):
    assert failure(1, steps, player=ShiftsPlayer) is None


@pytest.mark.parametrize("moment", [5.0, 20.0, 60.0, 80.0])
@pytest.mark.parametrize("strategy", [name for name in STRATEGIES if name != "rolling"])
def test_a_rolling_deployment_in_the_middle_of_a_shift_takes_the_traffic_along(strategy, moment):
    """Found by seeds 146 and 1023. The rules went on forwarding to the target group of the deployment that was
    superseded, whose tasks were all gone."""
    ends_well(street(strategy, 1), deploy(60.0, "stubborn"), Step(moment, "set_strategy", {"strategy": "rolling"}))


def test_a_new_deployment_does_not_wait_for_an_old_revision_that_cannot_start_any_more():
    """Found by seed 161. The revision to start from (completed while nothing was desired) has an image that cannot be
    pulled; the next deployments waited for it to take over from the one that was superseded, for ever."""
    ends_well(street("canary", 1), scale(0.05, 0), deploy(60.0, "lost"), deploy(700.0), scale(60.0, 2))


@pytest.mark.parametrize("moment", [30.0, 60.0, 63.0, 66.0])
def test_a_sick_task_of_the_old_revision_does_not_bring_both_over_twice_the_desired_count(moment):
    """Found by seed 1. Blue has a replacement for its sick task when green is scaled up."""
    flaps = Step(0.5, "flap_container", {"which": 1, "every": 11.0})
    ends_well(street("blue/green", 3), Step(60.0, "nothing"), flaps, deploy(moment))


@pytest.mark.parametrize("seed", [30107, 1, 2])
def test_a_sandbox_claimed_while_the_pool_is_tidied_stays_with_its_task(seed):
    """Found by seed 30107. The engine was frozen while the pool was being tidied after a restart: by its list, which was
    older than the claim, the sandbox still belonged to the pool."""
    steps = [
        street("linear", 3),
        Step(120.0, "nothing"),
        Step(12.045, "restart_control_plane", {"away": 0.0}),
        Step(0.019, "engine_freeze", {"seconds": 40}),
        scale(1.489, 1),
        Step(1.098, "deploy", {"name": "a", "image": "greedy", "checked": True}),
    ]
    assert failure(seed, steps, player=ShiftsPlayer) is None


def test_a_lost_old_revision_leaves_room_for_the_new_one():
    """Found by seed 20000. Sick tasks of the old revision and those of an interrupted deployment were twice the desired
    count together: the new revision could start nothing."""
    steps = [
        street("linear", 2),
        Step(21.0, "deploy", {"name": "a", "image": "sick later", "checked": False}),
        Step(60.0, "kill_container", {"which": 99}),
        scale(60.0, 3),
        Step(61.0, "deploy", {"name": "a", "image": "slow", "checked": True}),
    ]
    ends_well(*steps)


def test_an_old_revision_that_was_lost_and_came_back_leaves_room_for_the_new_one():
    """Found by seed 39. Blue was given up while every container died with the engine, then it had its tasks again; those
    of the interrupted deployment stayed beside them, and green found no room, for ever."""
    steps = [
        Step(60.0, "create_street", {"strategy": "blue/green", "desired": 2, "breaker": True}),
        Step(0.679, "flap_container", {"which": 7, "every": 11.0}),
        deploy(17.581),
        Step(0.004, "engine_outage", {"seconds": 40, "containers_die": True}),
    ]
    assert failure(39, steps, player=ShiftsPlayer) is None


def test_a_sandbox_that_an_earlier_process_had_ordered_is_removed_when_it_comes_late():
    """Found by seed 100068. The engine made it after the next control plane had given its address back."""
    steps = [
        street("blue/green", 3),
        Step(1.0, "nothing"),
        Step(1.904, "delete_service", {"name": "a"}),
        Step(0.028, "restart_control_plane", {"away": 10.0}),
        Step(0.762, "restart_control_plane", {"away": 0.0}),
        Step(60.0, "deploy", {"name": "a", "image": "stubborn", "checked": True}),
    ]
    assert failure(100068, steps, player=ShiftsPlayer) is None


def test_a_service_made_anew_is_not_blamed_for_the_rules_that_its_predecessor_left_halfway():
    """Found by seed 100260: a mistake of the invariant. The rule still shared its requests out as the deleted service's
    deployment had left it; the new one's next deployment fails for it, and says so."""
    ends_well(
        street("linear", 1), deploy(60.0, "slow"), Step(60.0, "delete_service", {"name": "a"}), street("linear", 1)
    )
