"""One pass of the daemon scheduler: a task on every instance that the service belongs on, and on no other."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from decide.builders import (
    NOW,
    a_container,
    a_deployment,
    a_document,
    a_service,
    a_snapshot,
    a_task,
    stopped_names,
    with_breaker,
)
from decide.placement.builders import a_host, a_wish, member_of
from moorage.decide.placement.daemons import DaemonFacts, standings
from moorage.decide.placement.hosts import Host
from moorage.decide.scheduler import decide
from moorage.decide.service_plan import ServicePlan, ServiceSnapshot
from moorage.domain.service import DeploymentConfiguration, Service
from moorage.domain.task import OnInstance, Task

BLUE = member_of("attribute:stack == blue")
NEW, OLD = a_deployment(2, rollout_state="IN_PROGRESS"), a_deployment(1, status="ACTIVE")


def a_daemon(*deployments: Any, minimum: int = 0, **changes: Any) -> Service:
    configuration = DeploymentConfiguration(maximum_percent=100, minimum_healthy_percent=minimum)
    return a_service(
        *deployments,
        **{
            "scheduling_strategy": "DAEMON",
            "desired_count": 0,
            "deployment_configuration": configuration,
            **changes,
        },
    )


def on(host: Host, name: str, **changes: Any) -> Task:
    where = OnInstance(host.instance.arn, host.instance.ec2_instance_id, "127.0.64.1")
    return a_task(name, **{"instance": where, **changes})


def snapshot(service: Service, hosts: list[Host], *tasks: Task, **facts: Any) -> ServiceSnapshot:
    wish = a_wish(**facts.pop("wish", {}))
    return replace(a_snapshot(service, *tasks), daemon=DaemonFacts(tuple(hosts), wish, **facts))


def starts(plan: ServicePlan) -> list[str]:
    return [host.instance.id for _, hosts in plan.start_on for host in hosts]


def test_every_active_instance_gets_one_task() -> None:
    hosts = [a_host("i1"), a_host("i2"), a_host("i3", status="DRAINING")]
    plan = decide(snapshot(a_daemon(), hosts), NOW)
    assert starts(plan) == ["i1", "i2"]
    assert (plan.service.desired_count, plan.start, plan.stop) == (2, (), ())


def test_what_has_its_task_is_left_alone() -> None:
    one, two = a_host("i1"), a_host("i2")
    service = a_daemon(steady_since=NOW, steady_said_at=NOW, desired_count=2)
    plan = decide(snapshot(service, [one, two], on(one, "a"), on(two, "b")), NOW)
    assert (plan.start_on, plan.stop, plan.events) == ((), (), ())
    assert plan.service == service


def test_a_task_that_is_stopping_still_holds_its_place() -> None:
    one = a_host("i1")
    stopping = on(one, "a", desired_status="STOPPED", last_status="STOPPING")
    assert decide(snapshot(a_daemon(), [one], stopping), NOW).start_on == ()


def test_an_update_with_the_default_percentages_stops_everything_first() -> None:
    one, two = a_host("i1"), a_host("i2")
    plan = decide(snapshot(a_daemon(NEW, OLD), [one, two], on(one, "a"), on(two, "b")), NOW)
    assert stopped_names(plan) == {"a", "b"}
    assert plan.start_on == ()


def test_the_minimum_counts_the_instances() -> None:
    """4 instances at 50 %: two at a time. At 25 %: three."""
    hosts = [a_host(f"i{number}") for number in range(4)]
    old = [on(host, host.instance.id) for host in hosts]
    for minimum, stopped in ((50, 2), (25, 3), (75, 1)):
        plan = decide(snapshot(a_daemon(NEW, OLD, minimum=minimum), hosts, *old), NOW)
        assert len(plan.stop) == stopped


def test_a_minimum_that_no_single_instance_can_keep_blocks_and_says_so() -> None:
    one = a_host("i1")
    plan = decide(snapshot(a_daemon(NEW, OLD, minimum=50), [one], on(one, "a")), NOW)
    assert plan.stop == ()
    assert "was unable to stop or start tasks during a deployment" in plan.events[0]


def test_an_unhealthy_task_goes_and_its_place_is_filled_afterwards() -> None:
    one = a_host("i1")
    sick = on(one, "sick", containers=(a_container(known="RUNNING", health="UNHEALTHY"),))
    document = a_document({"name": "app", "image": "app:1", "healthCheck": {"command": ["CMD", "true"]}})
    seen = snapshot(a_daemon(), [one], sick)
    plan = decide(replace(seen, documents={sick.task_definition_arn: document}), NOW)
    assert stopped_names(plan) == {"sick"}
    assert plan.stop[0].reason == "Task failed container health checks"
    assert plan.start_on == ()


def test_a_constraint_that_is_met_no_more_takes_the_task_away() -> None:
    one, two = a_host("i1", attributes={"stack": "green"}), a_host("i2", attributes={"stack": "blue"})
    plan = decide(snapshot(a_daemon(), [one, two], on(one, "a"), on(two, "b"), wish={"constraints": BLUE}), NOW)
    assert stopped_names(plan) == {"a"}
    assert plan.service.desired_count == 1
    assert plan.events[0] == ("(service web) stops tasks that no longer meet its placement constraints: (task a).")


def test_a_draining_instance_keeps_its_daemon_while_replicas_are_there() -> None:
    one = a_host("i1", status="DRAINING")
    occupied = frozenset({one.instance.arn})
    plan = decide(snapshot(a_daemon(), [one], on(one, "a"), occupied=occupied), NOW)
    assert plan.stop == ()
    assert plan.waits_for_room
    assert "1 stay on draining instances" in plan.said
    assert stopped_names(decide(snapshot(a_daemon(), [one], on(one, "a")), NOW)) == {"a"}


def test_an_instance_that_is_gone_loses_its_task() -> None:
    gone = a_host("i9")
    assert stopped_names(decide(snapshot(a_daemon(), [], on(gone, "a")), NOW)) == {"a"}


def test_no_room_is_told_and_waited_for_and_the_instance_is_still_desired() -> None:
    small = a_host("i1", memory=10)
    plan = decide(snapshot(a_daemon(), [small]), NOW)
    assert (plan.start_on, plan.service.desired_count, plan.waits_for_room) == ((), 1, True)
    assert "(container-instance i1) has insufficient memory available" in plan.events[0]
    assert "Not placed: of 1 instances 1 RESOURCE:MEMORY" in plan.said


def test_two_on_one_instance_become_one() -> None:
    one = a_host("i1")
    tasks = [on(one, "older", created_at=NOW - 100), on(one, "newer", created_at=NOW - 50)]
    plan = decide(snapshot(a_daemon(desired_count=1), [one], *tasks), NOW)
    assert stopped_names(plan) == {"newer"}


def test_what_is_there_twice_and_old_is_stopped_once() -> None:
    one = a_host("i1")
    tasks = [on(one, "old", created_at=NOW - 100), on(one, "new", deployment_id="ecs-svc/2")]
    plan = decide(snapshot(a_daemon(NEW, OLD), [one], *tasks), NOW)
    assert [order.task_arn[-3:] for order in plan.stop] == ["old"]


def test_while_launches_are_throttled_no_old_task_goes() -> None:
    one = a_host("i1")
    blocked = replace(NEW, launches_blocked_until=NOW + 5, failed_tasks=4)
    plan = decide(snapshot(a_daemon(blocked, OLD), [one], on(one, "a")), NOW)
    assert (plan.stop, plan.start_on) == ((), ())
    assert plan.again_after == 5


def test_a_breaker_that_trips_goes_back_everywhere() -> None:
    one, two = a_host("i1"), a_host("i2")
    failing = replace(NEW, failures=3)
    service = with_breaker(a_daemon(failing, OLD))
    plan = decide(snapshot(service, [one, two], on(two, "b")), NOW)
    assert plan.service.deployments[0].rollback_of == "ecs-svc/2"
    # What is placed next is the revision that is good, and its wish is read in the next pass.
    assert plan.start_on == ()
    assert plan.stop == ()


def test_it_is_complete_when_every_instance_has_a_healthy_task() -> None:
    one = a_host("i1")
    service = a_daemon(NEW, desired_count=1)
    plan = decide(snapshot(service, [one], on(one, "a", deployment_id="ecs-svc/2")), NOW)
    assert plan.service.deployments[0].rollout_state == "COMPLETED"
    assert plan.events[-1] == "(service web) has reached a steady state."


def test_without_any_instance_it_is_complete_at_once() -> None:
    plan = decide(snapshot(a_daemon(NEW), []), NOW)
    assert plan.service.deployments[0].rollout_state == "COMPLETED"


def test_constraints_that_look_at_tasks_are_asked_again() -> None:
    plan = decide(snapshot(a_daemon(), [a_host("i1")], volatile=True), NOW)
    assert plan.again_after == 60


def test_how_it_stands_with_every_instance() -> None:
    has, lacks, full = a_host("i1"), a_host("i2"), a_host("i3", cpu=1)
    drains, other = a_host("i4", status="DRAINING"), a_host("i5", attributes={"stack": "x"})
    rule = member_of("attribute:stack !exists")
    facts = DaemonFacts((has, lacks, full, drains, other), a_wish(constraints=rule), frozenset({drains.instance.arn}))
    found = list(standings(facts, [on(has, "a"), on(drains, "b")]))
    assert [(one.desired, one.task is not None) for one in found] == [
        (True, True),
        (True, False),
        (True, False),
        (False, True),
        (False, False),
    ]
    assert [one.problem[0] if one.problem else None for one in found] == [
        None,
        None,
        "RESOURCE:CPU",
        "INACTIVE",
        "MemberOf placement constraint unsatisfied",
    ]
    assert found[3].problem == ("INACTIVE", "is DRAINING; the daemon leaves after the tasks of replica services")
