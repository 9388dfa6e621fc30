"""Whose the access keys are that the embedded STS and IAM handed out, so that the gateway knows who calls with them.

Kept in memory, learned from the answers that pass by; after a restart of the control plane a key that it does not know
is a caller of the configured account until it assumes its role again.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable

REMEMBERED = 10_000

_KEY = re.compile(rb"<AccessKeyId>([A-Z0-9]{16,128})</AccessKeyId>")
_ROLE = re.compile(rb"<AssumedRoleUser>.*?<Arn>([^<]+)</Arn>", re.DOTALL)
_USER = re.compile(rb"<UserName>([^<]+)</UserName>")


def _assumed(_account: str, body: bytes) -> str | None:
    found = _ROLE.search(body)
    return found[1].decode() if found else None


def _user(account: str, body: bytes) -> str | None:
    found = _USER.search(body)
    return f"arn:aws:iam::{account}:user/{found[1].decode()}" if found else None


_ISSUERS: dict[tuple[str, str], Callable[[str, bytes], str | None]] = {
    ("sts", "AssumeRole"): _assumed,
    ("sts", "AssumeRoleWithSAML"): _assumed,
    ("sts", "AssumeRoleWithWebIdentity"): _assumed,
    ("iam", "CreateAccessKey"): _user,
}


class Sessions:
    """The gateway's `SessionLookup`."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, tuple[str, str]] = OrderedDict()

    def learn(self, service: str, operation: str, account: str, body: bytes) -> None:
        """Takes note of a successful answer, if it hands out a key. The account is that of the role or user."""
        issuer = _ISSUERS.get((service, operation))
        key = _KEY.search(body) if issuer is not None else None
        principal = issuer(account, body) if issuer is not None else None
        if key is None or principal is None:
            return
        self._known[key[1].decode()] = (principal.split(":")[4], principal)
        if len(self._known) > REMEMBERED:
            self._known.popitem(last=False)

    def session_of(self, access_key_id: str, session_token: str) -> tuple[str, str] | None:
        return self._known.get(access_key_id)

    def forget(self) -> None:
        self._known.clear()
