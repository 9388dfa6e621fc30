"""PageSize and Marker on every operation that has them (semantics elbv2 §3)."""

from __future__ import annotations

from typing import Any

import pytest

from .rig import MODEL, Rig, certificate, fixed
from .test_trust_stores import Downloads, Objects, create

REVOKED = {"S3Bucket": "b", "S3Key": "crl.pem", "RevocationType": "CRL"}
PAGED = [
    name
    for name in MODEL.operation_names
    if (shape := MODEL.operation_model(name).input_shape) is not None and "PageSize" in shape.members
]


async def several(elb: Rig) -> dict[str, dict[str, Any]]:
    """Three of everything; answers what each operation must be asked for to see them."""
    elb.provider.objects, elb.provider.downloads = Objects(), Downloads()
    store = (await create(elb))["TrustStoreArn"]
    for name in ("b", "c"):
        await create(elb, name)
        await elb.target_group(name)
    await elb.target_group("a")
    await elb.call("AddTrustStoreRevocations", TrustStoreArn=store, RevocationContents=[REVOKED] * 3)
    secure = {"Certificates": [{"CertificateArn": certificate("a")}], "DefaultActions": [fixed()]}
    verify = {"Mode": "verify", "TrustStoreArn": store}
    made = {}
    for name in ("a", "b", "c"):
        owner = (await elb.load_balancer(name))["LoadBalancerArn"]
        for port in (443, 444, 445):
            answer = await elb.call(
                "CreateListener",
                LoadBalancerArn=owner,
                Protocol="HTTPS",
                Port=port,
                MutualAuthentication=verify,
                **secure,
            )
            listener = answer["Listeners"][0]["ListenerArn"]
        made = {"LoadBalancerArn": owner}
    for number in (1, 2):
        await elb.rule(listener, number)
        one = [{"CertificateArn": certificate(str(number))}]
        await elb.call("AddListenerCertificates", ListenerArn=listener, Certificates=one)
    return {
        "DescribeListeners": made,
        "DescribeListenerCertificates": {"ListenerArn": listener},
        "DescribeRules": {"ListenerArn": listener},
        "DescribeTrustStoreAssociations": {"TrustStoreArn": store},
        "DescribeTrustStoreRevocations": {"TrustStoreArn": store},
    }


@pytest.mark.parametrize("operation", PAGED)
async def test_pages_put_together_are_the_whole(elb: Rig, operation: str) -> None:
    asked = (await several(elb)).get(operation, {})
    whole = await elb.call(operation, **asked)
    (member,) = whole
    assert len(whole[member]) >= 3
    found: list[Any] = []
    marker: dict[str, str] = {}
    while True:
        page = await elb.call(operation, **asked, **marker, PageSize=2)
        assert 1 <= len(page[member]) <= 2
        found += page[member]
        if "NextMarker" not in page:
            break
        marker = {"Marker": page["NextMarker"]}
    assert found == whole[member]


@pytest.mark.parametrize("operation", PAGED)
async def test_what_is_no_page(elb: Rig, operation: str) -> None:
    asked = (await several(elb)).get(operation, {})
    for wrong in ({"PageSize": 401}, {"Marker": "?"}):
        refusal = await elb.refused(operation, **asked, **wrong)
        assert refusal.code == "ValidationError"
    exact = await elb.call(operation, **asked, PageSize=400)
    assert "NextMarker" not in exact
