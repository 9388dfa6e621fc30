"""Logs of load balancers: which lines go where, and how they are delivered."""

from __future__ import annotations

import gzip

import msgspec

from moorage.control.load_balancer_logs import DeliveredLogs, LoadBalancerLogs
from moorage.domain.clock import Ids, SystemClock
from moorage.domain.connection_record import ConnectionRecord
from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import TargetGroupUse
from moorage.domain.request_record import RequestRecord
from moorage.domain.scope import Scope
from moorage.domain.target_group import ProbeResult, Target
from moorage.store.log_memory import MemoryDisk, MemoryLog
from moorage.store.memory import Store
from moorage.store.tables import elbv2
from moorage.store.tables.elbv2 import LOAD_BALANCERS, TARGET_GROUP_USES
from proxy.builders import PREFIX, a_load_balancer, a_target_group

LOGGED = {"access_logs__s3__enabled": "true", "access_logs__s3__bucket": "logs", "access_logs__s3__prefix": "web"}


class Bucket:
    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.refusing = False

    async def put(self, scope: Scope, bucket: str, key: str, body: bytes) -> None:
        if self.refusing:
            raise AwsError("NoSuchBucket", "The specified bucket does not exist")
        self.objects[f"{bucket}/{key}"] = body


async def test_lines_become_one_object() -> None:
    bucket = Bucket()
    logs = DeliveredLogs(SystemClock(), Ids(seed=1), bucket.put)
    balancer = a_load_balancer(**LOGGED)
    logs.take(balancer, "access_logs", "one")
    logs.take(balancer, "access_logs", "two")
    await logs.close()
    ((key, body),) = bucket.objects.items()
    assert key.startswith("logs/web/AWSLogs/000000000000/elasticloadbalancing/us-east-1/")
    assert gzip.decompress(body) == b"one\ntwo\n"
    await logs.deliver()
    assert len(bucket.objects) == 1


async def test_only_where_it_is_on() -> None:
    bucket = Bucket()
    logs = DeliveredLogs(SystemClock(), Ids(seed=1), bucket.put)
    logs.take(a_load_balancer(), "access_logs", "one")
    await logs.deliver()
    assert bucket.objects == {}


async def test_what_a_bucket_refuses_is_kept_for_the_next_time() -> None:
    bucket = Bucket()
    logs = DeliveredLogs(SystemClock(), Ids(seed=1), bucket.put)
    bucket.refusing = True
    logs.take(a_load_balancer(**LOGGED), "access_logs", "one")
    await logs.deliver()
    logs.take(a_load_balancer(**LOGGED), "access_logs", "two")
    bucket.refusing = False
    await logs.deliver()
    (body,) = bucket.objects.values()
    assert gzip.decompress(body) == b"one\ntwo\n"


async def test_a_test_file_is_written_when_logs_are_switched_on() -> None:
    store = await Store.open(MemoryLog(MemoryDisk()), elbv2.TABLES)
    bucket = Bucket()
    logs = DeliveredLogs(SystemClock(), Ids(seed=1), bucket.put)
    logs.watch(store)

    async def put(**attributes: str) -> None:
        await store.update(lambda tx: tx.put(LOAD_BALANCERS, a_load_balancer(**attributes)))

    await put()
    await put(**LOGGED)
    await put(**LOGGED, idle_timeout__timeout_seconds="5")
    await logs.close()
    ((key, text),) = bucket.objects.items()
    assert key == "logs/web/AWSLogs/000000000000/ELBAccessLogTestFile"
    assert text.startswith(b"Enable AccessLog for ELB: web at 20")


async def test_a_bucket_that_is_not_there_is_only_a_warning() -> None:
    store = await Store.open(MemoryLog(MemoryDisk()), elbv2.TABLES)
    bucket = Bucket()
    bucket.refusing = True
    logs = DeliveredLogs(SystemClock(), Ids(seed=1), bucket.put)
    logs.watch(store)
    await store.update(lambda tx: tx.put(LOAD_BALANCERS, a_load_balancer(**LOGGED)))
    await logs.close()
    assert bucket.objects == {}


async def test_every_kind_has_its_own_file() -> None:
    bucket = Bucket()
    logs = DeliveredLogs(SystemClock(), Ids(seed=1), bucket.put)
    both = a_load_balancer(**LOGGED, connection_logs__s3__enabled="true", connection_logs__s3__bucket="other")
    logs.take(both, "access_logs", "one")
    logs.take(both, "connection_logs", "two")
    logs.take(both, "health_check_logs", "three")
    await logs.close()
    found = {key.split("/")[0]: (key.rpartition("/")[2], gzip.decompress(body)) for key, body in bucket.objects.items()}
    assert found["logs"][0].startswith("000000000000_elasticloadbalancing_")
    assert found["logs"][1] == b"one\n"
    assert found["other"][0].startswith("conn_log_000000000000_elasticloadbalancing_")
    assert found["other"][1] == b"two\n"
    assert len(found) == 2


