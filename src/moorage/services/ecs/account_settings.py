"""Account settings: those of a principal, else those of the account (its root user's, which are the same), else AWS's.

Two of them mean something here: `containerInsights` is what new clusters get, the others are recorded and shown
(docs/services/ecs.md, "Differences from AWS").
"""

from __future__ import annotations

from typing import Any, NamedTuple

from moorage.domain.account_setting import AccountSetting
from moorage.domain.errors import AwsError
from moorage.services.base import Provider, RequestContext, operation
from moorage.services.ecs.paging import page
from moorage.store.api import StoreApi, View
from moorage.store.tables.ecs import ACCOUNT_SETTINGS

_ON_OFF, _ENABLED = ("on", "off"), ("enabled", "disabled")
EVERYBODY = ""
"""The principal of the account's own settings."""


class Setting(NamedTuple):
    """`values`: those that are accepted; none: it is read-only (managed by AWS)."""

    default: str
    values: tuple[str, ...]


SETTINGS = {
    "serviceLongArnFormat": Setting("enabled", _ENABLED),
    "taskLongArnFormat": Setting("enabled", _ENABLED),
    "containerInstanceLongArnFormat": Setting("enabled", _ENABLED),
    "awsvpcTrunking": Setting("disabled", _ENABLED),
    "containerInsights": Setting("disabled", (*_ENABLED, "enhanced")),
    "fargateFIPSMode": Setting("disabled", (*_ENABLED, *_ON_OFF)),
    "tagResourceAuthorization": Setting("off", _ON_OFF),
    "fargateTaskRetirementWaitPeriod": Setting("7", ("0", "7", "14")),
    "guardDutyActivate": Setting("off", ()),
    "defaultLogDriverMode": Setting("non-blocking", ("blocking", "non-blocking")),
    "fargateEventWindows": Setting("disabled", (*_ENABLED, *_ON_OFF)),
}


def effective(view: View, account: str, region: str, principal: str) -> dict[str, str]:
    """Every setting as it holds for a principal."""
    found = {name: setting.default for name, setting in SETTINGS.items()}
    return found | _stored(view, account, region, EVERYBODY) | _stored(view, account, region, principal)


def _stored(view: View, account: str, region: str, principal: str) -> dict[str, str]:
    held = view.find(ACCOUNT_SETTINGS, "scope", (account, region))
    return {one.name: one.value for one in held if one.principal == principal}


class AccountSettingOperations(Provider):
    _store: StoreApi

    @operation("ListAccountSettings")
    async def list_account_settings(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        name, value = request.get("name"), request.get("value")
        if value is not None and name is None:
            raise _refuse("You must also specify an account setting name to use the value parameter.")
        shown = request.get("principalArn") or ctx.principal_arn
        principal = _whose(ctx, shown)
        if request.get("effectiveSettings"):
            held = effective(self._store, ctx.account, ctx.region, principal)
        else:
            held = _stored(self._store, ctx.account, ctx.region, principal)
        names = [n for n, v in sorted(held.items()) if name in (None, n) and value in (None, v)]
        chosen, token = page(names, request, default=10, most=10)
        return {"settings": [_shape(n, held[n], shown) for n in chosen], "nextToken": token}

    @operation("PutAccountSetting")
    async def put_account_setting(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        principal = request.get("principalArn") or ctx.principal_arn
        return await self._put(ctx, request, principal, _whose(ctx, principal))

    @operation("PutAccountSettingDefault")
    async def put_account_setting_default(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        return await self._put(ctx, request, f"arn:aws:iam::{ctx.account}:root", EVERYBODY)

    @operation("DeleteAccountSetting")
    async def delete_account_setting(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        name, shown = request["name"], request.get("principalArn") or ctx.principal_arn
        _known(name)
        principal = _whose(ctx, shown)
        key = ACCOUNT_SETTINGS.key(AccountSetting(ctx.account, ctx.region, name, "", principal))
        await self._store.update(lambda tx: tx.delete(ACCOUNT_SETTINGS, key))
        value = effective(self._store, ctx.account, ctx.region, principal)[name]
        return {"setting": _shape(name, value, shown)}

    async def _put(self, ctx: RequestContext, request: dict[str, Any], shown: str, principal: str) -> dict[str, Any]:
        name, value = request["name"], request["value"]
        setting = _known(name)
        if not setting.values:
            raise _refuse(f"The account setting '{name}' is read-only.")
        if value not in setting.values:
            raise _refuse(f"The account setting '{name}' accepts {', '.join(setting.values)}, but was '{value}'.")
        record = AccountSetting(ctx.account, ctx.region, name, value, principal)
        await self._store.update(lambda tx: tx.put(ACCOUNT_SETTINGS, record))
        return {"setting": _shape(name, value, shown)}


def _whose(ctx: RequestContext, principal: str) -> str:
    """The root user's settings are the account's. A session has those of its role's account, as federated users do."""
    own = principal.startswith(f"arn:aws:iam::{ctx.account}:") and not principal.endswith(":root")
    return principal if own else EVERYBODY


def _known(name: str) -> Setting:
    if name not in SETTINGS:
        raise _refuse(f"Invalid account setting name '{name}'.")
    return SETTINGS[name]


def _shape(name: str, value: str, principal: str) -> dict[str, Any]:
    kind = "user" if SETTINGS[name].values else "aws_managed"
    return {"name": name, "value": value, "principalArn": principal, "type": kind}


def _refuse(message: str) -> AwsError:
    return AwsError("InvalidParameterException", message)
