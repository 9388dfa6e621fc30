from __future__ import annotations

import msgspec
import pytest

from moorage.decide.elbv2_log_files import KINDS, LogKind, object_key, place, proof_of_delivery
from proxy.builders import a_load_balancer

ACCOUNT = "000000000000"


@pytest.mark.parametrize(
    ("kind", "name", "test"),
    [
        ("access_logs", "", "ELBAccessLogTestFile"),
        ("connection_logs", "conn_log_", "ELBConnectionLogTestFile"),
        ("health_check_logs", "health_check_log_", "ELBHealthCheckLogTestFile"),
    ],
)
def test_keys(kind: LogKind, name: str, test: str) -> None:
    balancer = a_load_balancer(**{f"{kind}__s3__prefix": "my/prefix/"})
    assert object_key(balancer, kind, ended_at=1700000000, random="20sg8hgm") == (
        f"my/prefix/AWSLogs/{ACCOUNT}/elasticloadbalancing/us-east-1/2023/11/14/{name}{ACCOUNT}_elasticloadbalancing_"
        "us-east-1_app.web.50dc6c495c0c9188_20231114T2213Z_127.83.0.1_20sg8hgm.log.gz"
    )
    key, text = proof_of_delivery(a_load_balancer(), kind, at=1700000000)
    assert key == f"AWSLogs/{ACCOUNT}/{test}"
    assert text == f"Enable {test[3:-8]} for ELB: web at 2023-11-14T22:13:20.000000Z"


def test_files_of_network_load_balancers_name_no_node() -> None:
    net = msgspec.structs.replace(a_load_balancer("db"), type="network", full_name="net/db/50dc6c495c0c9188")
    key = object_key(net, "access_logs", ended_at=1700000000, random="ab")
    assert key.endswith(f"/{ACCOUNT}_elasticloadbalancing_us-east-1_net.db.50dc6c495c0c9188_20231114T2213Z_ab.log.gz")


def test_a_place_only_where_logs_are_on() -> None:
    on = a_load_balancer(connection_logs__s3__enabled="true", connection_logs__s3__bucket="logs")
    assert [place(on, kind) for kind in KINDS] == [None, ("logs", ""), None]
