"""ECS task definitions as typed records that read and print exactly as the API shape (camelCase, absent stays absent).

Members that Moorage does not look into are plain JSON values. Source: semantics ecs-task-definitions §1, §3, §5.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

Json = dict[str, Any]


class _Shape(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True, kw_only=True):
    """An API shape: None means that the caller did not send the member, and it is not sent back."""


class KeyValue(_Shape, frozen=True):
    name: str | None = None
    value: str | None = None


class PortMapping(_Shape, frozen=True):
    container_port: int | None = None
    host_port: int | None = None
    protocol: str | None = None
    name: str | None = None
    app_protocol: str | None = None
    container_port_range: str | None = None


class Dependency(_Shape, frozen=True):
    container_name: str
    condition: Literal["START", "COMPLETE", "SUCCESS", "HEALTHY"]


class ContainerHealthCheck(_Shape, frozen=True):
    command: tuple[str, ...]
    interval: int | None = None
    timeout: int | None = None
    retries: int | None = None
    start_period: int | None = None


class LogConfiguration(_Shape, frozen=True):
    log_driver: str
    options: dict[str, str] | None = None
    secret_options: tuple[Json, ...] | None = None


class MountPoint(_Shape, frozen=True):
    source_volume: str | None = None
    container_path: str | None = None
    read_only: bool | None = None


class VolumeFrom(_Shape, frozen=True):
    source_container: str | None = None
    read_only: bool | None = None


class UlimitSetting(_Shape, frozen=True):
    name: str
    soft_limit: int
    hard_limit: int


class Secret(_Shape, frozen=True):
    name: str
    value_from: str


class ContainerDefinition(_Shape, frozen=True):
    name: str | None = None
    image: str | None = None
    repository_credentials: Json | None = None
    cpu: int | None = None
    memory: int | None = None
    memory_reservation: int | None = None
    links: tuple[str, ...] | None = None
    port_mappings: tuple[PortMapping, ...] | None = None
    essential: bool | None = None
    restart_policy: Json | None = None
    entry_point: tuple[str, ...] | None = None
    command: tuple[str, ...] | None = None
    environment: tuple[KeyValue, ...] | None = None
    environment_files: tuple[Json, ...] | None = None
    mount_points: tuple[MountPoint, ...] | None = None
    volumes_from: tuple[VolumeFrom, ...] | None = None
    linux_parameters: Json | None = None
    secrets: tuple[Secret, ...] | None = None
    depends_on: tuple[Dependency, ...] | None = None
    start_timeout: int | None = None
    stop_timeout: int | None = None
    version_consistency: str | None = None
    hostname: str | None = None
    user: str | None = None
    working_directory: str | None = None
    disable_networking: bool | None = None
    privileged: bool | None = None
    readonly_root_filesystem: bool | None = msgspec.field(default=None, name="readonlyRootFilesystem")
    dns_servers: tuple[str, ...] | None = None
    dns_search_domains: tuple[str, ...] | None = None
    extra_hosts: tuple[Json, ...] | None = None
    docker_security_options: tuple[str, ...] | None = None
    interactive: bool | None = None
    pseudo_terminal: bool | None = None
    docker_labels: dict[str, str] | None = None
    ulimits: tuple[UlimitSetting, ...] | None = None
    log_configuration: LogConfiguration | None = None
    health_check: ContainerHealthCheck | None = None
    system_controls: tuple[Json, ...] | None = None
    resource_requirements: tuple[Json, ...] | None = None
    firelens_configuration: Json | None = None
    credential_specs: tuple[str, ...] | None = None

    @property
    def is_essential(self) -> bool:
        return self.essential is not False

    @property
    def is_checked(self) -> bool:
        """Has it a health check? `["NONE"]` is none (ecs-task-definitions §4.3)."""
        return self.health_check is not None and self.health_check.command[:1] != ("NONE",)


class Volume(_Shape, frozen=True):
    name: str | None = None
    host: Json | None = None
    docker_volume_configuration: Json | None = None
    efs_volume_configuration: Json | None = None
    fsx_windows_file_server_volume_configuration: Json | None = None
    s3files_volume_configuration: Json | None = None
    configured_at_launch: bool | None = None


class Document(_Shape, frozen=True):
    """What the caller registers, with the defaults filled in that AWS writes back."""

    family: str
    container_definitions: tuple[ContainerDefinition, ...]
    task_role_arn: str | None = None
    execution_role_arn: str | None = None
    network_mode: str | None = None
    volumes: tuple[Volume, ...] = ()
    placement_constraints: tuple[Json, ...] = ()
    requires_compatibilities: tuple[str, ...] | None = None
    cpu: str | None = None
    memory: str | None = None
    pid_mode: str | None = None
    ipc_mode: str | None = None
    proxy_configuration: Json | None = None
    inference_accelerators: tuple[Json, ...] | None = None
    ephemeral_storage: Json | None = None
    runtime_platform: Json | None = None
    enable_fault_injection: bool | None = None

    def container(self, name: str) -> ContainerDefinition | None:
        return next((c for c in self.container_definitions if c.name == name), None)


class TaskDefinition(msgspec.Struct, frozen=True):
    """One immutable revision. `document` never changes; only the status and its dates do."""

    arn: str
    account: str
    region: str
    family: str
    revision: int
    document: Document
    compatibilities: tuple[str, ...]
    requires_attributes: tuple[str, ...]
    registered_at: float
    registered_by: str
    status: Literal["ACTIVE", "INACTIVE", "DELETE_IN_PROGRESS"] = "ACTIVE"
    deregistered_at: float | None = None
    delete_requested_at: float | None = None
    tags: Mapping[str, str] = {}


class Family(msgspec.Struct, frozen=True):
    """The revision counter of a family; it outlives every revision (a number is never used twice)."""

    account: str
    region: str
    name: str
    last_revision: int
