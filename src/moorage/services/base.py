"""What every service package builds on: the context of a call, the `@operation` mark and the `Provider`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, ClassVar, TypeVar

import msgspec

from moorage.domain.scope import Scope


class RequestContext(msgspec.Struct, frozen=True):
    """Who calls what, where. `service` and `operation` are botocore's names ("elbv2", "CreateRule")."""

    account: str
    region: str
    service: str
    operation: str
    request_id: str
    access_key_id: str
    principal_arn: str
    source_ip: str = "127.0.0.1"

    @property
    def scope(self) -> Scope:
        return Scope(self.account, self.region)


Handler = Callable[[RequestContext, dict[str, Any]], Awaitable[Mapping[str, Any] | None]]
F = TypeVar("F", bound=Callable[..., Awaitable[Mapping[str, Any] | None]])


def operation(name: str) -> Callable[[F], F]:
    """Marks a provider method as the handler of one operation of the service model."""

    def mark(function: F) -> F:
        function.__aws_operation__ = name  # type: ignore[attr-defined]
        return function

    return mark


class Provider:
    """One AWS service. A handler gets the context and the parsed parameters (a dict in the model's member names, enums
    and required members already checked) and returns the result as a dict in the model's member names: timestamps as
    epoch-seconds floats or datetimes, blobs as bytes. It refuses with `AwsError` and then has changed nothing."""

    service: ClassVar[str]

    def handlers(self) -> dict[str, Handler]:
        """Every operation that this provider implements."""
        found: dict[str, Handler] = {}
        for attribute in dir(type(self)):
            name = getattr(getattr(type(self), attribute, None), "__aws_operation__", None)
            if name is not None:
                found[name] = getattr(self, attribute)
        return found
