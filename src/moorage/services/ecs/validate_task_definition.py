"""What RegisterTaskDefinition refuses, rule by rule, in the order in which AWS reports it (ecs-task-definitions §4).

Each rule is a function from the document to a message or None; the first message wins. The document has its defaults
filled in already (`normalise.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from typing import NoReturn

from moorage.decide.placement import constraints
from moorage.domain.errors import AwsError
from moorage.domain.task_definition import ContainerDefinition, Document, PortMapping, Volume
from moorage.services.ecs import fargate

_FAMILY = re.compile(r"[A-Za-z0-9_-]{1,255}")
_ECR = re.compile(r"\d{12}\.dkr\.ecr\.")
_DRIVERS_ON_FARGATE = ("awslogs", "splunk", "awsfirelens")

MOST_IGNORED_CODES = 50
MOST_CONSTRAINTS = 10

Rule = Callable[[Document], str | None]


def refuse(message: str) -> NoReturn:
    raise AwsError("ClientException", message)


def validate(document: Document, account: str) -> None:
    """Raises ClientException with AWS's sentence for the first broken rule. `account`: the caller's."""
    rules: tuple[Rule, ...] = (*RULES, partial(_foreign_parameters, account=account))
    if "FARGATE" in (document.requires_compatibilities or ()):
        rules += FARGATE_RULES
    for rule in rules:
        message = rule(document)
        if message is not None:
            refuse(message)


def fargate_refuses(document: Document) -> str | None:
    """Why the document could not run on Fargate, or None: it then counts as compatible without being asked for."""
    return next((message for rule in FARGATE_RULES if (message := rule(document)) is not None), None)


# --- every launch type -----------------------------------------------------------------------------------------------
def _family(d: Document) -> str | None:
    if not d.family:
        return "Family should not be null or empty."
    return None if _FAMILY.fullmatch(d.family) else "Family contains invalid characters."


def _containers(d: Document) -> str | None:
    if not d.container_definitions:
        return "Container list cannot be empty."
    for c in d.container_definitions:
        if not c.name:
            return "Container.name should not be null or empty."
        if not _FAMILY.fullmatch(c.name):
            return f"Container name '{c.name}' contains invalid characters."
        if not c.image:
            return "Container.image should not be null or empty."
    names = [c.name for c in d.container_definitions]
    return "Container names must be unique within a task definition" if len(set(names)) < len(names) else None


def _essential(d: Document) -> str | None:
    if any(c.is_essential for c in d.container_definitions):
        return None
    return "Task definition doesn't have any essential container"


def _memory(d: Document) -> str | None:
    task = int(d.memory) if d.memory else None
    for c in d.container_definitions:
        if task is None and c.memory is None and c.memory_reservation is None:
            return (
                f"Invalid setting for container '{c.name}'. At least one of 'memory' or 'memoryReservation' must be "
                "specified."
            )
        if c.memory is not None and task is not None and c.memory > task:
            return f"The 'memory' setting for container '{c.name}' is greater than for the task"
        if c.memory is not None and c.memory_reservation is not None and c.memory < c.memory_reservation:
            return (
                f"Invalid setting for container '{c.name}'. 'memory' must be greater than or equal to "
                "'memoryReservation'"
            )
        if c.memory is not None and c.memory < 6:
            return f"Invalid 'memory' setting for container '{c.name}'"
    if task is not None and sum(c.memory_reservation or 0 for c in d.container_definitions) > task:
        return (
            "The sum of all container 'memoryReservation' values cannot be greater than the value of the task 'memory'."
        )
    return None


def _cpu(d: Document) -> str | None:
    if d.cpu and sum(c.cpu or 0 for c in d.container_definitions) > int(d.cpu):
        return "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'."
    return None


def _placement(d: Document) -> str | None:
    """Constraints are read when they are registered, so that placing a task never meets one that cannot be read."""
    if "FARGATE" in (d.requires_compatibilities or ()):
        return None  # refused there as a whole
    if len(d.placement_constraints) > MOST_CONSTRAINTS:
        return f"Maximum number of constraints is {MOST_CONSTRAINTS}"
    if any(one.get("type") != "memberOf" for one in d.placement_constraints):
        return "Task definitions support only placement constraints of type memberOf."
    try:
        constraints.read(d.placement_constraints)
    except ValueError as error:
        return f"Invalid placement constraint: {error}"
    return None


def _network(d: Document) -> str | None:
    mode = d.network_mode
    if mode not in (None, "bridge", "host", "awsvpc", "none"):
        return f"Invalid network mode '{mode}'."
    for c in d.container_definitions:
        if c.links and mode in ("awsvpc", "host", "none"):
            return f"Links are not supported when networkMode={mode}."
        if mode == "awsvpc":
            for given, message in (
                (c.hostname, "hostname is not supported on container when networkMode=awsvpc"),
                (c.extra_hosts, "Extra hosts are not supported on container when networkMode=awsvpc"),
                (c.dns_servers, "DNS servers are not supported on container when networkMode=awsvpc"),
                (c.dns_search_domains, "DNS search domains are not supported on container when networkMode=awsvpc"),
                (c.disable_networking, "Disable Networking is not supported on container when networkMode=awsvpc"),
            ):
                if given:
                    return message
        if mode == "host" and any(str(s.get("namespace")).startswith("net.") for s in c.system_controls or ()):
            return "System controls of the namespace net.* are not supported when networkMode=host."
        if mode == "none" and c.port_mappings:
            return "Port mappings are not supported when networkMode=none"
    return None


def _ports(d: Document) -> str | None:
    seen: set[tuple[int, str]] = set()
    names: set[str] = set()
    for _, mapping in _mappings(d):
        port, host = mapping.container_port, mapping.host_port
        if port is not None and mapping.container_port_range is not None:
            return "cannot specify both single port and port range"
        if mapping.container_port_range is not None and not _range_is_valid(mapping.container_port_range):
            return "Invalid 'containerPortRange' setting"
        for number in (port, host):
            if number is not None and not 0 <= number <= 65535:
                return f"Invalid port '{number}': it must be between 0 and 65535."
        if d.network_mode in ("awsvpc", "host") and host not in (None, port):
            return f"When networkMode={d.network_mode}, the host ports and container ports in port mappings must match."
        if d.network_mode == "awsvpc":
            protocol = mapping.protocol or "tcp"
            if port is not None and (port, protocol) in seen:
                return (
                    f"{protocol.upper()} container port '{port}' is used multiple times in task when "
                    "networkMode=awsvpc."
                )
            if port is not None:
                seen.add((port, protocol))
            if mapping.name is not None and mapping.name in names:
                return "When networkMode=awsvpc, port mapping name is already used"
            if mapping.name is not None:
                names.add(mapping.name)
    return None


def _mappings(d: Document) -> Iterator[tuple[ContainerDefinition, PortMapping]]:
    for c in d.container_definitions:
        for mapping in c.port_mappings or ():
            yield c, mapping


def _range_is_valid(text: str) -> bool:
    first, separator, last = text.partition("-")
    digits = re.fullmatch(r"[0-9]{1,5}-[0-9]{1,5}", text) is not None
    return digits and bool(separator) and 1 <= int(first) <= int(last) <= 65535


def _dependencies(d: Document) -> str | None:
    graph: dict[str, list[str]] = {}
    for c in d.container_definitions:
        for dependency in c.depends_on or ():
            graph.setdefault(c.name or "", []).append(dependency.container_name)
            target = d.container(dependency.container_name)
            if target is None:
                return f"Cannot depend on container + '{dependency.container_name}' because it does not exist"
            if dependency.condition in ("SUCCESS", "COMPLETE") and target.is_essential:
                return "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container"
            if dependency.condition == "HEALTHY" and target.health_check is None:
                return "A dependency container with HEALTHY condition must have health check configured"
    return "Cyclic dependency found in the container dependencies." if _has_cycle(graph) else None


def _has_cycle(graph: dict[str, list[str]]) -> bool:
    done: set[str] = set()
    path: set[str] = set()

    def visit(name: str) -> bool:
        if name in path:
            return True
        if name in done:
            return False
        path.add(name)
        cyclic = any(visit(other) for other in graph.get(name, ()))
        path.discard(name)
        done.add(name)
        return cyclic

    return any(visit(name) for name in graph)


_CHECK_LIMITS = (("interval", 5, 300), ("timeout", 2, 60), ("retries", 1, 10), ("start_period", 0, 300))
_CHECK_NAMES = {"start_period": "startPeriod"}


def _health_checks(d: Document) -> str | None:
    for c in d.container_definitions:
        check = c.health_check
        if check is None:
            continue
        if not check.command or check.command[0] not in ("CMD", "CMD-SHELL", "NONE"):
            return f"Health check command must start with CMD, CMD-SHELL or NONE for container '{c.name}'"
        for field, least, most in _CHECK_LIMITS:
            value = getattr(check, field)
            shown = _CHECK_NAMES.get(field, field)
            if value is not None and value > most:
                return (
                    f"Health check {shown} must be less than or equal to the maximum allowed value {most} for "
                    f"container '{c.name}'"
                )
            if value is not None and value < least:
                return (
                    f"Health check {shown} must be greater than or equal to the minimum allowed value {least} for "
                    f"container '{c.name}'"
                )
    return None


def _restart_policies(d: Document) -> str | None:
    for c in d.container_definitions:
        policy = c.restart_policy or {}
        if len(policy.get("ignoredExitCodes") or ()) > MOST_IGNORED_CODES:
            return (
                f"The 'ignoredExitCodes' setting for container '{c.name}' can have at most {MOST_IGNORED_CODES} items."
            )
        period = policy.get("restartAttemptPeriod")
        if period is not None and not 60 <= period <= 1800:
            return f"The 'restartAttemptPeriod' setting for container '{c.name}' must be between 60 and 1800."
    return None


def _timeouts(d: Document) -> str | None:
    on_fargate = "FARGATE" in (d.requires_compatibilities or ())
    for c in d.container_definitions:
        for name, value in (("stopTimeout", c.stop_timeout), ("startTimeout", c.start_timeout)):
            if value is not None and value < 2:
                return f"The '{name}' setting for container '{c.name}' must be at least 2 seconds."
            if value is not None and on_fargate and value > 120:
                return f"The '{name}' setting for container '{c.name}' must be at most 120 seconds on Fargate."
    return None


def _secrets(d: Document) -> str | None:
    for c in d.container_definitions:
        if c.secrets and not d.execution_role_arn:
            return "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'."
        if (c.repository_credentials or {}).get("credentialsParameter") and not d.execution_role_arn:
            return (
                "When you are specifying repositoryCredentials, you must also specify a value for 'executionRoleArn'."
            )
        taken = {pair.name for pair in c.environment or ()}
        for secret in c.secrets or ():
            if secret.name in taken:
                return (
                    "The secret name must be unique and not shared with any new or existing environment variables set "
                    f"on the container, such as '{secret.name}'."
                )
            taken.add(secret.name)
        files = c.environment_files or ()
        if len(files) > 10:
            return "The maximum number of environment files was exceeded. Specify ten or less and try again"
        if any(not str(f.get("value", "")).startswith("arn:") for f in files):
            return "Invalid arn syntax"
    return None


def _volumes(d: Document) -> str | None:
    names = [v.name for v in d.volumes]
    if len(set(names)) < len(names):
        return "Volume names must be unique within a task definition"
    for c in d.container_definitions:
        for point in c.mount_points or ():
            if point.source_volume not in names:
                return f"Unknown volume '{point.source_volume}'."
    if sum(1 for v in d.volumes if v.configured_at_launch) > 1:
        return "A task definition can have at most one volume configured at launch."
    for v in d.volumes:
        if v.name is not None and not _FAMILY.fullmatch(v.name):
            return f"Volume name '{v.name}' contains invalid characters."
        if sum(1 for given in _configurations(v) if given) > 1:
            return f"Volume '{v.name}' can have one configuration only."
        efs = v.efs_volume_configuration or {}
        encrypted = efs.get("transitEncryption") == "ENABLED"
        authorization = efs.get("authorizationConfig") or {}
        if authorization.get("iam") == "ENABLED" and not encrypted:
            return "EFS IAM authorization requires TransitEncryption to be enabled"
        if efs.get("transitEncryptionPort") and not encrypted:
            return "TransitEncryptionPort requires that TransitEncryption is enabled"
        if authorization.get("accessPointId") and efs.get("rootDirectory", "/") != "/":
            return (
                'When using an EFS access point, the root directory must either be set to "/" or be omitted from the '
                "EFS volume configuration"
            )
    return None


def _configurations(v: Volume) -> tuple[bool, ...]:
    return (
        v.host is not None,
        v.docker_volume_configuration is not None,
        v.efs_volume_configuration is not None,
        v.fsx_windows_file_server_volume_configuration is not None,
        v.s3files_volume_configuration is not None,
        bool(v.configured_at_launch),
    )


def _foreign_parameters(d: Document, *, account: str) -> str | None:
    for c in d.container_definitions:
        for secret in c.secrets or ():
            parts = secret.value_from.split(":")
            if parts[:1] == ["arn"] and parts[2:3] == ["ssm"] and parts[4:5] != [account]:
                return (
                    "The Systems Manager parameter ARN has a different account ID than the current account. The current "
                    f"account ID is {account} and the ARN account ID is {''.join(parts[4:5])}. Cross-account access for "
                    "ARNs is not currently supported."
                )
    return None


def _logs(d: Document) -> str | None:
    routers = sum(1 for c in d.container_definitions if c.firelens_configuration is not None)
    for c in d.container_definitions:
        log = c.log_configuration
        if log is None:
            continue
        if log.log_driver == "awslogs" and not (log.options or {}).get("awslogs-group"):
            return "Log driver awslogs requires options: awslogs-group"
        if log.log_driver == "awsfirelens" and not routers:
            return (
                "When awsfirelens log driver is specified in log configuration, a firelens configuration object must "
                "be configured in one of the containers."
            )
    return "A task definition can have at most one firelens container." if routers > 1 else None


_PROXY_PORTS = (("ProxyIngressPort", "Ingress port"), ("ProxyEgressPort", "Egress port"), ("AppPorts", "App ports"))


def _unsupported(d: Document) -> str | None:
    if d.inference_accelerators:
        return "Unsupported field 'inferenceAccelerators'"
    if d.proxy_configuration is not None and d.network_mode != "awsvpc":
        return "APPMESH proxy configuration is only supported in networkMode=awsvpc"
    if d.proxy_configuration is not None:
        name = str(d.proxy_configuration.get("containerName"))
        if d.container(name) is None:
            return f"Proxy container [{name}] does not exist"
        given = {p.get("name") for p in d.proxy_configuration.get("properties") or () if p.get("value")}
        for property_, noun in _PROXY_PORTS:
            if property_ not in given:
                return f"{noun} not found"
    return None


RULES: tuple[Rule, ...] = (
    _family,
    _containers,
    _essential,
    _memory,
    _cpu,
    _placement,
    _network,
    _ports,
    _dependencies,
    _health_checks,
    _restart_policies,
    _timeouts,
    _secrets,
    _volumes,
    _logs,
    _unsupported,
)


# --- Fargate (§4.4) --------------------------------------------------------------------------------------------------
def _fargate_size(d: Document) -> str | None:
    if not d.cpu:
        return "Fargate requires that 'cpu' be defined at the task level."
    if not d.memory:
        return "Fargate requires that 'memory' be defined at the task level."
    windows = str((d.runtime_platform or {}).get("operatingSystemFamily", "")).startswith("WINDOWS")
    if not fargate.is_offered(int(d.cpu), int(d.memory)) or (windows and int(d.cpu) < 1024):
        return (
            f"No Fargate configuration exists for given values: {d.cpu} CPU, {d.memory} memory. See the Amazon ECS "
            "documentation for the valid values."
        )
    return None


def _fargate_network(d: Document) -> str | None:
    return None if d.network_mode == "awsvpc" else "Fargate only supports network mode ‘awsvpc’."


def _fargate_forbidden(d: Document) -> str | None:
    sentence = "Fargate compatible task definitions do not support "
    for v in d.volumes:
        if v.docker_volume_configuration is not None:
            return sentence + "dockerVolumeConfiguration"
        if (v.host or {}).get("sourcePath"):
            return sentence + "sourcePath"
    if d.ipc_mode is not None:
        return sentence + "ipcMode"
    if d.placement_constraints:
        return sentence + "constraints"
    if d.pid_mode == "host":
        return (
            "Tasks using the Fargate launch type do not support pidMode 'host'. The supported value for pidMode is "
            "'task'."
        )
    for c in d.container_definitions:
        if c.privileged:
            return "Fargate requires that the 'privileged' setting be 'false'"
        if c.docker_security_options:
            return sentence + "dockerSecurityOptions"
        for name in ("sharedMemorySize", "devices", "maxSwap", "swappiness"):
            if (c.linux_parameters or {}).get(name) not in (None, []):
                return sentence + name
        for capability in ((c.linux_parameters or {}).get("capabilities") or {}).get("add") or ():
            if capability != "SYS_PTRACE":
                return f"{capability} is not allowed on Fargate."
        if any(r.get("type") == "GPU" for r in c.resource_requirements or ()):
            return "Tasks using the Fargate launch type do not support GPU resource requirements."
    return None


def _fargate_logs(d: Document) -> str | None:
    for c in d.container_definitions:
        log = c.log_configuration
        if log is not None and log.log_driver not in _DRIVERS_ON_FARGATE:
            return f"{log.log_driver} is not a valid log driver. Must be one of [awslogs, splunk, awsfirelens]"
        if log is not None and log.log_driver == "awslogs":
            if not d.execution_role_arn:
                return "Fargate requires task definition to have execution role ARN to support log driver awslogs."
            if not (log.options or {}).get("awslogs-stream-prefix"):
                return (
                    "Fargate requires log configuration options to include awslogs-stream-prefix to support log "
                    "driver awslogs."
                )
        if _ECR.match(c.image or "") and not d.execution_role_arn:
            return "Fargate requires task definition to have execution role ARN to support ECR images."
    return None


def _fargate_storage(d: Document) -> str | None:
    size = (d.ephemeral_storage or {}).get("sizeInGiB")
    if size is not None and size < 21:
        return "EphemeralStorage size should be at least 21"
    if size is not None and size > 200:
        return "EphemeralStorage size should be at most 200"
    return None


FARGATE_RULES: tuple[Rule, ...] = (
    _fargate_size,
    _fargate_network,
    _fargate_forbidden,
    _fargate_logs,
    _fargate_storage,
)
