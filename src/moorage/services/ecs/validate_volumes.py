"""What RegisterTaskDefinition refuses in volumes, log configurations and the rest of a document (ecs-task-definitions
§4.5). Rules as in `validate_task_definition`.
"""

from __future__ import annotations

import re

from moorage.decide import awslogs, firelens
from moorage.domain.task_definition import ContainerDefinition, Document, Volume

_NAME = re.compile(r"[A-Za-z0-9_-]{1,255}")
DRIVERS = ("json-file", "syslog", "journald", "gelf", "fluentd", "awslogs", "splunk", "awsfirelens", "none")
AWSLOGS_OPTIONS = frozenset(
    (
        "awslogs-group", "awslogs-region", "awslogs-stream-prefix", "awslogs-create-group", "awslogs-datetime-format",
        "awslogs-multiline-pattern", "awslogs-endpoint", "awslogs-stream", "awslogs-format",
        "awslogs-credentials-endpoint", "awslogs-force-flush-interval-seconds", "mode", "max-buffer-size", "tag",
    )
)  # fmt: skip


def volumes(d: Document) -> str | None:
    names = [v.name for v in d.volumes]
    if len(set(names)) < len(names):
        return "Volume names must be unique within a task definition"
    for c in d.container_definitions:
        for point in c.mount_points or ():
            if point.source_volume not in names:
                return f"Unknown volume '{point.source_volume}'."
            if not point.container_path:
                return f"The mount point of volume '{point.source_volume}' needs a 'containerPath'."
    mounted = {point.source_volume for c in d.container_definitions for point in c.mount_points or ()}
    if sum(1 for v in d.volumes if v.configured_at_launch) > 1:
        return "A task definition can have at most one volume configured at launch."
    for v in d.volumes:
        if v.name is not None and not _NAME.fullmatch(v.name):
            return f"Volume name '{v.name}' contains invalid characters."
        if sum(1 for given in _configurations(v) if given) > 1:
            return f"Volume '{v.name}' can have one configuration only."
        if v.configured_at_launch and v.name not in mounted:
            return f"Volume '{v.name}' is configured at launch and must be mounted by a container."
        docker = v.docker_volume_configuration or {}
        if docker.get("autoprovision") is not None and docker.get("scope") != "shared":
            return "The 'autoprovision' setting is only supported for Docker volumes with the scope 'shared'."
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


def logs(d: Document) -> str | None:
    routers = sum(1 for c in d.container_definitions if c.firelens_configuration is not None)
    for c in d.container_definitions:
        log = c.log_configuration
        if log is None:
            continue
        message = _awslogs(log.options or {}) if log.log_driver == "awslogs" else None
        if message is not None:
            return message
        if log.log_driver not in DRIVERS:
            return f"{log.log_driver} is not a valid log driver. Must be one of [{', '.join(DRIVERS)}]"
        if log.secret_options and not d.execution_role_arn:
            return "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'."
        if log.log_driver == "awsfirelens" and not routers:
            return (
                "When awsfirelens log driver is specified in log configuration, a firelens configuration object must "
                "be configured in one of the containers."
            )
    if routers > 1:
        return "A task definition can have at most one firelens container."
    message = next((m for c in d.container_definitions if (m := _router(c)) is not None), None)
    if message is None and routers and not any(firelens.uses_firelens(c) for c in d.container_definitions):
        return (
            "When a firelensConfiguration object is specified, at least one container has to be configured with the "
            "awsfirelens log driver"
        )
    return message


def _awslogs(options: dict[str, str]) -> str | None:
    if not options.get("awslogs-group"):
        return "Log driver awslogs requires options: awslogs-group"
    unknown = sorted(set(options) - AWSLOGS_OPTIONS)
    if unknown:
        return f"Log driver awslogs disallows options: {', '.join(unknown)}"
    if options.get(awslogs.MULTILINE) and options.get(awslogs.DATETIME):
        return f"Log driver awslogs: {awslogs.DATETIME} and {awslogs.MULTILINE} cannot be configured at the same time."
    if options.get("mode") not in (None, "blocking", "non-blocking"):
        return f"Invalid value '{options['mode']}' for the log driver option 'mode'."
    if not re.fullmatch(r"[0-9]+[kKmMgG]?[bB]?", options.get("max-buffer-size", "1m")):
        return f"Invalid value '{options['max-buffer-size']}' for the log driver option 'max-buffer-size'."
    return None


def _router(c: ContainerDefinition) -> str | None:
    configuration = c.firelens_configuration
    if configuration is None:
        return None
    kind, options = configuration.get("type"), configuration.get("options") or {}
    if kind not in firelens.TYPES:
        return f"Invalid firelens configuration type '{kind}'. Must be one of [{', '.join(firelens.TYPES)}]"
    unknown = sorted(set(options) - {"enable-ecs-log-metadata", "config-file-type", "config-file-value"})
    if unknown:
        return f"Unsupported firelens configuration options: {', '.join(unknown)}"
    config, value = options.get("config-file-type"), options.get("config-file-value")
    if (config is None) != (value is None) or config not in (None, *firelens.CONFIG_TYPES):
        return "The firelens options config-file-type (s3 or file) and config-file-value must be given together."
    if config == "s3" and not re.fullmatch(r"arn:aws[a-z-]*:s3:::[^/]+/.+", str(value)):
        return "Invalid arn syntax"
    return None


_PROXY_PORTS = (("ProxyIngressPort", "Ingress port"), ("ProxyEgressPort", "Egress port"), ("AppPorts", "App ports"))


def unsupported(d: Document) -> str | None:
    if d.inference_accelerators:
        return "Unsupported field 'inferenceAccelerators'"
    if d.enable_fault_injection and d.network_mode not in ("awsvpc", "host"):
        return "enableFaultInjection is only supported in networkMode=awsvpc and networkMode=host"
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
        if not given & {"IgnoredUID", "IgnoredGID"}:
            return "IgnoredUID or IgnoredGID not found"
    return None
