"""What a container instance can do: the attributes that the ECS agent registers (semantics ecs-task-definitions §3).

An instance that does not name any capability has all of them, so that nothing is unplaceable by accident; one that names
some has only those.
"""

from __future__ import annotations

from collections.abc import Mapping

VERSION_INFO: Mapping[str, str] = {
    "agentVersion": "1.90.0",
    "agentHash": "moorage",
    "dockerVersion": "DockerVersion: 20",
}

_COM = "com.amazonaws.ecs.capability."
_ECS = "ecs.capability."
CAPABILITIES = (
    *(f"{_COM}docker-remote-api.1.{minor}" for minor in range(17, 45)),
    *(
        f"{_COM}logging-driver.{driver}"
        for driver in ("awslogs", "awsfirelens", "fluentd", "gelf", "journald", "json-file", "none", "splunk", "syslog")
    ),
    *(_COM + name for name in ("ecr-auth", "privileged-container", "task-iam-role", "task-iam-role-network-host")),
    *(
        _ECS + name
        for name in (
            "aws-appmesh",
            "container-health-check",
            "container-ordering",
            "container-restart-policy",
            "docker-plugin.local",
            "efs",
            "efsAuth",
            "env-files.s3",
            "execution-role-awslogs",
            "execution-role-ecr-pull",
            "fault-injection",
            "firelens.fluentbit",
            "firelens.fluentd",
            "firelens.options.config.file",
            "firelens.options.config.s3",
            "network.container-port-range",
            "pid-ipc-namespace-sharing",
            "private-registry-authentication.secretsmanager",
            "secrets.asm.bootstrap.log-driver",
            "secrets.asm.environment-variables",
            "secrets.ssm.bootstrap.log-driver",
            "secrets.ssm.environment-variables",
            "task-cpu-mem-limit",
            "task-eni",
        )
    ),
)


def is_reserved(name: str) -> bool:
    """Names that ECS keeps for itself; people name their own attributes otherwise."""
    return name.startswith(("ecs.", "com.amazonaws."))


def complete(given: Mapping[str, str | None], zone: str, identity: Mapping[str, str]) -> dict[str, str | None]:
    """The attributes of a new instance: what it says, and for what it leaves out what every instance has."""
    found: dict[str, str | None] = {
        "ecs.ami-id": identity.get("imageId", "ami-moorage"),
        "ecs.availability-zone": zone,
        "ecs.cpu-architecture": {"arm64": "arm64"}.get(identity.get("architecture", ""), "x86_64"),
        "ecs.instance-type": identity.get("instanceType", "t3.medium"),
        "ecs.os-family": "LINUX",
        "ecs.os-type": "linux",
    }
    if not any(".capability." in name for name in given):
        found |= dict.fromkeys(CAPABILITIES)
    return found | dict(given) | {"ecs.availability-zone": zone}
