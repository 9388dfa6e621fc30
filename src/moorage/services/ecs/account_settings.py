"""Account settings: stored, listed and answered; `containerInsights` sets the default of new clusters in AWS's console
only, so none of them changes what Moorage does (docs/services/ecs.md, "Differences from AWS")."""

from __future__ import annotations

from typing import Any

from moorage.domain.account_setting import AccountSetting
from moorage.domain.errors import AwsError
from moorage.services.base import Provider, RequestContext, operation
from moorage.store.api import StoreApi
from moorage.store.tables.ecs import ACCOUNT_SETTINGS

DEFAULTS = {
    "serviceLongArnFormat": "enabled",
    "taskLongArnFormat": "enabled",
    "containerInstanceLongArnFormat": "enabled",
    "awsvpcTrunking": "disabled",
    "containerInsights": "disabled",
    "fargateFIPSMode": "disabled",
    "tagResourceAuthorization": "off",
    "fargateTaskRetirementWaitPeriod": "7",
    "guardDutyActivate": "off",
    "defaultLogDriverMode": "non-blocking",
}


class AccountSettingOperations(Provider):
    _store: StoreApi

    @operation("ListAccountSettings")
    async def list_account_settings(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        name, effective = request.get("name"), bool(request.get("effectiveSettings"))
        if name is not None:
            _check(name)
        principal = request.get("principalArn") or ctx.principal_arn
        stored = {s.name: s.value for s in self._store.find(ACCOUNT_SETTINGS, "scope", (ctx.account, ctx.region))}
        shown = DEFAULTS | stored if effective else stored
        return {
            "settings": [
                {"name": n, "value": v, "principalArn": principal, "type": "user"}
                for n, v in sorted(shown.items())
                if name in (None, n) and request.get("value") in (None, v)
            ]
        }

    @operation("PutAccountSetting")
    async def put_account_setting(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        return await self._put(ctx, request)

    @operation("PutAccountSettingDefault")
    async def put_account_setting_default(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        return await self._put(ctx, request)

    @operation("DeleteAccountSetting")
    async def delete_account_setting(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        name = _check(request["name"])
        key = f"{ctx.account}/{ctx.region}/{name}"
        await self._store.update(lambda tx: tx.delete(ACCOUNT_SETTINGS, key))
        return {"setting": {"name": name, "value": DEFAULTS[name], "principalArn": ctx.principal_arn, "type": "user"}}

    async def _put(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        name, value = _check(request["name"]), request["value"]
        await self._store.update(
            lambda tx: tx.put(ACCOUNT_SETTINGS, AccountSetting(ctx.account, ctx.region, name, value))
        )
        principal = request.get("principalArn") or ctx.principal_arn
        return {"setting": {"name": name, "value": value, "principalArn": principal, "type": "user"}}


def _check(name: str) -> str:
    if name not in DEFAULTS:
        raise AwsError("InvalidParameterException", f"Invalid account setting name '{name}'.")
    return name
