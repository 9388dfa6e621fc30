"""What single services of moto do differently from AWS and a guide would stumble over, mended when they are loaded.

Each function names what is wrong without it. Only the worker imports this module.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from moorage.services.aws_backed import mend_autoscaling, mend_cloudwatch, mend_ec2, mend_sqs
from moorage.services.aws_backed.determinism import moment
from moorage.services.aws_backed.moto_modules import moto_module

log = logging.getLogger("moorage.aws_backed")

HTTP_DELIVERY_SECONDS = 15


def mend_loaded() -> None:
    """Mends what moto has loaded meanwhile. Called before a service's first request and before a backend is made: some
    services load others."""
    for name in [name for name in _MENDS if f"moto.{name}" in sys.modules]:
        _MENDS.pop(name)()


def _sts() -> None:
    backend = moto_module("sts.models").STSBackend
    get_partition = moto_module("utilities.utils").get_partition
    known = backend.get_caller_identity

    def get_caller_identity(self: Any, access_key_id: str, region: str) -> tuple[str, str, str]:
        """Credentials that nobody made (`test`) are the account's root; moto invents a user named moto."""
        user_id, arn, account = known(self, access_key_id, region)
        if arn.endswith(":user/moto"):
            return self.account_id, f"arn:{get_partition(region)}:iam::{self.account_id}:root", self.account_id
        return user_id, arn, account

    backend.get_caller_identity = get_caller_identity


def _iam() -> None:
    models, exceptions = moto_module("iam.models"), moto_module("iam.exceptions")
    validator = moto_module("iam.policy_validation").IAMTrustPolicyDocumentValidator
    backend = models.IAMBackend
    parsed: dict[str, Any] = {}

    def init_aws_policies(self: Any) -> list[Any]:
        """moto parses five megabytes of JSON per account and partition; once is enough, for the partition in use."""
        if self.region_name != "aws":
            return []
        if not parsed:
            parsed.update(json.loads(models.aws_managed_policies_data))
        return [
            models.AWSManagedPolicy.from_data(name, self.account_id, self.region_name, data)
            for name, data in parsed.items()
        ]

    create_role = backend.create_role

    def create_checked_role(
        self: Any, role_name: str, assume_role_policy_document: str, *rest: Any, **more: Any
    ) -> Any:
        """moto takes any text for a trust policy."""
        _check_trust(validator, exceptions.MalformedPolicyDocument, assume_role_policy_document)
        return create_role(self, role_name, assume_role_policy_document, *rest, **more)

    def get_role(self: Any, role_name: str) -> Any:
        """AWS's sentence."""
        for role in self.get_roles():
            if role.name == role_name:
                return role
        raise models.NotFoundException(f"The role with name {role_name} cannot be found.")

    def create_linked_role(self: Any, service_name: str, description: str, suffix: str) -> Any:
        """AWS's names; and its refusal when the role is there already."""
        name = "AWSServiceRoleFor" + (_LINKED_ROLE_NAMES.get(service_name) or _linked_role_name(service_name))
        name += f"_{suffix}" if suffix else ""
        if any(role.name == name for role in self.get_roles()):
            sentence = f"Service role name {name} has been taken in this account, please try a different suffix."
            raise models.RESTError("InvalidInput", sentence)
        trust = {"Effect": "Allow", "Principal": {"Service": [service_name]}, "Action": ["sts:AssumeRole"]}
        return self.create_role(
            name,
            json.dumps({"Version": "2012-10-17", "Statement": [trust]}),
            f"/aws-service-role/{service_name}/",
            permissions_boundary=None,
            description=description,
            tags=[],
            max_session_duration="3600",
            linked_service=service_name,
        )

    backend._init_aws_policies = init_aws_policies
    backend.create_role = create_checked_role
    backend.get_role = get_role
    backend.create_service_linked_role = create_linked_role


