"""May a load balancer write its logs to a bucket? The bucket's policy must let Elastic Load Balancing do it (semantics
elbv2 §3.4): AWS looks when logs are switched on, and refuses.

Conditions of statements are not looked at, so that a policy never lets in less than on AWS because of them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from moorage.domain.errors import AwsError
from moorage.domain.load_balancer import LoadBalancer
from moorage.services.elbv2.validate import invalid

KINDS = ("access_logs", "connection_logs", "health_check_logs")
SERVICES = ("logdelivery.elasticloadbalancing.amazonaws.com", "delivery.logs.amazonaws.com")
ACCOUNTS = {
    "us-east-1": "127311923021",
    "us-east-2": "033677994240",
    "us-west-1": "027434742980",
    "us-west-2": "797873946194",
    "af-south-1": "098369216593",
    "ap-east-1": "754344448648",
    "ap-northeast-1": "582318560864",
    "ap-northeast-2": "600734575887",
    "ap-northeast-3": "383597477331",
    "ap-south-1": "718504428378",
    "ap-southeast-1": "114774131450",
    "ap-southeast-2": "783225319266",
    "ap-southeast-3": "589379963580",
    "ca-central-1": "985666609251",
    "eu-central-1": "054676820928",
    "eu-north-1": "897822967062",
    "eu-south-1": "635631232127",
    "eu-west-1": "156460612806",
    "eu-west-2": "652711504416",
    "eu-west-3": "009996457667",
    "me-south-1": "076674570225",
    "sa-east-1": "507241528517",
}
"""Elastic Load Balancing's own accounts, which older policies name; by region."""


def places(record: LoadBalancer, given: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(bucket, prefix) of the logs that this change of attributes switches on or moves. `record`: with the change."""
    keys = [entry.get("Key") or "" for entry in given]
    found = []
    for kind in KINDS:
        bucket = record.attributes.get(f"{kind}.s3.bucket", "")
        prefix = record.attributes.get(f"{kind}.s3.prefix", "")
        if "AWSLogs" in prefix:
            raise invalid(f"'{kind}.s3.prefix' value '{prefix}' cannot contain 'AWSLogs'")
        if record.attributes.get(f"{kind}.s3.enabled") != "true":
            continue
        if not bucket:
            raise invalid(f"The value of '{kind}.s3.bucket' cannot be empty")
        if any(key.startswith(f"{kind}.s3.") for key in keys):
            found.append((bucket, prefix))
    return found


def check(policy: str | None, bucket: str, prefix: str, owner: LoadBalancer) -> None:
    """`policy`: the bucket's, in JSON; empty when it has none; None when there is no such bucket."""
    folder = f"{prefix.strip('/')}/AWSLogs" if prefix.strip("/") else "AWSLogs"
    key = f"arn:aws:s3:::{bucket}/{folder}/{owner.account}/elasticloadbalancing/x"
    if policy is None or not allows(policy, key, owner.region):
        raise AwsError(
            "InvalidConfigurationRequest", f"Access Denied for bucket: {bucket}. Please check S3bucket permission"
        )


def allows(policy: str, resource: str, region: str) -> bool:
    """Does the policy let Elastic Load Balancing put the object with this ARN?"""
    try:
        document = msgspec.json.decode(policy or "{}")
    except msgspec.DecodeError:
        return False
    statements = _list(document.get("Statement")) if isinstance(document, dict) else []
    fitting = [one for one in statements if isinstance(one, dict) and _concerns(one, resource, region)]
    denied = any(one.get("Effect") == "Deny" and not one.get("Condition") for one in fitting)
    return not denied and any(one.get("Effect") == "Allow" for one in fitting)


def _concerns(statement: Mapping[str, Any], resource: str, region: str) -> bool:
    actions, resources = _list(statement.get("Action")), _list(statement.get("Resource"))
    return (
        any(_fits(str(one).lower(), "s3:putobject") for one in actions)
        and any(_fits(str(one), resource) for one in resources)
        and _is_us(statement.get("Principal"), region)
    )


def _is_us(principal: Any, region: str) -> bool:
    if principal == "*":
        return True
    if not isinstance(principal, dict):
        return False
    account = ACCOUNTS.get(region, "")
    accounts = ("*", account, f"arn:aws:iam::{account}:root")
    return any(one in accounts for one in _list(principal.get("AWS"))) or any(
        one in SERVICES for one in _list(principal.get("Service"))
    )


def _fits(pattern: str, text: str) -> bool:
    """`*` and `?` as in policies."""
    wild = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(wild, text) is not None


def _list(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]
