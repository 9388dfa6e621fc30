"""Every sentence that a user reads in a service event, a stopped reason or a rollout reason, in AWS's words.

Source: semantics ecs-tasks §3, ecs-services §3.3, §4. Nobody formats such a sentence anywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MORE = "For more information, see the Troubleshooting section of the Amazon ECS Developer Guide."
REASON_LIMIT = 1024

# --- stopped reasons -------------------------------------------------------------------------------------------------
ESSENTIAL_EXITED = "Essential container in task exited"
STOPPED_BY_USER = "Task stopped by user"
FAILED_TO_START = "Task failed to start"
FAILED_CONTAINER_HEALTH = "Task failed container health checks"
OUT_OF_MEMORY = "OutOfMemoryError: Container killed due to memory usage"
CONTAINER_VANISHED = "ContainerVanishedError: the container was removed by somebody else"
INSTANCE_DEREGISTERED = "Container instance deregistration forced by user"
SANDBOX_DIED = "InternalError: the task's network namespace went away (its pause container stopped)"


SPOT_INTERRUPTED = "Your Spot Task was interrupted."
CAPACITY_UNAVAILABLE = (
    "Capacity is unavailable at this time. Please try again later or in a different availability zone"
)
TOO_MANY_WAITING = "The limit on the number of tasks that wait in the PROVISIONING state has been reached"


def host_terminated(ec2_instance_id: str) -> str:
    return f"Host EC2 (instance {ec2_instance_id}) terminated."


def scaling_activity(deployment_id: str) -> str:
    return f"Scaling activity initiated by (deployment {deployment_id})"


def failed_elb_health(target_group_arn: str) -> str:
    return f"Task failed ELB health checks in (target-group {target_group_arn})"


def dependency_failed(name: str, dependency: str, condition: str, why: str) -> str:
    return f"TaskDependencyError: container {name} waits for {dependency} to be {condition}, but {why}"


def no_interface(subnet_id: str, error: str, *, public: bool) -> str:
    """`error`: the code of EC2's error. `public`: assignPublicIp is ENABLED. Source: ecs-tasks §3."""
    enabled = " with public IP assignment enabled" if public else ""
    return (
        f"Unexpected EC2 error while attempting to Create Network Interface{enabled} in subnet '{subnet_id}': {error}"
    )


def clipped(reason: str) -> str:
    """Reasons are cut at 1,024 characters (ecs-tasks §3)."""
    return reason[:REASON_LIMIT]


# --- service events --------------------------------------------------------------------------------------------------
def _tasks(ids: Sequence[str]) -> str:
    return " ".join(f"(task {id})" for id in ids) + "."


def task_set(service: str, id: str) -> str:
    """How a service is called in the events of one of its task sets."""
    return f"{service}, taskSet {id}"


def started(service: str, ids: Sequence[str]) -> str:
    return f"(service {service}) has started {len(ids)} tasks: {_tasks(ids)}"


def stopped(service: str, ids: Sequence[str]) -> str:
    return f"(service {service}) has stopped {len(ids)} running tasks: {_tasks(ids)}"


def registered(service: str, count: int, target_group_arn: str) -> str:
    return f"(service {service}) registered {count} targets in (target-group {target_group_arn})"


NO_TARGET_GROUP = "One or more target groups not found"


def not_registered(service: str, target_group_arn: str, error: str) -> str:
    return f"(service {service}) failed to register targets in (target-group {target_group_arn}) with (error {error})"


def deregistered(service: str, count: int, target_group_arn: str) -> str:
    return f"(service {service}) deregistered {count} targets in (target-group {target_group_arn})"


def draining(service: str, deployment_id: str, count: int) -> str:
    return f"(service {service}, taskSet {deployment_id}) has begun draining connections on {count} tasks."


def deployment_completed(service: str, deployment_id: str) -> str:
    return f"(service {service}) (deployment {deployment_id}) deployment completed."


def steady(service: str) -> str:
    return f"(service {service}) has reached a steady state."


def deployment_failed(service: str, deployment_id: str) -> str:
    return f"(service {service}) (deployment {deployment_id}) deployment failed: tasks failed to start."


def alarm_detected(service: str, deployment_id: str) -> str:
    return f"(service {service}) (deployment {deployment_id}) deployment failed: alarm detected."


def rolling_back(service: str, deployment_id: str) -> str:
    return f"(service {service}) rolling back to deployment {deployment_id}."


def no_rollback_candidate(service: str, deployment_id: str) -> str:
    return (
        f"(service {service}) (deployment {deployment_id}) deployment failed: "
        "no rollback candidate was found to run the rollback."
    )


