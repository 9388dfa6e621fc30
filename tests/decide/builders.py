"""Small builders for the inputs of decisions: a test shows only what matters to it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec.structs import replace

from moorage.decide.health import TargetFact, Verdict
from moorage.decide.rollout.rolling import Candidate
from moorage.decide.service import FreshIds, ServicePlan, ServiceSnapshot
from moorage.domain.service import CircuitBreaker, Deployment, DeploymentConfiguration, Service
from moorage.domain.task import Container, Interface, LoadBalancerRef, Task
from moorage.domain.task_definition import Document

NOW = 1_000_000.0
TARGET_GROUP = "arn:aws:elasticloadbalancing:us-east-1:1:targetgroup/web/1"
_BASE = "arn:aws:ecs:us-east-1:111111111111:"


def a_document(*containers: dict[str, Any], **more: Any) -> Document:
    definitions = [{"name": "app", "image": "app:1", "essential": True}] if not containers else list(containers)
    return msgspec.convert({"family": "web", "containerDefinitions": definitions, **more}, Document)


def a_container(name: str = "app", **changes: Any) -> Container:
    return Container(**({"name": name, "id": f"id-{name}", "image": f"{name}:1"} | changes))


def a_task(name: str = "t1", **changes: Any) -> Task:
    """RUNNING since an hour, counted as healthy, of deployment 1."""
    fields: dict[str, Any] = {
        "arn": f"{_BASE}task/c/{name}",
        "account": "111111111111",
        "region": "us-east-1",
        "cluster_arn": f"{_BASE}cluster/c",
        "task_definition_arn": f"{_BASE}task-definition/web:1",
        "group": "service:web",
        "launch_type": "FARGATE",
        "availability_zone": "us-east-1a",
        "desired_status": "RUNNING",
        "last_status": "RUNNING",
        "containers": (a_container(known="RUNNING", runtime_id="r", started_at=NOW - 3600),),
        "created_at": NOW - 3600,
        "started_at": NOW - 3600,
        "became_healthy_at": NOW - 3500,
        "service_arn": f"{_BASE}service/c/web",
        "deployment_id": "ecs-svc/1",
    }
    return Task(**(fields | changes))


def a_fresh_task(name: str, **changes: Any) -> Task:
    """Just created: nothing started."""
    fresh: dict[str, Any] = {
        "last_status": "PROVISIONING",
        "containers": (a_container(),),
        "created_at": NOW,
        "started_at": None,
        "became_healthy_at": None,
        "interface": Interface("att", "subnet-1", "vpc-1", ()),
    }
    return a_task(name, **(fresh | changes))


def balanced(task: Task) -> Task:
    """The same task behind a load balancer."""
    return replace(
        task,
        load_balancers=(LoadBalancerRef(target_group_arn=TARGET_GROUP, container_name="app", container_port=80),),
        targets_registered=True,
    )


def a_candidate(
    state: str = "healthy", *, new: bool = True, name: str = "t", protected: bool = False, **task: Any
) -> Candidate:
    return Candidate(a_task(name, **task), Verdict(state, "test"), new=new, protected=protected)  # type: ignore[arg-type]


def a_deployment(number: int = 1, **changes: Any) -> Deployment:
    fields: dict[str, Any] = {
        "id": f"ecs-svc/{number}",
        "status": "PRIMARY",
        "revision_arn": f"revision/{number}",
        "service_deployment_arn": f"service-deployment/{number}",
        "created_at": NOW - 3600 + number,
        "updated_at": NOW - 3600,
        "rollout_state": "COMPLETED",
    }
    return Deployment(**(fields | changes))


def a_service(*deployments: Deployment, **changes: Any) -> Service:
    found = deployments or (a_deployment(),)
    fields: dict[str, Any] = {
        "arn": f"{_BASE}service/c/web",
        "account": "111111111111",
        "region": "us-east-1",
        "cluster_arn": f"{_BASE}cluster/c",
        "name": "web",
        "status": "ACTIVE",
        "desired_count": 2,
        "revision_arn": found[0].revision_arn,
        "created_at": NOW - 7200,
        "created_by": "root",
        "deployments": found,
        "last_good_revision": "revision/1",
    }
    return Service(**(fields | changes))


def with_breaker(service: Service, *, rollback: bool = True) -> Service:
    return replace(
        service,
        deployment_configuration=DeploymentConfiguration(
            circuit_breaker=CircuitBreaker(enable=True, rollback=rollback)
        ),
    )


def a_snapshot(
    service: Service,
    *tasks: Task,
    ended: tuple[Task, ...] = (),
    targets: Mapping[str, Mapping[str, TargetFact]] | None = None,
    document: Document | None = None,
) -> ServiceSnapshot:
    arns = {t.task_definition_arn for t in tasks} | {f"{_BASE}task-definition/web:1"}
    return ServiceSnapshot(
        service=service,
        revisions={},
        documents=dict.fromkeys(arns, document or a_document()),
        tasks=tasks,
        ended=ended,
        targets=targets or {},
        fresh=FreshIds("ecs-svc/99", "service-deployment/99"),
    )


def stopped_names(plan: ServicePlan) -> set[str]:
    return {order.task_arn.rsplit("/", 1)[-1] for order in plan.stop}
