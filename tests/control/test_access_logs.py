from __future__ import annotations

import gzip

from moorage.control.access_logs import AccessLogs
from moorage.domain.clock import Ids, SystemClock
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
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
    logs = AccessLogs(SystemClock(), Ids(seed=1), bucket.put)
    balancer = a_load_balancer(**LOGGED)
    logs.take(balancer, "one")
    logs.take(balancer, "two")
    await logs.close()
    ((key, body),) = bucket.objects.items()
    assert key.startswith("logs/web/AWSLogs/000000000000/elasticloadbalancing/us-east-1/")
    assert gzip.decompress(body) == b"one\ntwo\n"
    await logs.deliver()
    assert len(bucket.objects) == 1


async def test_only_where_it_is_on() -> None:
    bucket = Bucket()
    logs = AccessLogs(SystemClock(), Ids(seed=1), bucket.put)
    logs.take(a_load_balancer(), "one")
    await logs.deliver()
    assert bucket.objects == {}


async def test_what_a_bucket_refuses_is_kept_for_the_next_time() -> None:
    bucket = Bucket()
    logs = AccessLogs(SystemClock(), Ids(seed=1), bucket.put)
    bucket.refusing = True
    logs.take(a_load_balancer(**LOGGED), "one")
    await logs.deliver()
    logs.take(a_load_balancer(**LOGGED), "two")
    bucket.refusing = False
    await logs.deliver()
    (body,) = bucket.objects.values()
    assert gzip.decompress(body) == b"one\ntwo\n"
