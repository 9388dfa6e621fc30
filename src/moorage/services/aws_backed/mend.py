"""moto's core, mended: account, memory, birth of backends. Single services are mended in `mend_services`.

Only the worker imports this module.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from moorage.services.aws_backed import mend_ec2, mend_services
from moorage.services.aws_backed.determinism import moment
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

    mend_ec2.before_import()

    # For every request moto looks through all members of the response class for the one that answers.
    responses = moto_module("core.responses")
    responses.method_names_from_class = cache(responses.method_names_from_class)

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
        mend_services.mend_loaded()
        with moment.at(_Birth.epoch, f"{_Birth.seed}/{self.account_id}/{name}/{self.service_name}"):
            return get(self, region_name)

    base_backend.AccountSpecificBackend.__getitem__ = seeded

    # The same goes for the accounts of a service: each draws a name for itself.
    create = base_backend.BackendDict._create_account_specific_backend

    def seeded_account(self: Any, account_id: str) -> None:
        if dict.__contains__(self, account_id):
            return
        with moment.at(_Birth.epoch, f"{_Birth.seed}/{account_id}/{self.service_name}"):
            create(self, account_id)

    base_backend.BackendDict._create_account_specific_backend = seeded_account


def begin(epoch: float, seed: str) -> None:
    _Birth.epoch, _Birth.seed = epoch, seed


def forget_everything() -> None:
    """The state as it was before the first request. Dropping the backends is all: they are made anew when touched."""
    instances = moto_module("core.base_backend").BackendDict._instances
    for backend_dict in list(instances):
        backend_dict.clear()
    instances.clear()
