"""What holds a deployment up, told: alarms, bake time, early success, traffic, hooks, images."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from decide.builders import NOW, a_deployment, a_service
from moorage.control.explain_rollout import image_lines, outcome_lines, shift_lines, watch_lines
from moorage.domain.service import (
    Canary,
    CircuitBreaker,
    DeploymentConfiguration,
    EarlySuccess,
    Hook,
    HookRun,
    Revision,
    Service,
    ServiceDeployment,
    Shift,
)
from moorage.domain.task import LoadBalancerRef

RUNNING = a_deployment(2, rollout_state="IN_PROGRESS")
ALARMS = {"alarmNames": ["errors", "latency"], "enable": True, "rollback": True}


def told(configuration: DeploymentConfiguration, **deployment: Any) -> list[str]:
    mine = replace(RUNNING, **deployment)
    service = a_service(mine, deployment_configuration=configuration, desired_count=5)
    return [line.strip() for line in watch_lines(mine, service, NOW)]


def test_alarms_that_are_quiet() -> None:
    assert told(DeploymentConfiguration(alarms=ALARMS)) == [
        "alarms errors, latency: none in ALARM so far; if one is, it rolls back"
    ]


def test_an_alarm_that_went_off() -> None:
    lines = told(
        DeploymentConfiguration(alarms=ALARMS),
        alarms=("errors",),
        rollout_state="FAILED",
        rollout_reason="ECS deployment failed: alarm detected.",
    )
    assert lines == [
        "ECS deployment failed: alarm detected. Nothing more is launched until the service is updated.",
        "in ALARM while it ran: errors",
    ]


def test_the_bake_time_that_is_left() -> None:
    assert told(DeploymentConfiguration(alarms=ALARMS), alarm_window=180.0, baking_since=NOW - 137)[-1] == (
        "bakes: 43 s left of 3 min"
    )


def test_early_success() -> None:
    assert told(DeploymentConfiguration(early_success=EarlySuccess(True, 80, "DEFERRED"))) == [
        "successful once 4 of 5 tasks are healthy (80 %) and the old tasks go in the background"
    ]


def test_the_breaker() -> None:
    assert told(DeploymentConfiguration(circuit_breaker=CircuitBreaker(enable=True)), failures=2) == [
        "circuit breaker: 2 of 3 failures counted, then it stops launching"
    ]


def a_canary(**changes: Any) -> Service:
    fields: dict[str, Any] = {"stage": "PRODUCTION_TRAFFIC_SHIFT", "since": NOW - 60, "percent": 10.0, "entered": True}
    configuration = DeploymentConfiguration(strategy="CANARY", canary=Canary(10.0, 5))
    shift = Shift("arn:sd", "ecs-svc/2", "ecs-svc/1", configuration, **(fields | changes))
    return a_service(RUNNING, a_deployment(1, status="ACTIVE"), deployment_configuration=configuration, shift=shift)


def lines_of(service: Service, place: int = 0) -> list[str]:
    return [line.strip() for line in shift_lines(service.deployments[place], service, NOW)]


def test_where_the_traffic_is() -> None:
    assert lines_of(a_canary()) == [
        "gets 10 % of the requests",
        "CANARY stage PRODUCTION_TRAFFIC_SHIFT, step 1 of 2 for 1 min",
    ]
    assert lines_of(a_canary(), 1) == ["gets 90 % of the requests"]


def test_test_traffic_is_told_of_where_there_are_rules_for_it() -> None:
    service = a_canary(test_percent=100.0)
    assert lines_of(service)[0] == "gets 10 % of the requests"
    tested = LoadBalancerRef(target_group_arn="a", advanced_configuration={"testListenerRule": "arn:rule"})
    revision = Revision("r", "s", "c", "1", NOW, "td", load_balancers=(tested,))
    first = next(iter(shift_lines(service.deployments[0], service, NOW, revision)))
    assert first.strip() == "gets 10 % of the requests, 100 % of the test traffic"


def test_a_pause_says_what_to_do() -> None:
    run = HookRun("ecs-pause-7", Hook(target_type="PAUSE"), "POST_SCALE_UP", "7", "AWAITING_ACTION", None, NOW + 3600)
    assert lines_of(a_canary(stage="POST_SCALE_UP", percent=0.0, hooks=(run,)))[-1] == (
        "ecs-pause-7 waits for you (1 h left, then ROLLBACK): moor aws ecs continue-service-deployment "
        "--service-deployment-arn arn:sd --hook-id ecs-pause-7"
    )


def test_why_it_goes_back() -> None:
    lines = lines_of(a_canary(direction="back", failure="Service deployment rolled back because of tea."))
    assert lines[1:] == [
        "CANARY stage PRODUCTION_TRAFFIC_SHIFT (on its way back) for 1 min",
        "goes back: Service deployment rolled back because of tea.",
    ]


def test_what_the_monitors_said() -> None:
    record = ServiceDeployment(
        "arn",
        "s",
        "c",
        "r",
        (),
        NOW,
        alarms_status="TRIGGERED",
        triggered_alarms=("errors",),
        breaker_status="MONITORING",
    )
    assert list(outcome_lines(record)) == [
        "circuit breaker MONITORING: 0 failures of 0",
        "alarms TRIGGERED: errors in ALARM",
    ]


def test_which_images_it_runs() -> None:
    revision = Revision("r", "s", "c", "1", NOW, "td", images={"app": "sha256:" + "1" * 64}, local_images=("app",))
    assert list(image_lines(revision)) == ["  app runs sha256:111111111111, the engine's own image"]
    assert list(image_lines(None)) == []
