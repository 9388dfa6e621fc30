"""Services that are served elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import cbor2

from moorage.domain.errors import AwsError
from moorage.services.base import RequestContext

from .raw import raw, signed
from .toys import Recorder, ToyEcs, running


class Elsewhere:
    def __init__(self) -> None:
        self.seen: list[tuple[Any, ...]] = []
        self.contexts: list[RequestContext] = []
        self.refusal: AwsError | None = None

    async def __call__(
        self, service: str, context: RequestContext, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        self.contexts.append(context)
        self.seen.append((service, context.account, context.region, method, path, headers.get("Host", ""), body))
        if self.refusal is not None:
            raise self.refusal
        return 203, {"Content-Type": "text/plain", "Content-Length": "9", "ETag": "e"}, b"elsewhere"


async def test_a_request_is_handed_on_as_it_came() -> None:
    elsewhere = Elsewhere()
    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        gateway.add_fallback(elsewhere)
        answer = await http.send(
            "PUT", "/bucket/a%20b?x=%2F", headers=signed("s3", "eu-west-3", "123456789012"), data=b"body"
        )
        assert (answer.status, answer.text, answer.headers["ETag"]) == (203, "elsewhere", "e")
        host = f"127.0.0.1:{gateway.port}"
        assert elsewhere.seen == [("s3", "123456789012", "eu-west-3", "PUT", "/bucket/a%20b?x=%2F", host, b"body")]
        answer = await http.send("HEAD", "/bucket/key", headers=signed("s3"))
        assert (answer.status, answer.body, answer.headers["Content-Length"]) == (203, b"", "9")


async def test_a_bucket_in_the_host_name_moves_into_the_path() -> None:
    elsewhere = Elsewhere()
    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        gateway.add_fallback(elsewhere)
        await http.send("GET", "/key", headers={**signed("s3"), "Host": "bucket.s3.localhost:4566"})
        assert elsewhere.seen[0][4:6] == ("/bucket/key", "s3.localhost:4566")


async def test_our_own_service_is_not_handed_on_unless_it_is_mixed() -> None:
    elsewhere = Elsewhere()
    async with running(ToyEcs(), Recorder("logs", {"DescribeLogGroups": {}})) as gateway, raw(gateway) as http:
        gateway.add_fallback(elsewhere, mixed={"logs"})
        assert "does not implement ecs:CreateDaemon" in (await http.ecs("CreateDaemon")).text
        headers = {"Content-Type": "application/x-amz-json-1.1", **signed("logs")}
        await http.send(headers={**headers, "X-Amz-Target": "Logs_20140328.PutRetentionPolicy"}, data=b"{}")
        await http.send(headers={**headers, "X-Amz-Target": "Logs_20140328.DescribeLogGroups"}, data=b"{}")
        assert [
            (seen[0], context.operation) for seen, context in zip(elsewhere.seen, elsewhere.contexts, strict=True)
        ] == [("logs", "PutRetentionPolicy")]


async def test_only_the_services_that_it_serves() -> None:
    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        gateway.add_fallback(Elsewhere(), services={"sts"})
        answer = await http.send("GET", "/2015-03-31/functions", headers=signed("lambda"))
        assert "does not implement lambda:ListFunctions" in answer.text


async def test_its_refusal_is_worded_in_the_callers_protocol() -> None:
    elsewhere = Elsewhere()
    elsewhere.refusal = AwsError("UnsupportedOperation", "not here")
    async with running(ToyEcs()) as gateway, raw(gateway) as http:
        gateway.add_fallback(elsewhere)
        path = "/service/GraniteServiceVersion20100801/operation/PutMetricData"
        headers = {"smithy-protocol": "rpc-v2-cbor", **signed("monitoring")}
        answer = await http.send("POST", path, headers=headers, data=cbor2.dumps({}))
        assert cbor2.loads(answer.body) == {"__type": "UnsupportedOperation", "message": "not here"}
