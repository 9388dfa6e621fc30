"""Logs of load balancers, switched on, written and read back from S3 by real clients."""

from __future__ import annotations

import gzip
import http.client
import http.server
import json
import os
import shlex
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moorage.cli.instance import running
from moorage.proxy.envoy.connection_log import MARK

from .server import Server
from .waiting import until

pytestmark = pytest.mark.docker

PLAIN, SECURE, NETWORK = 18080, 18443, 18444
BUCKET = "load-balancer-logs"
POLICY = {
    "Version": "2012-10-17",
    "Statement": [
        {
            "Effect": "Allow",
            "Principal": {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"},
            "Action": "s3:PutObject",
            "Resource": f"arn:aws:s3:::{BUCKET}/*",
        }
    ],
}


class _Quiet(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def target() -> Iterator[int]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Quiet) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


class Logged:
    """An application and a network load balancer, all their logs on, before one target on this machine."""

    def __init__(self, server: Server, target: int) -> None:
        self.elb, self.s3 = server.client("elbv2"), server.client("s3")
        self.s3.create_bucket(Bucket=BUCKET, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
        self.s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps(POLICY))
        vpc, subnets = server.network
        acm = server.client("acm")
        certificate = acm.request_certificate(DomainName="*.example.com")["CertificateArn"]
        self.app = self._balancer("logged", "application", subnets)
        self.net = self._balancer("tunnel", "network", subnets)
        for kind, arn in (
            ("access_logs", self.app), ("connection_logs", self.app), ("health_check_logs", self.app),
            ("access_logs", self.net),
        ):  # fmt: skip
            switched = {"enabled": "true", "bucket": BUCKET, "prefix": kind}
            given = [{"Key": f"{kind}.s3.{key}", "Value": value} for key, value in switched.items()]
            self.elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=given)
        http = self._group("http", "HTTP", target, vpc)
        tcp = self._group("tcp", "TCP", target, vpc)
        self._listener(self.app, "HTTP", PLAIN, http)
        self._listener(self.app, "HTTPS", SECURE, http, certificate)
        self._listener(self.net, "TLS", NETWORK, tcp, certificate)
        waiter = self.elb.get_waiter("target_in_service")
        for group in (http, tcp):
            waiter.wait(TargetGroupArn=group, WaiterConfig={"Delay": 1, "MaxAttempts": 30})

    def _balancer(self, name: str, kind: str, subnets: list[str]) -> str:
        made = self.elb.create_load_balancer(Name=name, Type=kind, Subnets=subnets, Scheme="internal")
        return str(made["LoadBalancers"][0]["LoadBalancerArn"])

    def _group(self, name: str, protocol: str, port: int, vpc: str) -> str:
        made = self.elb.create_target_group(Name=name, Protocol=protocol, Port=port, VpcId=vpc, TargetType="ip")
        arn = str(made["TargetGroups"][0]["TargetGroupArn"])
        self.elb.register_targets(TargetGroupArn=arn, Targets=[{"Id": "127.0.0.1", "Port": port}])
        return arn

    def _listener(self, balancer: str, protocol: str, port: int, group: str, certificate: str | None = None) -> None:
        secured = {"Certificates": [{"CertificateArn": certificate}]} if certificate else {}
        self.elb.create_listener(
            LoadBalancerArn=balancer, Protocol=protocol, Port=port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": group}], **secured,
        )  # fmt: skip

    def name(self, arn: str) -> str:
        found = self.elb.describe_load_balancers(LoadBalancerArns=[arn])["LoadBalancers"][0]
        return str(found["DNSName"])

    def keys(self) -> list[str]:
        return [one["Key"] for one in self.s3.list_objects_v2(Bucket=BUCKET).get("Contents", [])]

    def lines(self, prefix: str, name: str) -> list[list[str]]:
        """The fields of the lines under a prefix, of files with a name."""
        bodies = [
            gzip.decompress(self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()).decode()
            for key in self.keys()
            if key.startswith(f"{prefix}/AWSLogs/000000000000/elasticloadbalancing/eu-west-1/") and name in key
        ]
        return [shlex.split(line) for body in bodies for line in body.splitlines()]


def ask(host: str, port: int, context: ssl.SSLContext | None = None, times: int = 1) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.connect()
    if context is not None:
        connection.sock = context.wrap_socket(connection.sock, server_hostname=host)
    for _ in range(times):
        connection.request("GET", "/", headers={"Host": host})
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (200, b"ok")
    connection.close()


def connection_lines(server: Server) -> list[bytes]:
    written = (Path(server.data_dir) / "envoy/requests.log").read_bytes()
    return [line for line in written.splitlines() if line.startswith(MARK)]


def restart(server: Server) -> None:
    """As a service manager does it: the control plane leaves in peace, load balancers serve on."""
    os.kill(server.instance.pid, signal.SIGTERM)
    until(lambda: running(server.data_dir) is None, "the control plane has left")
    server.up()


def test_logs_are_delivered_when_moorage_stops(own_server: Server, target: int) -> None:
    logged = Logged(own_server, target)
    tests = {
        "access_logs/AWSLogs/000000000000/ELBAccessLogTestFile",
        "connection_logs/AWSLogs/000000000000/ELBConnectionLogTestFile",
        "health_check_logs/AWSLogs/000000000000/ELBHealthCheckLogTestFile",
    }
    until(lambda: set(logged.keys()) == tests, "the test files are there")
    trusting = ssl.create_default_context(cafile=str(Path(own_server.data_dir) / "authority" / "root.pem"))
    trusting.check_hostname = False
    app, net = logged.name(logged.app), logged.name(logged.net)
    ask(app, PLAIN, times=2)
    ask(app, SECURE, trusting)
    ask(net, NETWORK, trusting)
    with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", SECURE)) as line:
        ssl.create_default_context().wrap_socket(line, server_hostname=app)
    told = ["requests", "--format", "aws", "logged"]
    until(lambda: len(own_server.moor(*told).splitlines()) >= 3, "the requests are known")
    # The proxy writes a moment late, and not in the order of the requests.
    for last in (b"TcpConnectionEnd", b"TLS_error"):
        until(lambda last=last: any(last in line for line in connection_lines(own_server)), f"{last!r} is written down")

    restart(own_server)
    access = logged.lines("access_logs", "app.logged.")
    assert [(line[0], line[8]) for line in access] == [("http", "200"), ("http", "200"), ("https", "200")]
    connections = logged.lines("connection_logs", "/conn_log_000000000000_")
    assert [(line[3], line[10]) for line in connections] == [
        (str(PLAIN), "-"), (str(SECURE), "Success"), (str(SECURE), "Failed:UnmappedConnectionError"),
    ]  # fmt: skip
    assert [line[29] for line in access] == [connections[0][11]] * 2 + [connections[1][11]]
    flows = logged.lines("access_logs", "net.tunnel.")
    assert [line[0] for line in flows] == ["tls"]
    assert flows[0][17] == net
    checks = logged.lines("health_check_logs", "/health_check_log_000000000000_")
    assert {(line[0], line[3], line[5]) for line in checks} == {("http", f"127.0.0.1:{target}", "PASS")}

    # what was delivered before is remembered, and not delivered again
    ask(app, PLAIN)
    until(lambda: len(own_server.moor(*told).splitlines()) == 4, "the request is known")
    restart(own_server)
    assert len(logged.lines("access_logs", "app.logged.")) == len(access) + 1
