"""A client token that a caller used, so that a repeated call is recognised after a restart too."""

from __future__ import annotations

import msgspec


class ClientToken(msgspec.Struct, frozen=True):
    key: str
    fingerprint: str
    arns: tuple[str, ...]
    created_at: float
