"""What holds a deployment up and what watches over it, in lines: failures, alarms, bake time, early success, traffic and
hooks, images. Pure; the rules themselves are `decide/failing`, `decide/service` and `decide/rollout`.
"""

from __future__ import annotations

from collections.abc import Iterator

from moorage.control.explain_words import count, left, name_of, span
from moorage.decide.rollout import circuit_breaker, traffic_shift
from moorage.decide.rollout.hooks import timeout_action
from moorage.decide.rollout.percent import early_success
from moorage.domain.service import Deployment, HookRun, Revision, Service, ServiceDeployment, Shift


def watch_lines(deployment: Deployment, service: Service, now: float) -> Iterator[str]:
    """Of the PRIMARY deployment: what would fail it, what it has yet to wait for."""
    configuration, desired = service.deployment_configuration, service.desired_count
    breaker = configuration.circuit_breaker
    if deployment.rollout_state == "FAILED":
        yield f"  {deployment.rollout_reason} Nothing more is launched until the service is updated."
    if breaker.enable and deployment.rollout_state == "IN_PROGRESS":
        yield (
            f"  circuit breaker: {deployment.failures} of "
            f"{circuit_breaker.threshold(breaker, desired)} failures counted, then "
            f"{_then(deployment, service, rollback=breaker.rollback)}"
        )
    elif not breaker.enable and deployment.failed_tasks:
        yield "  circuit breaker: off, it tries for ever"
    if (blocked := (deployment.launches_blocked_until or 0.0) - now) > 0:
        yield f"  launches again in {left(blocked)} after {deployment.failed_tasks} failed launches"
    yield from _alarms(deployment, service)
    if deployment.rollout_state == "IN_PROGRESS":
        yield from _success(deployment, service, now)


def _alarms(deployment: Deployment, service: Service) -> Iterator[str]:
    names = service.deployment_configuration.watched_alarms
    if deployment.alarms:
        yield f"  in ALARM while it ran: {', '.join(deployment.alarms)}"
    elif names and deployment.rollout_state == "IN_PROGRESS" and deployment.rollback_of is None:
        rollback = bool((service.deployment_configuration.alarms or {}).get("rollback"))
        then = _then(deployment, service, rollback=rollback)
        yield f"  alarms {', '.join(names)}: none in ALARM so far; if one is, {then}"


def _success(deployment: Deployment, service: Service, now: float) -> Iterator[str]:
    configuration, desired = service.deployment_configuration, service.desired_count
    criteria = configuration.early_success
    if criteria is not None and criteria.enable and configuration.strategy == "ROLLING":
        enough = early_success(desired, criteria.healthy_percent or 0)
        blocking = criteria.source_service_revision_cleanup == "BLOCKING"
        yield (
            f"  successful once {enough} of {desired} tasks are healthy ({criteria.healthy_percent} %) and "
            + ("the old tasks are gone" if blocking else "the old tasks go in the background")
        )
    if deployment.baking_since is not None and service.shift is None:
        minutes = configuration.bake_time_minutes
        bake = minutes * 60.0 if minutes is not None else deployment.alarm_window
        yield f"  bakes: {left(max(0.0, deployment.baking_since + bake - now))} left of {span(bake)}"


def _then(deployment: Deployment, service: Service, *, rollback: bool) -> str:
    """What happens when it fails."""
    if not rollback or deployment.rollback_of is not None:
        return "it stops launching"
    if service.last_good_revision in (None, deployment.revision_arn):
        return "it stops launching: there is no earlier deployment to roll back to"
    return "it rolls back"


def shift_lines(
    deployment: Deployment, service: Service, now: float, revision: Revision | None = None
) -> Iterator[str]:
    """Where the traffic is and who holds it there, for the deployment that it shifts to or from. Its `revision` knows
    whether there are rules for test traffic."""
    shift = service.shift
    if shift is None or deployment.id not in (shift.green, shift.blue):
        return
    green = deployment.id == shift.green
    percent = shift.percent if green else 100.0 - shift.percent
    if shift.blue is not None:
        tested = green and shift.test_percent and _has_test_rules(revision)
        yield f"  gets {percent:g} % of the requests" + (
            f", {shift.test_percent:g} % of the test traffic" if tested else ""
        )
    if not green:
        return
    yield f"  {service.deployment_configuration.strategy} {_stage(shift)} for {span(now - shift.since)}"
    if shift.failure is not None:
        yield f"  goes back: {shift.failure}"
    for run in shift.hooks:
        yield f"  {_hook(run, shift, now)}"


def _has_test_rules(revision: Revision | None) -> bool:
    references = revision.load_balancers if revision is not None else ()
    return any((ref.advanced_configuration or {}).get("testListenerRule") for ref in references)


def _stage(shift: Shift) -> str:
    steps = traffic_shift.steps(shift.configuration)
    what = f"stage {shift.stage}"
    if shift.direction != "forward":
        return f"{what} (on its way back)" if shift.direction == "back" else f"{what} (halted)"
    if len(steps) > 1 and shift.stage.endswith("PRODUCTION_TRAFFIC_SHIFT"):
        what += f", step {min(shift.step + 1, len(steps))} of {len(steps)}"
    return what


def _hook(run: HookRun, shift: Shift, now: float) -> str:
    if run.status == "AWAITING_ACTION":
        rest = left((run.expires_at or now) - now)
        return (
            f"{run.hook_id} waits for you ({rest} left, then {timeout_action(run)}): moor aws ecs "
            f"continue-service-deployment --service-deployment-arn {shift.service_deployment_arn} --hook-id {run.hook_id}"
        )
    again = f", asked again in {left(run.again_at - now)}" if run.again_at is not None and run.again_at > now else ""
    return f"{run.hook_id} ({name_of(run.hook.hook_target_arn or '')}): {run.status}{again}"


def outcome_lines(record: ServiceDeployment) -> Iterator[str]:
    """What the monitors of a service deployment had to say."""
    if record.breaker_status != "DISABLED":
        yield f"circuit breaker {record.breaker_status}: {count(record.failure_count, 'failure')} of {record.threshold}"
    if record.alarms_status != "DISABLED":
        rang = f": {', '.join(record.triggered_alarms)} in ALARM" if record.triggered_alarms else ""
        yield f"alarms {record.alarms_status}{rang}"


def image_lines(revision: Revision | None) -> Iterator[str]:
    """Which images all its tasks run."""
    for name, digest in revision.images.items() if revision is not None else ():
        where = ", the engine's own image" if revision is not None and name in revision.local_images else ""
        yield f"  {name} runs {digest[:19]}{where}"
