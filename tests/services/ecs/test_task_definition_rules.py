"""What RegisterTaskDefinition refuses, sentence by sentence (semantics ecs-task-definitions §1, §4)."""

from __future__ import annotations

from typing import Any

import pytest

from .rig import INVALID_CPU, INVALID_MEMORY, ROLE, Rig, container, fargate

Params = dict[str, Any]


def bridge(*containers: Params, **params: Any) -> Params:
    """A document for EC2: neither network mode nor sizes."""
    return {"family": "web", "containerDefinitions": list(containers) or [memory()], **params}


def memory(name: str = "app", **members: Any) -> Params:
    return {"name": name, "image": f"{name}:1", "memory": 128} | members


def one(**members: Any) -> Params:
    """Fargate, with one container."""
    return fargate(executionRoleArn=ROLE, containerDefinitions=[container(**members)])


def two(first: Params, second: Params) -> Params:
    return fargate(containerDefinitions=[{"image": "a", **first}, {"image": "b", **second}])


def volume(**configuration: Any) -> Params:
    return fargate(volumes=[{"name": "data", **configuration}])


HEALTH = "Health check {} for container 'app'"
LOGS = {"awslogs-group": "g", "awslogs-region": "us-east-1", "awslogs-stream-prefix": "p"}

RULES: list[tuple[Params, str]] = [
    # §1, §4.1 containers
    (fargate(family=""), "Family should not be null or empty."),
    (fargate(family="a b"), "Family contains invalid characters."),
    (fargate(family="x" * 256), "Family contains invalid characters."),
    (fargate(containerDefinitions=[]), "Container list cannot be empty."),
    (fargate(containerDefinitions=[{"image": "a"}]), "Container.name should not be null or empty."),
    (fargate(containerDefinitions=[{"name": "a"}]), "Container.image should not be null or empty."),
    (two({"name": "a"}, {"name": "a"}), "Container names must be unique within a task definition"),
    (one(essential=False), "Task definition doesn't have any essential container"),
    (
        bridge({"name": "app", "image": "a"}),
        "Invalid setting for container 'app'. At least one of 'memory' or 'memoryReservation' must be specified.",
    ),
    (one(memory=513), "The 'memory' setting for container 'app' is greater than for the task"),
    (
        one(memory=100, memoryReservation=101),
        "Invalid setting for container 'app'. 'memory' must be greater than or equal to 'memoryReservation'",
    ),
    (one(memory=5), "Invalid 'memory' setting for container 'app'"),
    (one(cpu=257), "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'."),
    (
        two({"name": "a", "cpu": 200}, {"name": "b", "cpu": 57}),
        "The sum of all container 'cpu' values cannot be greater than the value of the task 'cpu'.",
    ),
    (
        two({"name": "a", "memoryReservation": 300}, {"name": "b", "memoryReservation": 300}),
        "The sum of all container 'memoryReservation' values cannot be greater than the value of the task 'memory'.",
    ),
    (one(links=["b"]), "Links are not supported when networkMode=awsvpc."),
    (bridge(memory(links=["b"]), networkMode="host"), "Links are not supported when networkMode=host."),
    (one(hostname="h"), "hostname is not supported on container when networkMode=awsvpc"),
    (
        one(extraHosts=[{"hostname": "h", "ipAddress": "10.0.0.1"}]),
        "Extra hosts are not supported on container when networkMode=awsvpc",
    ),
    (one(dnsServers=["1.1.1.1"]), "DNS servers are not supported on container when networkMode=awsvpc"),
    (one(dnsSearchDomains=["x"]), "DNS search domains are not supported on container when networkMode=awsvpc"),
    (one(disableNetworking=True), "Disable Networking is not supported on container when networkMode=awsvpc"),
    (
        fargate(containerDefinitions=[container(secrets=[{"name": "A", "valueFrom": "a"}])]),
        "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.",
    ),
    (
        one(secrets=[{"name": "A", "valueFrom": "a"}], environment=[{"name": "A", "value": "1"}]),
        "The secret name must be unique and not shared with any new or existing environment variables set on the "
        "container, such as 'A'.",
    ),
    (
        one(secrets=[{"name": "A", "valueFrom": "a"}, {"name": "A", "valueFrom": "b"}]),
        "The secret name must be unique and not shared with any new or existing environment variables set on the "
        "container, such as 'A'.",
    ),
    (
        one(secrets=[{"name": "A", "valueFrom": "arn:aws:ssm:us-east-1:111111111111:parameter/x"}]),
        "The Systems Manager parameter ARN has a different account ID than the current account. The current account "
        "ID is 000000000000 and the ARN account ID is 111111111111. Cross-account access for ARNs is not currently "
        "supported.",
    ),
    (
        one(environmentFiles=[{"type": "s3", "value": f"arn:aws:s3:::b/{n}.env"} for n in range(11)]),
        "The maximum number of environment files was exceeded. Specify ten or less and try again",
    ),
    (one(environmentFiles=[{"type": "s3", "value": "b/x.env"}]), "Invalid arn syntax"),
    (
        fargate(containerDefinitions=[container(repositoryCredentials={"credentialsParameter": "arn:x"})]),
        "When you are specifying repositoryCredentials, you must also specify a value for 'executionRoleArn'.",
    ),
    # §4.2 ports
    (
        bridge(memory(portMappings=[{"containerPort": 80}]), networkMode="none"),
        "Port mappings are not supported when networkMode=none",
    ),
    (
        one(portMappings=[{"containerPort": 80, "hostPort": 81}]),
        "When networkMode=awsvpc, the host ports and container ports in port mappings must match.",
    ),
    (
        bridge(memory(portMappings=[{"containerPort": 80, "hostPort": 81}]), networkMode="host"),
        "When networkMode=host, the host ports and container ports in port mappings must match.",
    ),
    (
        one(portMappings=[{"containerPort": 8085}, {"containerPort": 8085}]),
        "TCP container port '8085' is used multiple times in task when networkMode=awsvpc.",
    ),
    (
        two(
            {"name": "a", "portMappings": [{"containerPort": 53, "protocol": "udp"}]},
            {"name": "b", "portMappings": [{"containerPort": 53, "protocol": "udp"}]},
        ),
        "UDP container port '53' is used multiple times in task when networkMode=awsvpc.",
    ),
    (
        one(portMappings=[{"containerPort": 80, "containerPortRange": "80-90"}]),
        "cannot specify both single port and port range",
    ),
    *(
        (one(portMappings=[{"containerPortRange": text}]), "Invalid 'containerPortRange' setting")
        for text in ("90-80", "80", "a-b", "0-5", "1-65536", "²-³", "1-2-3")
    ),
    (
        one(portMappings=[{"containerPort": 80, "name": "a"}, {"containerPort": 81, "name": "a"}]),
        "When networkMode=awsvpc, port mapping name is already used",
    ),
    (
        bridge(memory(portMappings=[{"containerPort": 70000}])),
        "Invalid port '70000': it must be between 0 and 65535.",
    ),
    (
        bridge(memory(systemControls=[{"namespace": "net.core.somaxconn", "value": "1"}]), networkMode="host"),
        "System controls of the namespace net.* are not supported when networkMode=host.",
    ),
    # §4.3 dependencies, timeouts, health, restart
    (
        one(dependsOn=[{"containerName": "nope", "condition": "START"}]),
        "Cannot depend on container + 'nope' because it does not exist",
    ),
    *(
        (
            two({"name": "a"}, {"name": "b", "dependsOn": [{"containerName": "a", "condition": condition}]}),
            "A dependency container with SUCCESS or COMPLETE condition cannot be an essential container",
        )
        for condition in ("SUCCESS", "COMPLETE")
    ),
    (
        two({"name": "a"}, {"name": "b", "dependsOn": [{"containerName": "a", "condition": "HEALTHY"}]}),
        "A dependency container with HEALTHY condition must have health check configured",
    ),
    (
        two(
            {"name": "a", "healthCheck": {"command": ["NONE"]}},
            {"name": "b", "dependsOn": [{"containerName": "a", "condition": "HEALTHY"}]},
        ),
        "A dependency container with HEALTHY condition must have health check configured",
    ),
    (
        one(dependsOn=[{"containerName": "app", "condition": "START"}]),
        "Cyclic dependency found in the container dependencies.",
    ),
    (
        two(
            {"name": "a", "dependsOn": [{"containerName": "b", "condition": "START"}]},
            {"name": "b", "dependsOn": [{"containerName": "a", "condition": "START"}]},
        ),
        "Cyclic dependency found in the container dependencies.",
    ),
    *(
        (
            one(healthCheck={"command": ["CMD", "true"], member: value}),
            HEALTH.format(f"{member} must be {which} allowed value {limit}"),
        )
        for member, value, which, limit in (
            ("interval", 301, "less than or equal to the maximum", 300),
            ("interval", 4, "greater than or equal to the minimum", 5),
            ("timeout", 61, "less than or equal to the maximum", 60),
            ("timeout", 1, "greater than or equal to the minimum", 2),
            ("retries", 11, "less than or equal to the maximum", 10),
            ("retries", 0, "greater than or equal to the minimum", 1),
            ("startPeriod", 301, "less than or equal to the maximum", 300),
            ("startPeriod", -1, "greater than or equal to the minimum", 0),
        )
    ),
    *(
        (
            one(healthCheck={"command": command}),
            "Health check command must start with CMD, CMD-SHELL or NONE for container 'app'",
        )
        for command in ([], ["curl", "x"])
    ),
    *(
        (
            one(restartPolicy={"enabled": True, "restartAttemptPeriod": period}),
            "The 'restartAttemptPeriod' setting for container 'app' must be between 60 and 1800.",
        )
        for period in (59, 1801, 0)
    ),
    (
        one(restartPolicy={"enabled": True, "ignoredExitCodes": list(range(51))}),
        "The 'ignoredExitCodes' setting for container 'app' can have at most 50 items.",
    ),
    (one(stopTimeout=121), "The 'stopTimeout' setting for container 'app' must be at most 120 seconds on Fargate."),
    (one(stopTimeout=1), "The 'stopTimeout' setting for container 'app' must be at least 2 seconds."),
    (one(startTimeout=121), "The 'startTimeout' setting for container 'app' must be at most 120 seconds on Fargate."),
    # §4.4 Fargate
    (fargate(cpu=None), "Fargate requires that 'cpu' be defined at the task level."),
    (
        fargate(memory=None, containerDefinitions=[container(memory=128)]),
        "Fargate requires that 'memory' be defined at the task level.",
    ),
    (
        fargate(cpu="300", memory="999"),
        "No Fargate configuration exists for given values: 300 CPU, 999 memory. See the Amazon ECS documentation for "
        "the valid values.",
    ),
    (
        fargate(runtimePlatform={"operatingSystemFamily": "WINDOWS_SERVER_2019_CORE"}),
        "No Fargate configuration exists for given values: 256 CPU, 512 memory. See the Amazon ECS documentation for "
        "the valid values.",
    ),
    (fargate(networkMode="bridge"), "Fargate only supports network mode ‘awsvpc’."),
    (one(privileged=True), "Fargate requires that the 'privileged' setting be 'false'"),
    (
        volume(dockerVolumeConfiguration={"scope": "task"}),
        "Fargate compatible task definitions do not support dockerVolumeConfiguration",
    ),
    (volume(host={"sourcePath": "/x"}), "Fargate compatible task definitions do not support sourcePath"),
    (
        one(dockerSecurityOptions=["no-new-privileges"]),
        "Fargate compatible task definitions do not support dockerSecurityOptions",
    ),
    (fargate(ipcMode="task"), "Fargate compatible task definitions do not support ipcMode"),
    (
        fargate(placementConstraints=[{"type": "memberOf", "expression": "x"}]),
        "Fargate compatible task definitions do not support constraints",
    ),
    *(
        (one(linuxParameters=given), f"Fargate compatible task definitions do not support {next(iter(given))}")
        for given in (
            {"sharedMemorySize": 64},
            {"devices": [{"hostPath": "/dev/x"}]},
            {"maxSwap": 10},
            {"maxSwap": 0},
            {"swappiness": 10},
        )
    ),
    (
        fargate(pidMode="host"),
        "Tasks using the Fargate launch type do not support pidMode 'host'. The supported value for pidMode is 'task'.",
    ),
    (
        one(resourceRequirements=[{"type": "GPU", "value": "1"}]),
        "Tasks using the Fargate launch type do not support GPU resource requirements.",
    ),
    (one(linuxParameters={"capabilities": {"add": ["NET_ADMIN"]}}), "NET_ADMIN is not allowed on Fargate."),
    (
        one(logConfiguration={"logDriver": "json-file"}),
        "json-file is not a valid log driver. Must be one of [awslogs, splunk, awsfirelens]",
    ),
    (
        fargate(containerDefinitions=[container(logConfiguration={"logDriver": "awslogs", "options": LOGS})]),
        "Fargate requires task definition to have execution role ARN to support log driver awslogs.",
    ),
    (
        one(logConfiguration={"logDriver": "awslogs", "options": {"awslogs-group": "g"}}),
        "Fargate requires log configuration options to include awslogs-stream-prefix to support log driver awslogs.",
    ),
    (
        fargate(containerDefinitions=[container(image="111111111111.dkr.ecr.us-east-1.amazonaws.com/web:1")]),
        "Fargate requires task definition to have execution role ARN to support ECR images.",
    ),
    (fargate(ephemeralStorage={"sizeInGiB": 20}), "EphemeralStorage size should be at least 21"),
    (fargate(ephemeralStorage={"sizeInGiB": 201}), "EphemeralStorage size should be at most 200"),
    # §4.5 volumes, logs, proxy
    (one(mountPoints=[{"sourceVolume": "nope", "containerPath": "/x"}]), "Unknown volume 'nope'."),
    (fargate(volumes=[{"name": "a"}, {"name": "a"}]), "Volume names must be unique within a task definition"),
    (fargate(volumes=[{"name": "a b"}]), "Volume name 'a b' contains invalid characters."),
    (
        volume(host={}, efsVolumeConfiguration={"fileSystemId": "fs-1"}),
        "Volume 'data' can have one configuration only.",
    ),
    (
        fargate(
            volumes=[{"name": "a", "configuredAtLaunch": True}, {"name": "b", "configuredAtLaunch": True}],
        ),
        "A task definition can have at most one volume configured at launch.",
    ),
    (
        volume(efsVolumeConfiguration={"fileSystemId": "fs-1", "authorizationConfig": {"iam": "ENABLED"}}),
        "EFS IAM authorization requires TransitEncryption to be enabled",
    ),
    (
        volume(efsVolumeConfiguration={"fileSystemId": "fs-1", "transitEncryptionPort": 2049}),
        "TransitEncryptionPort requires that TransitEncryption is enabled",
    ),
    (
        volume(
            efsVolumeConfiguration={
                "fileSystemId": "fs-1",
                "rootDirectory": "/x",
                "transitEncryption": "ENABLED",
                "authorizationConfig": {"accessPointId": "fsap-1"},
            }
        ),
        'When using an EFS access point, the root directory must either be set to "/" or be omitted from the EFS volume '
        "configuration",
    ),
    (
        one(logConfiguration={"logDriver": "awslogs", "options": {}}),
        "Log driver awslogs requires options: awslogs-group",
    ),
    (
        one(logConfiguration={"logDriver": "awsfirelens"}),
        "When awsfirelens log driver is specified in log configuration, a firelens configuration object must be "
        "configured in one of the containers.",
    ),
    (
        two(
            {"name": "a", "firelensConfiguration": {"type": "fluentbit"}},
            {"name": "b", "firelensConfiguration": {"type": "fluentbit"}},
        ),
        "A task definition can have at most one firelens container.",
    ),
    (
        bridge(proxyConfiguration={"containerName": "app"}),
        "APPMESH proxy configuration is only supported in networkMode=awsvpc",
    ),
    (fargate(proxyConfiguration={"containerName": "x"}), "Proxy container [x] does not exist"),
    (fargate(proxyConfiguration={"containerName": "app"}), "Ingress port not found"),
    (
        fargate(inferenceAccelerators=[{"deviceName": "a", "deviceType": "b"}]),
        "Unsupported field 'inferenceAccelerators'",
    ),
    (fargate(cpu="x"), INVALID_CPU),
    (fargate(memory="²"), INVALID_MEMORY),
    (fargate(cpu="-256"), INVALID_CPU),
]


