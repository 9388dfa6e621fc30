from __future__ import annotations

import gzip

from moorage.control.load_balancer_logs import DeliveredLogs
from moorage.domain.clock import Ids, SystemClock
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.store.log_memory import MemoryDisk, MemoryLog
from moorage.store.memory import Store
from moorage.store.tables import elbv2
from moorage.store.tables.elbv2 import LOAD_BALANCERS
from proxy.builders import a_load_balancer

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
