"""Circuit breaker, alarms, early success and availability zone rebalancing of services: what is accepted, and what is
refused (semantics ecs-services §2.1, §3.6-§3.8). AWS's sentences where they are known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from moorage.decide.placement import constraints
from moorage.decide.placement.constraints import MemberOf
from moorage.decide.placement.strategies import ZONE
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.domain.service import CircuitBreaker, DeploymentConfiguration, EarlySuccess, Service
from moorage.services.ecs.shapes import convert
from moorage.services.lookups import AlarmLookup

THRESHOLD_TYPES = ("BOUNDED_PERCENT", "UNBOUNDED_PERCENT", "COUNT")
CLEANUPS = ("BLOCKING", "DEFERRED")


def _refuse(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)


def with_failure_detection(current: DeploymentConfiguration, given: Mapping[str, Any]) -> DeploymentConfiguration:
    """The configuration after the change; members that are not given stay."""
    changed = current
    if given.get("deploymentCircuitBreaker") is not None:
        changed = replace(changed, circuit_breaker=_breaker(given["deploymentCircuitBreaker"]))
    if given.get("alarms") is not None:
        changed = replace(changed, alarms=_alarms(given["alarms"]))
    return changed


def with_early_success(current: DeploymentConfiguration, given: Mapping[str, Any]) -> DeploymentConfiguration:
    """After strategy and percentages are known (§3.8)."""
    changed = current
    if given.get("earlySuccessCriteria") is not None:
        changed = replace(changed, early_success=_early_success(given["earlySuccessCriteria"]))
    criteria = changed.early_success
    if criteria is None or not criteria.enable:
        return changed
    if changed.strategy != "ROLLING":
        if given.get("earlySuccessCriteria") is None:
            return changed
        raise _refuse("earlySuccessCriteria is only allowed with the ROLLING deployment strategy.")
    if (criteria.healthy_percent or 0) < changed.minimum_healthy_percent:
        raise _refuse("healthyPercent of earlySuccessCriteria must be greater than or equal to minimumHealthyPercent.")
    return changed


def _breaker(given: Mapping[str, Any]) -> CircuitBreaker:
    threshold = given.get("thresholdConfiguration")
    if threshold is not None:
        kind, value = threshold.get("type"), threshold.get("value")
        if kind not in THRESHOLD_TYPES:
            raise _refuse(f"Invalid threshold type. Valid values are: {', '.join(THRESHOLD_TYPES)}")
        if not isinstance(value, int) or value < 1:
            raise _refuse("The value of thresholdConfiguration must be at least 1.")
        if kind == "BOUNDED_PERCENT" and value > 100:
            raise _refuse("The value of thresholdConfiguration must be at most 100 for the type BOUNDED_PERCENT.")
    return CircuitBreaker(
        enable=bool(given.get("enable")),
        rollback=bool(given.get("rollback")),
        threshold_configuration=dict(threshold) if threshold is not None else None,
        reset_on_healthy_task=given.get("resetOnHealthyTask"),
    )


def _alarms(given: Mapping[str, Any]) -> dict[str, Any]:
    names = list(dict.fromkeys(given.get("alarmNames") or ()))
    enable = bool(given.get("enable"))
    if enable and not names:
        raise _refuse("alarmNames can not be empty when deployment alarms are enabled.")
    if any(not name for name in names):
        raise _refuse("Alarm names can not be blank.")
    return {"alarmNames": names, "rollback": bool(given.get("rollback")), "enable": enable}


def _early_success(given: Mapping[str, Any]) -> EarlySuccess:
    criteria = convert(dict(given), EarlySuccess)
    if not criteria.enable:
        return criteria
    if criteria.healthy_percent is None or criteria.source_service_revision_cleanup is None:
        raise _refuse(
            "healthyPercent and sourceServiceRevisionCleanup are required when earlySuccessCriteria is enabled."
        )
    if not 0 <= criteria.healthy_percent <= 100:
        raise _refuse("healthyPercent must be between 0 and 100.")
    if criteria.source_service_revision_cleanup not in CLEANUPS:
        raise _refuse(f"Invalid sourceServiceRevisionCleanup. Valid values are: {', '.join(CLEANUPS)}")
    return criteria


async def alarm_window(
    lookup: AlarmLookup, scope: Scope, configuration: DeploymentConfiguration, *, given: bool
) -> float:
    """Seconds that the slowest alarm of a deployment needs to notice anything; 0 without alarms (§3.7). `given`: they come
    with this call, so they must exist."""
    names = configuration.watched_alarms
    if not names:
        return 0.0
    found = await lookup.alarms(scope, names)
    missing = [name for name in names if name not in found]
    if missing and given:
        raise _refuse(f"The following CloudWatch alarms do not exist: {', '.join(missing)}")
    return max((alarm.window for alarm in found.values()), default=0.0)


# --- availability zone rebalancing -----------------------------------------------------------------------------------
def az_rebalancing(service: Service, asked: str | None) -> str:
    """ENABLED or DISABLED for a service that has everything else already. Nobody asked and nothing was there before
    (empty): ENABLED where it can be."""
    problem = _unbalanceable(service)
    if asked is None and not service.az_rebalancing:
        return "DISABLED" if problem is not None else "ENABLED"
    wanted = asked or service.az_rebalancing
    if wanted == "ENABLED" and problem is not None:
        raise _refuse(problem)
    return wanted


def _unbalanceable(service: Service) -> str | None:
    """Why tasks of this service are never moved between zones."""
    if service.scheduling_strategy == "DAEMON" or service.controller != "ECS":
        return "Availability Zone Rebalancing requires the REPLICA scheduling strategy and the ECS controller."
    if service.deployment_configuration.maximum_percent <= 100:
        return "Availability Zone Rebalancing requires a maximumPercent greater than 100."
    strategy: Sequence[Mapping[str, Any]] = service.placement_strategy
    if strategy and (strategy[0].get("type"), strategy[0].get("field")) != ("spread", ZONE):
        return f"Availability Zone Rebalancing requires spread by {ZONE} as the first placement strategy, or none."
    for constraint in constraints.read(service.placement_constraints):
        if isinstance(constraint, MemberOf) and ZONE in constraint.text:
            return f"Availability Zone Rebalancing does not support {ZONE} as a placement constraint."
    return None
