"""A service of CodeDeploy becomes one of ECS (semantics ecs-services §3.2): its task set becomes its deployment, its
tasks are not touched. From then on it is deployed as any other, rolling or by shifting traffic.
"""

from __future__ import annotations

from msgspec.structs import replace

from moorage.domain import sentences
from moorage.domain.clock import Ids
from moorage.domain.errors import AwsError
from moorage.domain.service import Deployment, Service, ServiceDeployment
from moorage.services.ecs import resolve
from moorage.store.api import Transaction
from moorage.store.tables.ecs import REVISIONS, SERVICE_DEPLOYMENTS, SERVICES, TASK_SETS


def to_ecs(tx: Transaction, ids: Ids, service: Service, now: float) -> Service:
    """The service as written. Raises InvalidParameterException while CodeDeploy deploys it."""
    sets = tuple(tx.find(TASK_SETS, "service", service.arn))
    if len(sets) != 1 or sets[0].status != "PRIMARY":
        raise AwsError(
            "InvalidParameterException",
            "The deployment controller cannot be changed while the service has more than one task set. Wait until the "
            "CodeDeploy deployment has ended.",
        )
    [one] = sets
    made_of = tx.get(REVISIONS, one.arn)
    assert made_of is not None, "a task set keeps the revision it was made of"
    number = one.id.removeprefix("ecs-svc/")
    base, path = service.arn.split(":service/", 1)[0], f"{resolve.cluster_name(service.cluster_arn)}/{service.name}"
    revision = replace(made_of, arn=f"{base}:service-revision/{path}/{number}", number=number)
    record = ServiceDeployment(
        arn=f"{base}:service-deployment/{path}/{ids.url_safe(21)}",
        service_arn=service.arn,
        cluster_arn=service.cluster_arn,
        target_revision=revision.arn,
        source_revisions=(),
        created_at=one.created_at,
        status="SUCCESSFUL",
        started_at=one.created_at,
        finished_at=now,
        updated_at=now,
        configuration=service.deployment_configuration,
    )
    deployment = Deployment(
        id=one.id,
        status="PRIMARY",
        revision_arn=revision.arn,
        service_deployment_arn=record.arn,
        created_at=one.created_at,
        updated_at=now,
        rollout_state="COMPLETED",
        rollout_reason=sentences.completed(one.id),
    )
    tx.delete(TASK_SETS, one.arn)
    tx.delete(REVISIONS, one.arn)
    tx.put(REVISIONS, revision)
    tx.put(SERVICE_DEPLOYMENTS, record)
    changed = replace(
        service,
        controller="ECS",
        deployments=(deployment,),
        revision_arn=revision.arn,
        last_good_revision=revision.arn,
    )
    return tx.put(SERVICES, changed)
