"""What moto does differently from AWS and a guide would stumble over, mended at load time.

Each change names what is wrong without it. Only the worker imports this module.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from moorage.services.aws_backed.determinism import kept_key, moment
from moorage.services.aws_backed.moto_modules import moto_module


class _Birth:
    """Time and seed of what exists before the first request."""

    epoch = 0.0
    seed = ""


def core(default_account: str) -> None:
    """Before any service is loaded."""
    base_backend, common_models = moto_module("core.base_backend"), moto_module("core.common_models")
    moto_module("core").DEFAULT_ACCOUNT_ID = default_account
    moto_module("core.models").DEFAULT_ACCOUNT_ID = default_account

    # moto keeps every object ever made for its dashboard: a leak in a server that lives for weeks.
    def untracked(cls: type, *args: Any, **kwargs: Any) -> Any:
        return object.__new__(cls)

    common_models.BaseModel.__new__ = untracked

    # Backends (with their default VPCs …) are made by whatever touches them first, even by a read, which no journal
    # keeps: so they are made from their own seed and time, the same ones whenever that is.
    get = base_backend.AccountSpecificBackend.__getitem__

    def seeded(self: Any, region_name: str) -> Any:
        name = "aws" if region_name == "global" else region_name
        if dict.__contains__(self, name):
            return dict.__getitem__(self, name)
        with moment.at(_Birth.epoch, f"{_Birth.seed}/{self.account_id}/{name}/{self.service_name}"):
            return get(self, region_name)

    base_backend.AccountSpecificBackend.__getitem__ = seeded


def begin(epoch: float, seed: str) -> None:
    _Birth.epoch, _Birth.seed = epoch, seed


def forget_everything() -> None:
    """The state as it was before the first request. Dropping the backends is all: they are made anew when touched."""
    instances = moto_module("core.base_backend").BackendDict._instances
    for backend_dict in list(instances):
        backend_dict.clear()
    instances.clear()


def service_loaded(service: str) -> None:
    mend = _SERVICES.get(service)
    if mend is not None:
        mend()


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
    models = moto_module("iam.models")
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

    models.IAMBackend._init_aws_policies = init_aws_policies


def _ec2() -> None:
    utils = moto_module("ec2.utils")

    class RecordedEd25519:
        generate = staticmethod(kept_key(utils.Ed25519PrivateKey.generate))

    utils.Ed25519PrivateKey = RecordedEd25519


_SERVICES: dict[str, Callable[[], None]] = {"sts": _sts, "iam": _iam, "ec2": _ec2}
