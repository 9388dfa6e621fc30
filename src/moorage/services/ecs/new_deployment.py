"""Beginning a deployment: the records of a new revision, its service deployment and its entry in `deployments[]` (semantics
ecs-services §3.1, §3.2). What happens then is up to the service controller.
"""

from __future__ import annotations

from msgspec.structs import replace

from moorage.decide.rollout.circuit_breaker import threshold
from moorage.decide.rollout.stages import first_stage
from moorage.decide.rollout.traffic_shift import production, routes, test, with_weights
from moorage.domain import sentences
from moorage.domain.clock import Ids
from moorage.domain.load_balancer import Rule
from moorage.domain.service import ENDED, Deployment, Revision, Service, ServiceDeployment, Shift
from moorage.services.ecs import resolve
from moorage.services.ecs.validate_strategy import resolve_target_groups
from moorage.store.api import Transaction
from moorage.store.elbv2_queries import put_listener, put_rule, rule_of
from moorage.store.tables.ecs import REVISIONS, SERVICE_DEPLOYMENTS, SERVICES


def deploy(
    tx: Transaction, ids: Ids, service: Service, revision: Revision, now: float, *, alarm_window: float = 0.0
) -> Service:
    """A new PRIMARY deployment of `revision`, whose numbers, ARN and images are still to be found; what was PRIMARY becomes
    ACTIVE and drains. `alarm_window`: seconds that the alarms of the service need to notice anything."""
    number = ids.digits(19)
    cluster = resolve.cluster_name(service.cluster_arn)
    blue, shown = _blue(tx, service)
    configuration = service.deployment_configuration
    base, scope_path = service.arn.split(":service/", 1)[0], f"{cluster}/{service.name}"
    revision = replace(
        revision,
        arn=f"{base}:service-revision/{scope_path}/{number}",
        number=number,
        created_at=now,
        resolved=resolve_target_groups(tx, revision.load_balancers, blue, configuration),
        images={},
        local_images=(),
    )
    tx.put(REVISIONS, revision)
    breaker = configuration.circuit_breaker
    record = ServiceDeployment(
        arn=f"{base}:service-deployment/{scope_path}/{ids.url_safe(21)}",
        service_arn=service.arn,
        cluster_arn=service.cluster_arn,
        target_revision=revision.arn,
        source_revisions=tuple(dict.fromkeys(d.revision_arn for d in service.deployments)),
        created_at=now,
        updated_at=now,
        strategy=configuration.strategy,
        threshold=threshold(breaker, service.desired_count),
        breaker_status="MONITORING" if breaker.enable else "DISABLED",
        alarms_status="MONITORING" if configuration.watched_alarms else "DISABLED",
        alarm_names=configuration.watched_alarms,
        configuration=configuration,
    )
    tx.put(SERVICE_DEPLOYMENTS, record)
    _supersede(tx, service, now)
    if configuration.strategy == "ROLLING" and service.shift is not None:
        _end_shift(tx, service.shift, service, revision)
    deployment = Deployment(
        id=f"ecs-svc/{number}",
        status="PRIMARY",
        revision_arn=revision.arn,
        service_deployment_arn=record.arn,
        created_at=now,
        updated_at=now,
        rollout_reason=sentences.in_progress(f"ecs-svc/{number}"),
        alarm_window=alarm_window,
    )
    older = tuple(replace(d, status="ACTIVE", updated_at=now) for d in service.deployments)
    shift = None
    if configuration.strategy != "ROLLING":
        others = any(d.id != shown for d in service.deployments)
        shift = Shift(
            service_deployment_arn=record.arn,
            green=deployment.id,
            blue=shown,
            configuration=configuration,
            stage=first_stage(blue=shown is not None, others=others),
            since=now,
            began=now,
        )
    return tx.put(
        SERVICES,
        replace(
            service,
            revision_arn=revision.arn,
            deployments=(deployment, *older),
            steady_since=None,
            shift=shift,
            stop_requested=None,
            rebalance=None,
        ),
    )


def _supersede(tx: Transaction, service: Service, now: float) -> None:
    """What was still going on has been overtaken (§3.2)."""
    for old in service.deployments:
        record = tx.get(SERVICE_DEPLOYMENTS, old.service_deployment_arn)
        if record is None or record.status in ENDED:
            continue
        tx.put(
            SERVICE_DEPLOYMENTS,
            replace(
                record,
                status="STOPPED",
                finished_at=now,
                updated_at=now,
                status_reason="A newer deployment of the service superseded this one.",
                failure_count=old.failures,
                breaker_status=_over(record.breaker_status),
                alarms_status=_over(record.alarms_status),
            ),
        )


def _end_shift(tx: Transaction, shift: Shift, service: Service, revision: Revision) -> None:
    """A rolling deployment shifts nothing: what a shift has left half-way goes to the target groups of its tasks at
    once, as the other strategies do in RECONCILE_SERVICE."""
    by_id = {d.id: tx.get(REVISIONS, d.revision_arn) for d in service.deployments}
    blue, green = by_id.get(shift.blue or ""), by_id.get(shift.green)
    if blue is None or green is None:
        return
    for route in routes(blue, green):
        mine = {ref.target_group_arn for ref in revision.registers_in}
        percent = 100.0 if route.green in mine else 0.0
        for wanted in (*production((route,), percent), *test((route,), percent)):
            record = rule_of(tx, wanted.rule_arn)
            if isinstance(record, Rule):
                put_rule(tx, replace(record, actions=with_weights(record.actions, wanted)))
            elif record is not None:
                put_listener(tx, replace(record, default_actions=with_weights(record.default_actions, wanted)))


def _over(status: str) -> str:
    return "MONITORING_COMPLETE" if status == "MONITORING" else status


def _blue(tx: Transaction, service: Service) -> tuple[Revision | None, str | None]:
    """The revision, and the deployment of it, that a new one replaces: the last one that was completed."""
    good = service.last_good_revision
    found = next((d.id for d in service.deployments if d.revision_arn == good), None)
    return (tx.get(REVISIONS, good) if found is not None and good is not None else None), found