def unhealthy_target(
    service: str, task_id: str, port: int, target_group_arn: str, reason: str, instance_id: str | None = None
) -> str:
    on = f"(instance {instance_id}) " if instance_id is not None else ""
    return (
        f"(service {service}) (task {task_id}) {on}(port {port}) is unhealthy in (target-group {target_group_arn}) "
        f"due to (reason {reason})."
    )


def unhealthy_containers(service: str, task_id: str) -> str:
    return f"(service {service}) (task {task_id}) failed container health checks."


def inconsistent_start(service: str) -> str:
    return f"(service {service}) is unable to consistently start tasks successfully. {MORE}"


def not_placed(service: str, reason: str) -> str:
    return f"(service {service}) was unable to place a task. Reason: {reason.rstrip('.')}."


def no_instances(service: str, where: str = "cluster") -> str:
    """`where`: "cluster" or "capacity provider"."""
    return (
        f"(service {service}) was unable to place a task because no container instance met all of its requirements. "
        f"Reason: No Container Instances were found in your {where}. {MORE}"
    )


# What the closest container instance lacks, by the reason for which placement refused it (ecs-services §4).
_LACKS = {
    "RESOURCE:CPU": "has insufficient CPU units available",
    "RESOURCE:MEMORY": "has insufficient memory available",
    "RESOURCE:PORTS": "is already using a port required by your task",
    "ATTRIBUTE": "is missing an attribute required by your task",
}


def closest_matching(service: str, instance_id: str, reason: str) -> str:
    lacks = _LACKS.get(reason) or f'encountered error "{reason}"'
    return (
        f"(service {service}) was unable to place a task because no container instance met all of its requirements. "
        f"The closest matching (container-instance {instance_id}) {lacks}. {MORE}"
    )


def daemon_constraint_violated(service: str, ids: Sequence[str]) -> str:
    return f"(service {service}) stops tasks that no longer meet its placement constraints: {_tasks(ids)}"


def blocked_percents(service: str) -> str:
    return (
        f"(service {service}) was unable to stop or start tasks during a deployment because of the service deployment "
        "configuration. Update the minimumHealthyPercent or maximumPercent value and try again."
    )


def too_many_protected(service: str, task_set: str) -> str:
    return (
        f"(service {service}) was unable to reach steady state because task set ({task_set}) was unable to scale in. "
        "Reason: The number of protected tasks are more than the desired count of tasks."
    )


# --- availability zone rebalancing (ecs-services §4) ---
def _in_zones(tasks_in: Mapping[str, int]) -> str:
    """Worded as "2 tasks in a, 1 in b, and 0 in c"."""
    parts = [f"{count} in {zone}" for zone, count in sorted(tasks_in.items())]
    parts[0] = parts[0].replace(" in ", " tasks in ", 1)
    if len(parts) < 3:
        return " and ".join(parts)
    return f"{', '.join(parts[:-1])}, and {parts[-1]}"


def not_balanced(service: str, tasks_in: Mapping[str, int]) -> str:
    return f"service ({service}) is not AZ balanced with {_in_zones(tasks_in)}. AZ Rebalancing in progress."


def balanced(service: str, tasks_in: Mapping[str, int]) -> str:
    return f"service ({service}) is AZ balanced with {_in_zones(tasks_in)}."


def rebalance_started(service: str, zone: str, ids: Sequence[str]) -> str:
    return f"{service} has started {len(ids)} tasks in {zone} to AZ Rebalance: {', '.join(ids)}."


def rebalance_stopped(service: str, zone: str, ids: Sequence[str]) -> str:
    return f"{service} has stopped {len(ids)} running tasks in {zone} due to AZ rebalancing: {', '.join(ids)}."


def rebalance_no_place(service: str, zone: str) -> str:
    return (
        f"service ({service}) is unable to place a task in {zone} because no container instance met all of its "
        "requirements."
    )


# --- rollout reasons -------------------------------------------------------------------------------------------------
def in_progress(deployment_id: str) -> str:
    return f"ECS deployment {deployment_id} in progress."


def completed(deployment_id: str) -> str:
    return f"ECS deployment {deployment_id} completed."


BREAKER_TRIPPED = "ECS deployment circuit breaker: tasks failed to start."


def breaker_rolling_back(deployment_id: str) -> str:
    return f"ECS deployment circuit breaker: rolling back to deploymentId {deployment_id}."


ALARM_DETECTED = "ECS deployment failed: alarm detected."


def alarms_rolled_back(names: Sequence[str]) -> str:
    return f"Service deployment rolled back because of alarms in the ALARM state: {', '.join(names)}."


def alarms_stopped(names: Sequence[str]) -> str:
    return f"Service deployment failed because of alarms in the ALARM state: {', '.join(names)}."


ROLLED_BACK = "Service deployment rolled back because the circuit breaker threshold was exceeded."


