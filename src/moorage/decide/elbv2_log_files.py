"""Where the logs of load balancers go in their buckets: three kinds, whose files and test files AWS names differently.
Pure. Source: semantics elbv2 §4 (attributes), §10; the names of connection and health check logs from AWS's guide.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Literal, get_args

from moorage.domain.load_balancer import LoadBalancer

LogKind = Literal["access_logs", "connection_logs", "health_check_logs"]
KINDS: tuple[LogKind, ...] = get_args(LogKind)
_FILES = {"access_logs": "", "connection_logs": "conn_log_", "health_check_logs": "health_check_log_"}
_NAMES = {"access_logs": "AccessLog", "connection_logs": "ConnectionLog", "health_check_logs": "HealthCheckLog"}


def is_on(balancer: LoadBalancer, kind: LogKind) -> bool:
    return balancer.attributes.get(f"{kind}.s3.enabled") == "true"


def place(balancer: LoadBalancer, kind: LogKind) -> tuple[str, str] | None:
    """(bucket, prefix); None when these logs are off."""
    if not is_on(balancer, kind):
        return None
    attributes = balancer.attributes
    return attributes.get(f"{kind}.s3.bucket", ""), attributes.get(f"{kind}.s3.prefix", "")


def object_key(balancer: LoadBalancer, kind: LogKind, *, ended_at: float, random: str) -> str:
    """Where a file of lines that end at `ended_at` (epoch seconds) belongs in its bucket. Files of network load balancers
    do not name the node."""
    ended = datetime.fromtimestamp(ended_at, UTC)
    account, region, name = balancer.account, balancer.region, balancer.full_name.replace("/", ".")
    node = "" if balancer.type == "network" else f"_{balancer.loopback}"
    return (
        f"{_folder(balancer, kind)}elasticloadbalancing/{region}/{ended:%Y/%m/%d}/"
        f"{_FILES[kind]}{account}_elasticloadbalancing_{region}_{name}_{ended:%Y%m%dT%H%MZ}{node}_{random}.log.gz"
    )


def proof_of_delivery(balancer: LoadBalancer, kind: LogKind, *, at: float) -> tuple[str, str]:
    """(key, text) of AWS's proof that a bucket takes logs."""
    moment = datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    text = f"Enable {_NAMES[kind]} for ELB: {balancer.name} at {moment}"
    return f"{_folder(balancer, kind)}ELB{_NAMES[kind]}TestFile", text


def _folder(balancer: LoadBalancer, kind: LogKind) -> str:
    prefix = balancer.attributes.get(f"{kind}.s3.prefix", "").strip("/")
    return f"{prefix + '/' if prefix else ''}AWSLogs/{balancer.account}/"
