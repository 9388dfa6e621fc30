"""Trust stores and mutual authentication of listeners, through the provider."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.domain.scope import Scope
from proxy.certificates import Root

from .rig import Rig, certificate, fixed

ROOT = Root()
CLIENTS = ROOT.issue("client")


class Objects:
    """S3: bucket "b"."""

    def __init__(self) -> None:
        self.held = {
            ("ca.pem", None): ROOT.pem,
            ("ca.pem", "2"): ROOT.pem + Root().pem,
            ("nonsense", None): b"hello",
            ("crl.pem", None): ROOT.revoke(CLIENTS),
        }

    async def read(self, scope: Scope, bucket: str, key: str, version: str | None = None) -> bytes | None:
        return self.held.get((key, version)) if bucket == "b" else None


class Downloads:
    def offer(self, content: bytes) -> str:
        return f"http://localhost/{len(content)}"


@pytest.fixture
def trusting(elb: Rig) -> Rig:
    elb.provider.objects, elb.provider.downloads = Objects(), Downloads()
    return elb


async def create(elb: Rig, name: str = "clients", **params: Any) -> dict[str, Any]:
    given = {"CaCertificatesBundleS3Bucket": "b", "CaCertificatesBundleS3Key": "ca.pem", **params}
    return (await elb.call("CreateTrustStore", Name=name, **given))["TrustStores"][0]


async def secure(elb: Rig, owner: str, **mutual: Any) -> dict[str, Any]:
    answer = await elb.call(
        "CreateListener",
        LoadBalancerArn=owner,
        Protocol="HTTPS",
        Port=443,
        Certificates=[{"CertificateArn": certificate("one")}],
        DefaultActions=[fixed()],
        MutualAuthentication=mutual,
    )
    return answer["Listeners"][0]


async def test_life_of_a_trust_store(trusting: Rig) -> None:
    made = await create(trusting)
    arn = made["TrustStoreArn"]
    assert made == {
        "Name": "clients",
        "TrustStoreArn": arn,
        "Status": "ACTIVE",
        "NumberOfCaCertificates": 1,
        "TotalRevokedEntries": 0,
    }
    assert (await trusting.call("DescribeTrustStores"))["TrustStores"] == [made]
    changed = await trusting.call(
        "ModifyTrustStore",
        TrustStoreArn=arn,
        CaCertificatesBundleS3Bucket="b",
        CaCertificatesBundleS3Key="ca.pem",
        CaCertificatesBundleS3ObjectVersion="2",
    )
    assert changed["TrustStores"][0]["NumberOfCaCertificates"] == 2
    location = await trusting.call("GetTrustStoreCaCertificatesBundle", TrustStoreArn=arn)
    assert location["Location"].startswith("http")
    await trusting.call("AddTags", ResourceArns=[arn], Tags=[{"Key": "a", "Value": "b"}])
    tagged = await trusting.call("DescribeTags", ResourceArns=[arn])
    assert tagged["TagDescriptions"][0]["Tags"] == [{"Key": "a", "Value": "b"}]
    await trusting.call("DeleteTrustStore", TrustStoreArn=arn)
    assert (await trusting.refused("DescribeTrustStores", TrustStoreArns=[arn])).code == "TrustStoreNotFound"


async def test_revocation_lists(trusting: Rig) -> None:
    arn = (await create(trusting))["TrustStoreArn"]
    content = {"S3Bucket": "b", "S3Key": "crl.pem", "RevocationType": "CRL"}
    added = await trusting.call("AddTrustStoreRevocations", TrustStoreArn=arn, RevocationContents=[content, content])
    assert [(one["RevocationId"], one["NumberOfRevokedEntries"]) for one in added["TrustStoreRevocations"]] == [
        (1, 1),
        (2, 1),
    ]
    assert (await trusting.call("DescribeTrustStores", Names=["clients"]))["TrustStores"][0]["TotalRevokedEntries"] == 2
    await trusting.call("RemoveTrustStoreRevocations", TrustStoreArn=arn, RevocationIds=[1])
    left = await trusting.call("DescribeTrustStoreRevocations", TrustStoreArn=arn)
    assert [one["RevocationId"] for one in left["TrustStoreRevocations"]] == [2]
    again = await trusting.call("AddTrustStoreRevocations", TrustStoreArn=arn, RevocationContents=[content])
    assert again["TrustStoreRevocations"][0]["RevocationId"] == 3, "ids are not used again"
    gone = await trusting.refused("GetTrustStoreRevocationContent", TrustStoreArn=arn, RevocationId=1)
    assert gone.code == "RevocationIdNotFound"


@pytest.mark.parametrize(
    ("params", "code"),
    [
        ({"CaCertificatesBundleS3Key": "nowhere"}, "CaCertificatesBundleNotFound"),
        ({"CaCertificatesBundleS3Bucket": "other"}, "CaCertificatesBundleNotFound"),
        ({"CaCertificatesBundleS3Key": "nonsense"}, "InvalidCaCertificatesBundle"),
        ({"Name": "-x"}, "ValidationError"),
        ({"Name": "clients"}, "DuplicateTrustStoreName"),
    ],
)
async def test_refusals(trusting: Rig, params: dict[str, Any], code: str) -> None:
    await create(trusting)
    given = {
        "Name": "other",
        "CaCertificatesBundleS3Bucket": "b",
        "CaCertificatesBundleS3Key": "ca.pem",
        **params,
    }
    assert (await trusting.refused("CreateTrustStore", **given)).code == code
    assert len((await trusting.call("DescribeTrustStores"))["TrustStores"]) == 1


async def test_a_listener_that_verifies_holds_its_trust_store(trusting: Rig) -> None:
    arn = (await create(trusting))["TrustStoreArn"]
    owner = (await trusting.load_balancer())["LoadBalancerArn"]
    listener = await secure(trusting, owner, Mode="verify", TrustStoreArn=arn, IgnoreClientCertificateExpiry=True)
    assert listener["MutualAuthentication"] == {
        "Mode": "verify",
        "TrustStoreArn": arn,
        "IgnoreClientCertificateExpiry": True,
        "TrustStoreAssociationStatus": "active",
        "AdvertiseTrustStoreCaNames": "off",
    }
    users = await trusting.call("DescribeTrustStoreAssociations", TrustStoreArn=arn)
    assert users["TrustStoreAssociations"] == [{"ResourceArn": owner}]
    assert (await trusting.refused("DeleteTrustStore", TrustStoreArn=arn)).code == "TrustStoreInUse"
    changed = await trusting.call(
        "ModifyListener", ListenerArn=listener["ListenerArn"], MutualAuthentication={"Mode": "off"}
    )
    assert changed["Listeners"][0]["MutualAuthentication"] == {"Mode": "off"}
    await trusting.call("DeleteTrustStore", TrustStoreArn=arn)


async def test_an_unknown_trust_store_is_refused(trusting: Rig) -> None:
    owner = (await trusting.load_balancer())["LoadBalancerArn"]
    unknown = "arn:aws:elasticloadbalancing:us-east-1:000000000000:truststore/x/0123456789abcdef"
    refusal = await trusting.refused(
        "CreateListener",
        LoadBalancerArn=owner,
        Protocol="HTTPS",
        Port=443,
        Certificates=[{"CertificateArn": certificate("one")}],
        DefaultActions=[fixed()],
        MutualAuthentication={"Mode": "verify", "TrustStoreArn": unknown},
    )
    assert refusal.code == "TrustStoreNotFound"
    plain = await trusting.refused(
        "CreateListener",
        LoadBalancerArn=owner,
        Protocol="HTTP",
        Port=80,
        DefaultActions=[fixed()],
        MutualAuthentication={"Mode": "passthrough"},
    )
    assert plain.code == "ValidationError"