# --- blue/green, linear, canary (ecs-services §5.5) ------------------------------------------------------------------
def _bad_network(what: str) -> str:
    return f"Service deployment rolled back because of invalid networking configuration: {what}"


def not_associated(target_group_arn: str) -> str:
    return _bad_network(
        f"Target group {target_group_arn} is not associated with either productionListenerRule or testListenerRule."
    )


def serving_target_groups(rule_arn: str, count: int) -> str:
    return (
        f"Service deployment rolled back because of invalid networking configuration. productionListenerRule {rule_arn} "
        f"should have exactly one target group serving traffic but found {count} target groups which are serving traffic"
    )


def unexpected_target_group(found: str, first: str, second: str) -> str:
    return (
        "Service deployment rolled back because of invalid networking configuration. Production listener rule is "
        f"forwarding traffic to unexpected target group {found}. Expected traffic to be forwarded to either "
        f"targetGroupArn: {first} or alternateTargetGroupArn: {second}"
    )


def no_such_rule(rule_arn: str) -> str:
    return _bad_network(f"The listener rule {rule_arn} does not exist or forwards to no target group.")


def hook_failed(stage: str, target: str | None) -> str:
    return (
        f"Service deployment rolled back because {stage} lifecycle hook(s) failed. "
        f"Lifecycle hook target {target} returned FAILED status."
    )


def hook_unreadable(stage: str, target: str | None) -> str:
    return (
        f"Service deployment rolled back because {stage} lifecycle hook(s) failed. "
        f"ECS was unable to parse the response from {target} due to HookStatus must not be null"
    )


def pause_timed_out(stage: str) -> str:
    return f"Service deployment rolled back because {stage} pause hook timed out."


def pause_refused(stage: str) -> str:
    return f"Service deployment rolled back because the {stage} pause hook was answered with ROLLBACK."


def stage_timed_out(stage: str) -> str:
    return f"Service deployment rolled back because the {stage} stage took longer than 24 hours."


DEPLOYMENT_TIMED_OUT = "Service deployment rolled back because it took longer than 30 days."
STOP_REQUESTED = "Service deployment rolled back because StopServiceDeployment was called."
STOPPED_BY_REQUEST = "Service deployment stopped because StopServiceDeployment was called."


def native_failed(service: str, deployment_id: str, reason: str) -> str:
    return f"(service {service}) (deployment {deployment_id}) deployment failed: {reason}"


def environment_file_failed(arn: str, why: str) -> str:
    return (
        "ResourceInitializationError: failed to download env files: file download command: non empty error stream: "
        f"service call has been retried 1 time(s): failed to download {arn}: {why}"
    )


def router_config_failed(arn: str, why: str) -> str:
    return (
        "ResourceInitializationError: unable to download the FireLens configuration from s3: service call has been "
        f"retried 1 time(s): failed to download {arn}: {why}"
    )


def file_system_failed(file_system_id: str, region: str, why: str) -> str:
    """`why`: "Code: message" of what EFS answered. A file system that is not there has no name to resolve."""
    told = why
    if why.startswith("FileSystemNotFound"):
        told = (
            f'Failed to resolve "{file_system_id}.efs.{region}.amazonaws.com" - check that your file system ID is correct, '
            "and ensure that the VPC has an EFS mount target for this file system ID. See "
            "https://docs.aws.amazon.com/console/efs/mount-dns-name for more detail."
        )
    return f"ResourceInitializationError: failed to invoke EFS utils commands to set up EFS volumes: stderr: {told}"


def secret_failed(value_from: str, why: str) -> str:
    """`value_from` as in the task definition: an ARN of Secrets Manager, else a parameter of SSM by name or ARN. `why`:
    "Code: message" of what the service answered (ecs-tasks §3)."""
    if ":secretsmanager:" in value_from:
        what = (
            "unable to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret "
            f"{value_from} from secrets manager: {why}"
        )
    else:
        missing = why.startswith("ParameterNotFound")
        what = "unable to retrieve secrets from ssm: service call has been retried 1 time(s): "
        what += f"invalid ssm parameters: {_parameter(value_from)}" if missing else why
    return (
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: "
        + what
    )


def _parameter(value_from: str) -> str:
    """ "arn:…:parameter/a/b" → "/a/b", "arn:…:parameter/a" → "a", "a" → "a"."""
    name = value_from.rsplit(":parameter", 1)[-1]
    return name.removeprefix("/") if value_from.startswith("arn:") and name.count("/") == 1 else name


def scaled(desired: int, alarm: str, policy: str) -> str:
    """Source: ecs-services §4."""
    return (
        f"Message: Successfully set desired count to {desired}. Change successfully fulfilled by ecs. "
        f"Cause: monitor alarm {alarm} in state ALARM triggered policy {policy}"
    )
