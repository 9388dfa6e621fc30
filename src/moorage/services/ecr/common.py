"""What all of ECR's operations share: whose registry, which repository, which page; and ECR's refusals."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from moorage.domain.clock import Clock, Ids
from moorage.domain.ecr import Repository, not_in_registry, repository_arn
from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.registry.access import grants
from moorage.registry.registry import Registry
from moorage.services.base import Provider, RequestContext
from moorage.store.api import StoreApi, View
from moorage.store.tables.ecr import REPOSITORIES

T = TypeVar("T")
Params = Mapping[str, Any]

DEFAULT_PAGE = 100


class EcrOperations(Provider):
    """The base of the groups of operations that make up `EcrProvider`."""

    service: ClassVar[str] = "ecr"

    def __init__(self, store: StoreApi, clock: Clock, ids: Ids, registry: Registry) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._registry = registry

    def _repository(self, view: View, context: RequestContext, params: Params, name: str | None = None) -> Repository:
        """The repository that the call names, in the caller's registry or in one that lets the caller in."""
        name = name if name is not None else params["repositoryName"]
        scope = registry_scope(context, params)
        repository = view.get(REPOSITORIES, repository_arn(scope, name))
        action = f"ecr:{context.operation}"
        if scope.account != context.account and (
            repository is None or not grants(repository.policy_text, context.account, action)
        ):
            raise AwsError(
                "AccessDeniedException",
                f"User: {context.principal_arn} is not authorized to perform: {action} on resource: "
                f"{repository_arn(scope, name)} because no resource-based policy allows the {action} action",
            )
        if repository is None:
            raise AwsError("RepositoryNotFoundException", not_in_registry(name, scope.account))
        return repository


def registry_scope(context: RequestContext, params: Params) -> Scope:
    return Scope(params.get("registryId") or context.account, context.region)


def invalid(parameter: str, why: str) -> AwsError:
    return AwsError(
        "InvalidParameterException", f"Invalid parameter at '{parameter}' failed to satisfy constraint: '{why}'"
    )


def in_repository(repository: Repository) -> str:
    return f"repository with name '{repository.name}' in the registry with id '{repository.account}'"


def page(items: Sequence[T], key: Callable[[T], str], params: Params) -> tuple[list[T], dict[str, str]]:
    """One page of `items` (sorted by `key`), and `{"nextToken": …}` when more follow."""
    after = _read_token(params["nextToken"]) if params.get("nextToken") else ""
    rest = [item for item in items if key(item) > after]
    limit = params.get("maxResults") or DEFAULT_PAGE
    shown = rest[:limit]
    if len(rest) <= limit:
        return shown, {}
    return shown, {"nextToken": base64.urlsafe_b64encode(key(shown[-1]).encode()).decode()}


def _read_token(token: str) -> str:
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except ValueError:
        raise invalid("nextToken", "the token is not one that this operation has returned") from None