@pytest.mark.parametrize(("params", "message"), RULES, ids=[f"{n}: {m[:60]}" for n, (_, m) in enumerate(RULES)])
async def test_what_is_refused(ecs: Rig, params: Params, message: str) -> None:
    given = {name: value for name, value in params.items() if value is not None}
    refusal = await ecs.refused("RegisterTaskDefinition", **given)
    assert (refusal.code, refusal.message) == ("ClientException", message)


def on_a_bridge(**members: Any) -> Params:
    return bridge(memory(**members), executionRoleArn=ROLE)


def linux(**parameters: Any) -> Params:
    return on_a_bridge(linuxParameters=parameters)


def ports(*mappings: Params, **params: Any) -> Params:
    return bridge(memory(portMappings=list(mappings)), **params)


def awslogs(**options: str) -> Params:
    named = {name.replace("_", "-"): value for name, value in options.items()}
    return on_a_bridge(logConfiguration={"logDriver": "awslogs", "options": {"awslogs-group": "g"} | named})


def router(**configuration: Any) -> Params:
    return on_a_bridge(firelensConfiguration=configuration)


TOO_LONG = "Actual length: '65584'. Max allowed length is '65536' bytes."
TOKEN = {"logDriver": "splunk", "secretOptions": [{"name": "splunk-token", "valueFrom": "t"}]}
MORE: list[tuple[Params, str]] = [
    *(
        (on_a_bridge(image=image), "Invalid 'image' setting for container 'app'")
        for image in ("a" * 256, "a@sha256:1", " a")
    ),
    *((bridge(cpu=cpu), INVALID_CPU) for cpu in ("127", "196609")),
    (
        bridge({"name": "app", "image": "a"}, memory="3"),
        INVALID_MEMORY,
    ),
    (on_a_bridge(environment=[{"name": "A", "value": "x" * 65300}]), TOO_LONG),
    (on_a_bridge(memoryReservation=5), "Invalid 'memoryReservation' setting for container 'app'"),
    (on_a_bridge(cpu=-1), "Invalid 'cpu' setting for container 'app'"),
    (bridge(memory(), ephemeralStorage={"sizeInGiB": 20}), "EphemeralStorage size should be at least 21"),
    *(
        (bridge(memory(), **{member: role}), "Role is not valid")
        for member in ("taskRoleArn", "executionRoleArn")
        for role in ("arn:aws:iam::000000000000:user/me", "a role", "role/execution")
    ),
    (
        bridge(memory(), networkMode="awsvpc", requiresCompatibilities=["EXTERNAL"]),
        "The launch type EXTERNAL does not support networkMode=awsvpc.",
    ),
    (
        router(type="fluentbit"),
        "When a firelensConfiguration object is specified, at least one container has to be configured with the "
        "awsfirelens log driver",
    ),
    (ports({"hostPort": 80}), "Invalid 'containerPort' setting for container 'app'"),
    (
        on_a_bridge(mountPoints=[{"sourceVolume": "data"}]) | {"volumes": [{"name": "data"}]},
        "The mount point of volume 'data' needs a 'containerPath'.",
    ),
    (
        fargate(
            proxyConfiguration={
                "containerName": "app",
                "properties": [
                    {"name": name, "value": "1"} for name in ("ProxyIngressPort", "ProxyEgressPort", "AppPorts")
                ],
            }
        ),
        "IgnoredUID or IgnoredGID not found",
    ),
    (on_a_bridge(links=["b:c"]), "Container 'app' links to 'b', which does not exist."),
    (
        on_a_bridge(volumesFrom=[{"sourceContainer": "b"}]),
        "Container 'app' mounts volumes from 'b', which does not exist.",
    ),
    (bridge(memory("a", links=["b"]), memory("b", links=["a:x"])), "Container links should not have a cycle"),
    (
        bridge(memory("a", links=["b"]), memory("b", volumesFrom=[{"sourceContainer": "a"}])),
        "Cyclic dependency found in the container dependencies.",
    ),
    (linux(maxSwap=-1), "The 'maxSwap' setting for container 'app' must be 0 or greater."),
    (linux(swappiness=101), "The 'swappiness' setting for container 'app' must be between 0 and 100."),
    (linux(sharedMemorySize=-1), "The 'sharedMemorySize' setting for container 'app' must be 0 or greater."),
    (linux(tmpfs=[{"containerPath": "/x", "size": 0}]), "Invalid 'tmpfs' setting for container 'app'"),
    (linux(devices=[{"hostPath": "dev"}]), "Invalid 'devices' setting for container 'app'"),
    (
        on_a_bridge(ulimits=[{"name": "files", "softLimit": 1, "hardLimit": 1}]),
        "Invalid ulimit 'files' for container 'app'",
    ),
    (
        on_a_bridge(ulimits=[{"name": "nofile", "softLimit": 2, "hardLimit": 1}]),
        "The soft limit of ulimit 'nofile' for container 'app' is greater than its hard limit.",
    ),
    (
        on_a_bridge(resourceRequirements=[{"type": "InferenceAccelerator", "value": "x"}]),
        "Unsupported resource requirement type 'InferenceAccelerator'",
    ),
    (
        on_a_bridge(resourceRequirements=[{"type": "GPU", "value": "0"}]),
        "Invalid GPU resource requirement '0' for container 'app'",
    ),
    (bridge(pidMode="x"), "Invalid pidMode 'x'. Must be one of [host, task]"),
    (bridge(ipcMode="x"), "Invalid ipcMode 'x'. Must be one of [host, task, none]"),
    (
        bridge(memory(systemControls=[{"namespace": "kernel.shmmax", "value": "1"}]), ipcMode="task"),
        "System controls of IPC namespaces are not supported when ipcMode=task.",
    ),
    (
        on_a_bridge(environmentFiles=[{"type": "s3", "value": "arn:aws:s3:::b/x.txt"}]),
        "The environment file 'arn:aws:s3:::b/x.txt' must have the file extension .env.",
    ),
    (
        ports({"containerPortRange": "1-2"}, networkMode="host"),
        "'containerPortRange' requires networkMode bridge or awsvpc and no 'hostPort'",
    ),
    (
        ports({"containerPortRange": "80-90"}, {"containerPort": 85}),
        "Invalid 'containerPortRange' setting: port ranges of a container must not overlap",
    ),
    (
        ports(*({"containerPortRange": f"{n}-{n}"} for n in range(1, 102))),
        "A container can have at most 100 port ranges.",
    ),
    (ports({"containerPort": 80, "name": "-web"}), "Invalid port mapping name '-web'"),
    (
        bridge(enableFaultInjection=True),
        "enableFaultInjection is only supported in networkMode=awsvpc and networkMode=host",
    ),
    (
        bridge(volumes=[{"name": "v", "configuredAtLaunch": True}]),
        "Volume 'v' is configured at launch and must be mounted by a container.",
    ),
    (
        bridge(volumes=[{"name": "v", "dockerVolumeConfiguration": {"autoprovision": True}}]),
        "The 'autoprovision' setting is only supported for Docker volumes with the scope 'shared'.",
    ),
    (awslogs(nope="1"), "Log driver awslogs disallows options: nope"),
    (
        awslogs(awslogs_datetime_format="%Y", awslogs_multiline_pattern="^a"),
        "Log driver awslogs: awslogs-datetime-format and awslogs-multiline-pattern cannot be configured at the same "
        "time.",
    ),
    (awslogs(mode="fast"), "Invalid value 'fast' for the log driver option 'mode'."),
    (awslogs(max_buffer_size="big"), "Invalid value 'big' for the log driver option 'max-buffer-size'."),
    (
        on_a_bridge(logConfiguration={"logDriver": "papyrus"}),
        "papyrus is not a valid log driver. Must be one of [json-file, syslog, journald, gelf, fluentd, awslogs, splunk, "
        "awsfirelens, none]",
    ),
    (
        bridge(memory(logConfiguration=TOKEN)),
        "When you are specifying container secrets, you must also specify a value for 'executionRoleArn'.",
    ),
    (router(type="logstash"), "Invalid firelens configuration type 'logstash'. Must be one of [fluentbit, fluentd]"),
    (router(type="fluentbit", options={"a": "b"}), "Unsupported firelens configuration options: a"),
    (
        router(type="fluentbit", options={"config-file-type": "file"}),
        "The firelens options config-file-type (s3 or file) and config-file-value must be given together.",
    ),
    (router(type="fluentbit", options={"config-file-type": "s3", "config-file-value": "x"}), "Invalid arn syntax"),
    (
        bridge(
            memory("app", logConfiguration={"logDriver": "awsfirelens"}),
            memory("router", firelensConfiguration={"type": "fluentd"}, links=["app"]),
        ),
        "Cyclic dependency found in the container dependencies.",
    ),
]


