"""Who calls, and where, as far as a request says it."""

from __future__ import annotations

import asyncio

import pytest
from multidict import CIMultiDict

from moorage.gateway.credentials import Credentials, read_credentials
from moorage.wire.messages import WireRequest

from .raw import ecs_headers, raw, signed
from .toys import Recorder, client, running


def request(query: str = "", **headers: str) -> WireRequest:
    return WireRequest("GET", "/", query, CIMultiDict(headers), b"")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            request(
                Authorization="AWS4-HMAC-SHA256 Credential=AKID/20260101/eu-west-1/ecs/aws4_request, SignedHeaders=h"
            ),
            Credentials("AKID", "eu-west-1", "ecs"),
        ),
        (
            request(Authorization="AWS4-HMAC-SHA256 Credential=a/b/20260101/r/s3/aws4_request"),
            Credentials("a/b", "r", "s3"),
        ),
        (
            request(Authorization="AWS4-ECDSA-P256-SHA256 Credential=AKID/20260101/s3/aws4_request,x"),
            Credentials("AKID", "", "s3"),
        ),
        (
            request("X-Amz-Credential=AKID%2F20260101%2Feu-west-1%2Fs3%2Faws4_request"),
            Credentials("AKID", "eu-west-1", "s3"),
        ),
        (request("AWSAccessKeyId=AKID&Signature=x"), Credentials("AKID", service="s3")),
        (request(Authorization="AWS AKID:signature"), Credentials("AKID", service="s3")),
        (request(Authorization="AWS4-HMAC-SHA256 Credential="), Credentials()),
        (request(Authorization="Bearer x"), Credentials()),
        (request(Authorization=""), Credentials()),
        (request("X-Amz-Credential"), Credentials()),
        (request(), Credentials()),
    ],
)
def test_a_signature_is_read(given: WireRequest, expected: Credentials) -> None:
    assert read_credentials(given) == expected


async def identity_seen(key: str, **settings: str) -> tuple[str, str, str]:
    provider = Recorder("ecs", {"ListClusters": {}})
    async with running(provider, **settings) as gateway:
        await asyncio.to_thread(client("ecs", gateway, account=key, region="ap-southeast-2").list_clusters)
        context = provider.asked[0][0]
        return context.account, context.region, context.principal_arn


async def test_a_twelve_digit_key_names_the_account() -> None:
    assert await identity_seen("123456789012") == ("123456789012", "ap-southeast-2", "arn:aws:iam::123456789012:root")


async def test_other_keys_belong_to_the_configured_account() -> None:
    assert (await identity_seen("AKIAIOSFODNN7EXAMPLE", account="999999999999"))[0] == "999999999999"


async def test_a_region_that_is_none_is_not_used() -> None:
    provider = Recorder("ecs", {"ListClusters": {}})
    async with running(provider, region="eu-north-1") as gateway, raw(gateway) as http:
        for region in ("../..", "*", "x" * 40, ""):
            headers = {**ecs_headers("ListClusters"), **signed(region=region)}
            assert (await http.send(headers=headers, data=b"{}")).status == 200
        assert {context.region for context, _ in provider.asked} == {"eu-north-1"}


async def test_a_session_of_our_own_sts_names_its_principal() -> None:
    class Sessions:
        def session_of(self, access_key_id: str, session_token: str) -> tuple[str, str] | None:
            return ("111122223333", "arn:aws:sts::111122223333:assumed-role/r/s") if access_key_id == "ASIA1" else None

    provider = Recorder("ecs", {"ListClusters": {}})
    async with running(provider) as gateway:
        gateway.set_session_lookup(Sessions())
        for key in ("ASIA1", "ASIA2"):
            await asyncio.to_thread(client("ecs", gateway, account=key).list_clusters)
        assert [context.account for context, _ in provider.asked] == ["111122223333", "000000000000"]
        assert provider.asked[0][0].principal_arn.endswith("assumed-role/r/s")
