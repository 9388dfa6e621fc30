"""One ECS account setting that somebody set."""

from __future__ import annotations

import msgspec


class AccountSetting(msgspec.Struct, frozen=True):
    """`principal`: whose it is; empty: the account's own."""

    account: str
    region: str
    name: str
    value: str
    principal: str = ""