@pytest.mark.parametrize(("params", "message"), MORE, ids=[f"{n}: {row[1][:50]}" for n, row in enumerate(MORE)])
async def test_the_rest_of_the_rules(ecs: Rig, params: Params, message: str) -> None:
    refusal = await ecs.refused("RegisterTaskDefinition", **params)
    assert (refusal.code, refusal.message) == ("ClientException", message)


ORDER: list[tuple[str, Params, str]] = [
    (
        "memory of containers before cpu of Fargate",
        {"family": "w", "networkMode": "awsvpc", "requiresCompatibilities": ["FARGATE"],
         "containerDefinitions": [{"name": "app", "image": "a"}]},
        "Invalid setting for container 'app'. At least one of 'memory' or 'memoryReservation' must be specified.",
    ),
    (
        "the essential container before memory",
        bridge({"name": "app", "image": "a", "essential": False}),
        "Task definition doesn't have any essential container",
    ),
    (
        "cpu before the network mode",
        fargate(cpu=None, networkMode="bridge"),
        "Fargate requires that 'cpu' be defined at the task level.",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("params", "message"), [row[1:] for row in ORDER], ids=[row[0] for row in ORDER])
async def test_what_is_refused_first(ecs: Rig, params: Params, message: str) -> None:
    given = {name: value for name, value in params.items() if value is not None}
    assert (await ecs.refused("RegisterTaskDefinition", **given)).message == message


ALLOWED: list[tuple[str, Params]] = [
    ("memory equal to its reservation", one(memory=128, memoryReservation=128)),
    ("tcp and udp on one port", one(portMappings=[{"containerPort": 53}, {"containerPort": 53, "protocol": "udp"}])),
    ("the same container port twice on a bridge", bridge(
        memory("a", portMappings=[{"containerPort": 80}]), memory("b", portMappings=[{"containerPort": 80}]))),
    ("SYS_PTRACE", one(linuxParameters={"capabilities": {"add": ["SYS_PTRACE"]}})),
    ("pidMode task", fargate(pidMode="task")),
    ("long stop timeouts on EC2", bridge(memory(stopTimeout=600))),
    ("an anonymous volume", fargate(
        volumes=[{"name": "data", "host": {}}],
        containerDefinitions=[container(mountPoints=[{"sourceVolume": "data", "containerPath": "/x"}])])),
    ("links on a bridge", bridge(memory("a", links=["b"]), memory("b"))),
    ("an HEALTHY dependency", two(
        {"name": "a", "healthCheck": {"command": ["CMD-SHELL", "true"]}},
        {"name": "b", "dependsOn": [{"containerName": "a", "condition": "HEALTHY"}]})),
    ("everything that Fargate offers", fargate(cpu="16384", memory="122880")),
]  # fmt: skip


@pytest.mark.parametrize("params", [row[1] for row in ALLOWED], ids=[row[0] for row in ALLOWED])
async def test_what_is_allowed(ecs: Rig, params: Params) -> None:
    assert (await ecs.call("RegisterTaskDefinition", **params))["taskDefinition"]["status"] == "ACTIVE"
