"""The CodeDeploy operations that must have an effect: deployments of ECS services (CodeDeploy user guide, "deployments on
an ECS compute platform"). They write what should happen; `control/code_deploy` makes it so.

Applications, deployment groups and deployments of other compute platforms are moto's: what is not known here is asked
there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from moorage.decide.code_deploy import CONFIGS
from moorage.domain.clock import Clock, Ids
from moorage.domain.code_deployment import ENDED, CodeDeployment
from moorage.domain.errors import AwsError
from moorage.domain.service import Service
from moorage.domain.task_set import TaskSet, arn_of
from moorage.services.aws_backed.forward import AwsBacked
from moorage.services.base import Provider, RequestContext, operation
from moorage.store.api import StoreApi, Transaction, View
from moorage.store.tables.codedeploy import CODE_DEPLOYMENTS
from moorage.store.tables.ecs import REVISIONS, SERVICES, TASK_SETS, TASKS
from moorage.store.tables.elbv2 import TARGET_GROUPS

Json = dict[str, Any]
DEFAULT_CONFIG = "CodeDeployDefault.ECSAllAtOnce"
_ID = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


class CodeDeployProvider(Provider):
    service = "codedeploy"

    def __init__(self, backed: AwsBacked, store: StoreApi, clock: Clock, ids: Ids) -> None:
        self._backed = backed
        self._store = store
        self._clock = clock
        self._ids = ids

    async def _elsewhere(self, ctx: RequestContext, request: Json) -> Json:
        return dict(await self._backed.call(ctx.scope, "codedeploy", ctx.operation, request))

    def _own(self, ctx: RequestContext, id: str | None) -> CodeDeployment | None:
        found = self._store.get(CODE_DEPLOYMENTS, id or "")
        return found if found is not None and (found.account, found.region) == (ctx.account, ctx.region) else None

    # --- making ------------------------------------------------------------------------------------------------------
    @operation("CreateDeployment")
    async def create_deployment(self, ctx: RequestContext, request: Json) -> Json:
        asked = {"applicationName": request["applicationName"]}
        application = (await self._backed.call(ctx.scope, "codedeploy", "GetApplication", asked))["application"]
        if application.get("computePlatform") != "ECS":
            return await self._elsewhere(ctx, request)
        name = request.get("deploymentGroupName")
        if not name:
            raise AwsError("DeploymentGroupNameRequiredException", "The deployment group name was not specified.")
        group = (
            await self._backed.call(
                ctx.scope, "codedeploy", "GetDeploymentGroup", {**asked, "deploymentGroupName": name}
            )
        )["deploymentGroupInfo"]
        given = request.get("overrideAlarmConfiguration") or group.get("alarmConfiguration") or {}
        if given.get("enabled"):
            raise AwsError(
                "InvalidAlarmConfigException", "Moorage does not support alarms of CodeDeploy deployments yet."
            )
        spec = _app_spec(request.get("revision") or {})
        number = "".join(_ID[int(digit, 16) * 2] for digit in self._ids.hex(9))
        now = self._clock.now()

        def write(tx: Transaction) -> CodeDeployment:
            made = _deployment(tx, ctx, f"d-{number}", request, group, spec, now)
            running = next(iter(tx.find(CODE_DEPLOYMENTS, "service", made.service_arn)), None)
            if running is not None:
                raise AwsError(
                    "DeploymentLimitExceededException",
                    f"The Deployment Group '{name}' already has an active Deployment '{running.id}'",
                )
            return tx.put(CODE_DEPLOYMENTS, made)

        return {"deploymentId": (await self._store.update(write)).id}

    # --- reading -----------------------------------------------------------------------------------------------------
    @operation("GetDeployment")
    async def get_deployment(self, ctx: RequestContext, request: Json) -> Json:
        one = self._own(ctx, request["deploymentId"])
        return {"deploymentInfo": _info(one)} if one is not None else await self._elsewhere(ctx, request)

    @operation("BatchGetDeployments")
    async def batch_get_deployments(self, ctx: RequestContext, request: Json) -> Json:
        own = [one for id in request["deploymentIds"] if (one := self._own(ctx, id)) is not None]
        others = [id for id in request["deploymentIds"] if self._own(ctx, id) is None]
        found = (await self._elsewhere(ctx, {"deploymentIds": others}))["deploymentsInfo"] if others else []
        return {"deploymentsInfo": [_info(one) for one in own] + list(found)}

    @operation("ListDeployments")
    async def list_deployments(self, ctx: RequestContext, request: Json) -> Json:
        wanted = {"application": request.get("applicationName"), "group": request.get("deploymentGroupName")}
        statuses = request.get("includeOnlyStatuses") or ()
        own = [
            one.id
            for one in self._store.find(CODE_DEPLOYMENTS, "scope", (ctx.account, ctx.region))
            if all(value is None or getattr(one, member) == value for member, value in wanted.items())
            and (not statuses or one.status in statuses)
        ]
        others = await self._elsewhere(ctx, request)
        return {"deployments": list(reversed(own)) + list(others.get("deployments") or ())}

    @operation("ListDeploymentTargets")
    async def list_deployment_targets(self, ctx: RequestContext, request: Json) -> Json:
        return {"targetIds": [_target_id(self._needed(ctx, request.get("deploymentId")))]}

    @operation("GetDeploymentTarget")
    async def get_deployment_target(self, ctx: RequestContext, request: Json) -> Json:
        return {"deploymentTarget": _target(self._store, self._needed(ctx, request.get("deploymentId")))}

    @operation("BatchGetDeploymentTargets")
    async def batch_get_deployment_targets(self, ctx: RequestContext, request: Json) -> Json:
        return {"deploymentTargets": [_target(self._store, self._needed(ctx, request.get("deploymentId")))]}

    # --- steering ----------------------------------------------------------------------------------------------------
    @operation("StopDeployment")
    async def stop_deployment(self, ctx: RequestContext, request: Json) -> Json:
        how = "ROLLBACK" if request.get("autoRollbackEnabled") else "STOP"
        self._needed(ctx, request["deploymentId"])

        def write(tx: Transaction) -> Json:
            one = tx.get(CODE_DEPLOYMENTS, request["deploymentId"])
            if one is None or one.status in ENDED or one.phase == "clean":
                raise _completed(request["deploymentId"])
            tx.put(CODE_DEPLOYMENTS, replace(one, stop=how))
            return {"status": "Pending", "statusMessage": "The deployment is being stopped."}

        return await self._store.update(write)

    @operation("ContinueDeployment")
    async def continue_deployment(self, ctx: RequestContext, request: Json) -> Json:
        kind = request.get("deploymentWaitType") or "READY_WAIT"
        one = self._needed(ctx, request.get("deploymentId"))

        def write(tx: Transaction) -> None:
            current = tx.get(CODE_DEPLOYMENTS, one.id)
            if current is None or current.status in ENDED:
                raise _completed(one.id)
            if kind == "READY_WAIT" and current.status != "Ready":
                raise AwsError(
                    "DeploymentIsNotInReadyStateException", f"The deployment with ID {one.id} is not in Ready state."
                )
            tx.put(CODE_DEPLOYMENTS, replace(current, continued=(*current.continued, kind)))

        await self._store.update(write)
        return {}

    def _needed(self, ctx: RequestContext, id: str | None) -> CodeDeployment:
        one = self._own(ctx, id)
        if one is None:
            raise AwsError("DeploymentDoesNotExistException", f"The deployment {id} could not be found")
        return one


# --- the AppSpec -----------------------------------------------------------------------------------------------------
def _app_spec(revision: Mapping[str, Any]) -> Json:
    """The properties of its one TargetService. Raises InvalidRevisionException."""
    kind = revision.get("revisionType")
    content = (revision.get("appSpecContent") or revision.get("string") or {}).get("content")
    if kind == "S3":
        raise _invalid("Moorage does not support AppSpec files in S3 yet: give the AppSpec as appSpecContent.")
    if not content:
        raise _invalid("The AppSpec file cannot be located in the specified revision.")
    try:
        spec = json.loads(content)
    except ValueError:
        spec = _yaml(content)
    found = _member(spec, "resources") if isinstance(spec, dict) else None
    if not isinstance(found, list) or len(found) != 1 or not isinstance(found[0], dict):
        raise _invalid("The AppSpec file must contain exactly one resource for the Amazon ECS compute platform.")
    resource = next(iter(found[0].values()), None)
    if not isinstance(resource, dict) or _member(resource, "type") != "AWS::ECS::Service":
        raise _invalid("The Type of the resource in the AppSpec file must be AWS::ECS::Service.")
    if _member(spec, "hooks"):
        raise _invalid("Moorage does not support hooks in the AppSpec file yet: nothing runs Lambda functions.")
    properties = _member(resource, "properties")
    if not isinstance(properties, dict) or not _member(properties, "taskdefinition"):
        raise _invalid("The AppSpec file must contain a task definition.")
    return properties


def _yaml(content: str) -> Any:
    # Loaded when first needed: most installations never see an AppSpec.
    import yaml  # type: ignore[import-untyped]

    try:
        return yaml.safe_load(content)
    except yaml.YAMLError as error:
        raise _invalid("The AppSpec file is neither valid JSON nor valid YAML.") from error


def _member(found: Mapping[str, Any], name: str) -> Any:
    """AppSpec files write their members in several cases."""
    return next((value for key, value in found.items() if str(key).lower() == name), None)


def _lowered(found: Any) -> Any:
    """AwsvpcConfiguration → awsvpcConfiguration, all the way down."""
    if isinstance(found, dict):
        return {str(key)[:1].lower() + str(key)[1:]: _lowered(value) for key, value in found.items()}
    return [_lowered(one) for one in found] if isinstance(found, list) else found


# --- the record ------------------------------------------------------------------------------------------------------
def _deployment(
    tx: View, ctx: RequestContext, id: str, request: Json, group: Json, spec: Json, now: float
) -> CodeDeployment:
    service, primary = _service_of(tx, ctx, group)
    config = request.get("deploymentConfigName") or group.get("deploymentConfigName") or DEFAULT_CONFIG
    if config not in CONFIGS and not config.startswith("CodeDeployDefault.ECS") and "CodeDeployDefault." in config:
        config = DEFAULT_CONFIG  # moto's default is for instances
    if config not in CONFIGS:
        raise AwsError("DeploymentConfigDoesNotExistException", f"No deployment configuration found for name: {config}")
    pair = ((group.get("loadBalancerInfo") or {}).get("targetGroupPairInfoList") or [{}])[0]
    revision = tx.get(REVISIONS, primary.arn)
    assert revision is not None, "a task set keeps the revision it was made of"
    blue_ref = next(iter(revision.load_balancers), None)
    arns = [_group_arn(tx, ctx, one.get("name", "")) for one in pair.get("targetGroups") or ()]
    listeners = tuple((pair.get("prodTrafficRoute") or {}).get("listenerArns") or ())
    if blue_ref is None or blue_ref.target_group_arn not in arns or len(arns) != 2 or not listeners:
        raise AwsError(
            "InvalidLoadBalancerInfoException",
            "The deployment group needs two target groups, one of them that of the service's PRIMARY task set, and a "
            "production listener.",
        )
    green_group = next(arn for arn in arns if arn != blue_ref.target_group_arn)
    balancer = _member(spec, "loadbalancerinfo") or {}
    network = _member(spec, "networkconfiguration")
    task_set: Json = {
        "taskDefinition": _member(spec, "taskdefinition"),
        "loadBalancers": [
            {
                "targetGroupArn": green_group,
                "containerName": _member(balancer, "containername") or blue_ref.container_name,
                "containerPort": int(_member(balancer, "containerport") or blue_ref.container_port or 0),
            }
        ],
    }
    strategy = _member(spec, "capacityproviderstrategy")
    if strategy:
        task_set["capacityProviderStrategy"] = _lowered(strategy)
    elif revision.strategy:
        task_set["capacityProviderStrategy"] = [
            {"capacityProvider": one.capacity_provider, "base": one.base, "weight": one.weight}
            for one in revision.strategy
        ]
    elif revision.launch_type is not None:
        task_set["launchType"] = revision.launch_type
    version = _member(spec, "platformversion") or revision.platform_version
    if version:
        task_set["platformVersion"] = str(version)
    if network:
        task_set["networkConfiguration"] = _lowered(network)
    elif revision.network is not None:
        task_set["networkConfiguration"] = {
            "awsvpcConfiguration": {
                "subnets": list(revision.network.subnets),
                "securityGroups": list(revision.network.security_groups or ()),
                "assignPublicIp": revision.network.assign_public_ip or "DISABLED",
            }
        }
    style = group.get("blueGreenDeploymentConfiguration") or {}
    ready = style.get("deploymentReadyOption") or {}
    ends = style.get("terminateBlueInstancesOnDeploymentSuccess") or {}
    rollback = request.get("autoRollbackConfiguration") or group.get("autoRollbackConfiguration") or {}
    return CodeDeployment(
        id=id,
        account=ctx.account,
        region=ctx.region,
        application=request["applicationName"],
        group=request["deploymentGroupName"],
        config=config,
        revision=dict(request["revision"]),
        cluster_arn=service.cluster_arn,
        service_arn=service.arn,
        task_set=task_set,
        blue=primary.id,
        blue_group=blue_ref.target_group_arn or "",
        green_group=green_group,
        listeners=listeners,
        test_listeners=tuple((pair.get("testTrafficRoute") or {}).get("listenerArns") or ()),
        steps=CONFIGS[config],
        created_at=now,
        since=now,
        ready_wait=60.0 * (ready.get("waitTimeInMinutes") or 0)
        if ready.get("actionOnTimeout") == "STOP_DEPLOYMENT"
        else None,
        termination_wait=None
        if ends.get("action") == "KEEP_ALIVE"
        else 60.0 * (ends.get("terminationWaitTimeInMinutes") or 0),
        roll_back=bool(rollback.get("enabled", False)),
        description=request.get("description") or "",
        shown={
            name: group[name]
            for name in ("deploymentStyle", "blueGreenDeploymentConfiguration", "loadBalancerInfo")
            if group.get(name)
        },
    )


def _service_of(tx: View, ctx: RequestContext, group: Json) -> tuple[Service, TaskSet]:
    """The ECS service of the group, with its PRIMARY task set."""
    named: Json = next(iter(group.get("ecsServices") or ()), {})
    path = f"service/{named.get('clusterName')}/{named.get('serviceName')}"
    service = tx.get(SERVICES, ctx.scope.arn("ecs", path))
    if service is None or service.status != "ACTIVE":
        raise AwsError(
            "InvalidECSServiceException",
            f"The ECS service cannot be found: {named.get('serviceName') or 'none is named'}",
        )
    if service.controller != "CODE_DEPLOY":
        raise AwsError(
            "InvalidECSServiceException",
            "Deployment group's ECS service must be configured for a CODE_DEPLOY controller.",
        )
    primary = next((one for one in tx.find(TASK_SETS, "service", service.arn) if one.status == "PRIMARY"), None)
    if primary is None:
        raise AwsError("InvalidECSServiceException", "The ECS service has no PRIMARY task set.")
    return service, primary


def _group_arn(tx: View, ctx: RequestContext, name: str) -> str:
    for one in tx.find(TARGET_GROUPS, "scope", (ctx.account, ctx.region)):
        if one.name == name:
            return one.arn
    raise AwsError("InvalidLoadBalancerInfoException", f"The target group {name} does not exist.")


# --- shapes ----------------------------------------------------------------------------------------------------------
def _info(one: CodeDeployment) -> Json:
    shape: Json = {
        "applicationName": one.application,
        "deploymentGroupName": one.group,
        "deploymentConfigName": one.config,
        "deploymentId": one.id,
        "revision": one.revision,
        "status": one.status,
        "createTime": one.created_at,
        "creator": "user",
        "computePlatform": "ECS",
        "ignoreApplicationStopFailures": False,
        "instanceTerminationWaitTimeStarted": one.phase in ("terminate", "clean"),
        "deploymentOverview": _overview(one),
        **one.shown,
    }
    optional: Json = {"startTime": one.started_at, "completeTime": one.ended_at, "description": one.description or None}
    if one.error is not None:
        optional["errorInformation"] = {"code": one.error[0], "message": one.error[1]}
    return shape | {name: value for name, value in optional.items() if value is not None}


def _overview(one: CodeDeployment) -> Json:
    counts = dict.fromkeys(("Pending", "InProgress", "Succeeded", "Failed", "Skipped", "Ready"), 0)
    state = {"Created": "Pending", "Stopped": "Failed"}.get(one.status, one.status)
    return counts | {state: 1}


def _target_id(one: CodeDeployment) -> str:
    cluster, name = one.service_arn.rsplit("/", 2)[-2:]
    return f"{cluster}:{name}"


def _target(view: View, one: CodeDeployment) -> Json:
    events: list[Json] = []
    for event in one.events:
        shape: Json = {"lifecycleEventName": event.name, "startTime": event.started_at, "status": event.status}
        events.append(shape | ({"endTime": event.ended_at} if event.ended_at is not None else {}))
    sets = [
        _task_set(view, one, id, label, share)
        for id, label, share in (
            (one.blue, "Blue", 100.0 - one.percent),
            (one.green, "Green", one.percent),
        )
        if id is not None
    ]
    state = {"Created": "Pending", "Stopped": "Failed"}.get(one.status, one.status)
    target: Json = {
        "deploymentId": one.id,
        "targetId": _target_id(one),
        "targetArn": one.service_arn,
        "lastUpdatedAt": one.since,
        "lifecycleEvents": events,
        "status": state,
        "taskSetsInfo": [found for found in sets if found is not None],
    }
    return {"deploymentTargetType": "ECSTarget", "ecsTarget": target}


def _task_set(view: View, one: CodeDeployment, id: str, label: str, share: float) -> Json | None:
    found, service = view.get(TASK_SETS, arn_of(one.service_arn, id)), view.get(SERVICES, one.service_arn)
    if found is None or service is None:
        return None
    mine = [task for task in view.find(TASKS, "service", service.arn) if task.deployment_id == id]
    group = one.blue_group if label == "Blue" else one.green_group
    return {
        # The model spells it so.
        "identifer": id,
        "desiredCount": found.desired(service.desired_count),
        "pendingCount": sum(1 for t in mine if t.rank < 3),
        "runningCount": sum(1 for t in mine if t.last_status == "RUNNING"),
        "status": found.status,
        "trafficWeight": share,
        "targetGroup": {"name": group.split("/")[-2]},
        "taskSetLabel": label,
    }


# --- refusals --------------------------------------------------------------------------------------------------------
def _invalid(message: str) -> AwsError:
    return AwsError("InvalidRevisionException", message)


def _completed(id: str) -> AwsError:
    return AwsError("DeploymentAlreadyCompletedException", f"The deployment {id} has already completed.")