# === which lines there are =============================================================================================

CONNECTIONS = {"connection_logs__s3__enabled": "true", "connection_logs__s3__bucket": "logs"}
CHECKS = {"health_check_logs__s3__enabled": "true", "health_check_logs__s3__bucket": "logs"}
NET = msgspec.structs.replace(
    a_load_balancer(**LOGGED), arn=f"{PREFIX}loadbalancer/net/db/1", type="network", full_name="net/db/1"
)
REQUEST = RequestRecord(1.0, "192.0.2.1:9", 8080, "HTTP/1.1", "GET", "h", "/", 200, 0.1, connection_id=1)
FLOW = ConnectionRecord(f"{NET.arn}:443", "TLS", "begin", 1.0, 0.007, "192.0.2.1:9", "127.0.0.1:443", 5)


class Lines:
    """A `LoadBalancerLogs` and what it wrote."""

    def __init__(self) -> None:
        self.bucket = Bucket()

    async def __aenter__(self) -> Lines:
        self.store = await Store.open(MemoryLog(MemoryDisk()), elbv2.TABLES)
        self.delivered = DeliveredLogs(SystemClock(), Ids(seed=1), self.bucket.put)
        self.logs = LoadBalancerLogs(
            self.store, self.delivered, access_line=lambda record: f"access {record.path}", api_port=lambda port: 80
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.store.close()

    async def written(self) -> list[str]:
        await self.delivered.deliver()
        return [line for body in self.bucket.objects.values() for line in gzip.decompress(body).decode().splitlines()]


async def test_a_plain_connection_has_one_line_however_many_requests_it_carries() -> None:
    balancer = a_load_balancer(**CONNECTIONS)
    async with Lines() as lines:
        for number in (1, 1, 2):
            lines.logs.request(balancer, msgspec.structs.replace(REQUEST, connection_id=number))
        lines.logs.request(balancer, msgspec.structs.replace(REQUEST, connection_id=3, tls_version="TLSv1.3"))
        lines.logs.request(a_load_balancer(), msgspec.structs.replace(REQUEST, connection_id=4))
        written = await lines.written()
    assert [line.split(" ")[1:4] for line in written] == [["192.0.2.1", "9", "80"]] * 2


async def test_connections_stand_in_the_order_in_which_they_began() -> None:
    balancer = a_load_balancer(**CONNECTIONS)
    ended = msgspec.structs.replace(FLOW, listener=f"{balancer.arn}:443", protocol="HTTPS", event="end", handshake=0.1)
    async with Lines() as lines:
        for at in (2.0, 1.0):
            lines.logs.connection(balancer, msgspec.structs.replace(ended, at=at))
        lines.logs.request(balancer, msgspec.structs.replace(REQUEST, at=1.5))
        written = await lines.written()
    assert [line[17:21] for line in written] == ["01.1", "01.5", "02.1"]


async def test_a_https_connection_has_its_line_when_it_ends() -> None:
    ended = msgspec.structs.replace(FLOW, listener=f"{a_load_balancer().arn}:443", protocol="HTTPS", event="end")
    async with Lines() as lines:
        lines.logs.connection(a_load_balancer(**CONNECTIONS), ended)
        lines.logs.connection(a_load_balancer(), ended)
        (line,) = await lines.written()
    assert line.split(" ")[3] == "443"
    assert "Failed:UnmappedConnectionError" in line


async def test_only_tls_flows_have_access_logs_and_the_beginning_tells_how_long_tls_took() -> None:
    async with Lines() as lines:
        for protocol in ("TCP", "TLS"):
            for event in ("begin", "during", "end"):
                flow = msgspec.structs.replace(FLOW, protocol=protocol, event=event, target="10.0.0.7:80")
                lines.logs.connection(NET, msgspec.structs.replace(flow, duration=0.5) if event == "end" else flow)
        (line,) = await lines.written()
    fields = line.split(" ")
    assert fields[:2] == ["tls", "2.0"]
    assert fields[7:9] == ["500", "7"]


async def test_every_check_of_a_group_behind_the_load_balancer_has_a_line() -> None:
    balancer, group = a_load_balancer(**CHECKS), a_target_group("web")
    target = Target(group.arn, "10.0.0.7", 80, "us-east-1a", registered_at=1.0)
    use = TargetGroupUse(user_arn="listener", target_group_arn=group.arn, load_balancer_arn=balancer.arn)
    async with Lines() as lines:
        await lines.store.update(lambda tx: (tx.put(LOAD_BALANCERS, balancer), tx.put(TARGET_GROUP_USES, use)))
        lines.logs.check(target, group, ProbeResult("answered", 200), 1.0, 1.25)
        lines.logs.check(target, a_target_group("other"), ProbeResult("answered", 200), 1.0, 1.25)
        (line,) = await lines.written()
    assert line.startswith("http 1970-01-01T00:00:01.000000Z 0.250000000 10.0.0.7:80 web PASS 200 - app/web/")
