"""Which endpoints Envoy passes over because they fail more than the others of their target group (anomaly mitigation)."""

from __future__ import annotations

import msgspec


class _SocketAddress(msgspec.Struct, frozen=True):
    address: str
    port_value: int


class _Address(msgspec.Struct, frozen=True):
    socket_address: _SocketAddress | None = None


class _HealthStatus(msgspec.Struct, frozen=True):
    failed_outlier_check: bool = False


class _Host(msgspec.Struct, frozen=True):
    address: _Address = _Address()
    health_status: _HealthStatus = _HealthStatus()


class _Cluster(msgspec.Struct, frozen=True):
    name: str
    host_statuses: tuple[_Host, ...] = ()


class _Clusters(msgspec.Struct, frozen=True):
    cluster_statuses: tuple[_Cluster, ...] = ()


def passed_over(told: bytes, target_group_arn: str) -> frozenset[tuple[str, int]]:
    """`told`: Envoy's answer to /clusters?format=json. Answers (address, port); nothing when it cannot be read."""
    try:
        clusters = msgspec.json.decode(told, type=_Clusters).cluster_statuses
    except msgspec.DecodeError:
        return frozenset()
    return frozenset(
        (place.address, place.port_value)
        for cluster in clusters
        if cluster.name == target_group_arn
        for host in cluster.host_statuses
        if host.health_status.failed_outlier_check and (place := host.address.socket_address) is not None
    )