_LINKED_ROLE_NAMES = {
    "autoscaling.amazonaws.com": "AutoScaling",
    "ecs.amazonaws.com": "ECS",
    "ecs.application-autoscaling.amazonaws.com": "ApplicationAutoScaling_ECSService",
    "elasticloadbalancing.amazonaws.com": "ElasticLoadBalancing",
    "events.amazonaws.com": "CloudWatchEvents",
    "rds.amazonaws.com": "RDS",
    "replication.ecr.amazonaws.com": "ECRReplication",
    "spot.amazonaws.com": "EC2Spot",
}


def _linked_role_name(principal: str) -> str:
    """For the rest as moto does: "some-thing.service.amazonaws.com" is service_SomeThing."""
    labels = principal.removesuffix(".amazonaws.com").split(".")
    words = ["".join(word.capitalize() for word in label.split("-")) for label in reversed(labels)]
    return "_".join(words)


def _check_trust(validator: Any, malformed: Any, document: str) -> None:
    """At least: a JSON object with statements that have a principal. Its finer rules are stricter than AWS's."""
    try:
        policy = json.loads(document)
        statements = policy.get("Statement", [])
        for statement in [statements] if isinstance(statements, dict) else statements:
            if "Resource" in statement or "NotResource" in statement:
                raise malformed("Has prohibited field Resource.")
            if "Principal" not in statement and "NotPrincipal" not in statement:
                raise malformed("Missing required field Principal")
            if statement.get("Effect") not in ("Allow", "Deny"):
                raise malformed("Syntax error in policy.")
    except (ValueError, AttributeError, TypeError) as error:
        sentence = "This policy contains invalid Json" if isinstance(error, ValueError) else "Syntax errors in policy."
        raise malformed(sentence) from error


def _application_autoscaling() -> None:
    """moto looks for the ECS service in its own ECS, which is empty: ours has them."""
    models = moto_module("applicationautoscaling.models")
    models.ApplicationAutoscalingBackend._ecs_service_exists_for_target = lambda self, resource_id: True


def _cloudwatch() -> None:
    exceptions = moto_module("cloudwatch.exceptions")
    exceptions.ResourceNotFound.message = "The named resource does not exist."
    mend_cloudwatch.mend()


def _kms() -> None:
    """AWS's own keys (`alias/aws/…`) are made by whatever names them first, also by encrypting."""
    backend = moto_module("kms.models").KmsBackend
    generate = backend._generate_default_keys

    def generate_default_keys(self: Any, alias_name: str) -> Any:
        moment.changed = True
        return generate(self, alias_name)

    backend._generate_default_keys = generate_default_keys


def _sns() -> None:
    """moto posts to HTTP subscribers while everybody waits, without a time limit, and would do so again when replayed."""
    models = moto_module("sns.models")
    requests = models.requests

    def post(url: str, **more: Any) -> None:
        if moment.replay is None:
            more["timeout"] = HTTP_DELIVERY_SECONDS
            threading.Thread(target=deliver, args=(url, more), daemon=True).start()

    def deliver(url: str, more: dict[str, Any]) -> None:
        try:
            requests.post(url, **more)
        except requests.RequestException as error:
            log.info("SNS could not deliver to %s: %s", url, error)

    models.requests = SimpleNamespace(post=post)


# moto's module → what mends it, once
def _acm() -> None:
    """moto lets a certificate wait a minute for a validation that nobody does here."""
    moto_module("settings").ACM_VALIDATION_WAIT = -1


_MENDS: dict[str, Callable[[], None]] = {
    "acm.models": _acm,
    "applicationautoscaling.models": _application_autoscaling,
    "autoscaling.models": mend_autoscaling.autoscaling,
    "cloudwatch.models": _cloudwatch,
    "ec2.models": mend_ec2.mend,
    "iam.models": _iam,
    "kms.models": _kms,
    "sns.models": _sns,
    "sqs.models": mend_sqs.mend,
    "sts.models": _sts,
}
