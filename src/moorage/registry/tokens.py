"""Authorization tokens that need no storage: `<account>.<region>.<expiry>.<signature>`, signed with a key in the data
directory, so that they survive a restart. GetAuthorizationToken issues them, `docker login` carries them as password.

Source: semantics around §1.1 (12 h), §1.2 (Basic auth, user AWS, expired tokens).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import secrets
from pathlib import Path

import msgspec

from moorage.domain.scope import Scope

USERNAME = "AWS"
LIFETIME = 12 * 3600.0
# What a signature is for stands in front of what is signed: one made for something else is no token.
_CLAIM = "token "


class Token(msgspec.Struct, frozen=True):
    """`expires_at`: epoch seconds."""

    scope: Scope
    expires_at: float


class TokenSigner:
    """`key_file` is made on first use, readable by its owner only."""

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file
        self._key: bytes | None = None

    def issue(self, scope: Scope, expires_at: float) -> str:
        payload = f"{scope.account}.{scope.region}.{int(expires_at)}"
        return f"{payload}.{self.sign(_CLAIM + payload)}"

    def read(self, password: str) -> Token | None:
        """The token behind a password, expired or not; None when it is not one of ours."""
        payload, _, signature = password.strip().rpartition(".")
        if not self.verify(_CLAIM + payload, signature):
            return None
        account, region, expiry = payload.split(".")
        return Token(Scope(account, region), float(expiry))

    def verify(self, payload: str, signature: str) -> bool:
        return hmac.compare_digest(signature.encode(), self.sign(payload).encode())

    def sign(self, payload: str) -> str:
        return hmac.new(self._read_key(), payload.encode(), hashlib.sha256).hexdigest()

    def _read_key(self) -> bytes:
        if self._key is None:
            self._key_file.parent.mkdir(parents=True, exist_ok=True)
            try:
                handle = os.open(self._key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                pass
            else:
                with os.fdopen(handle, "wb") as file:
                    file.write(secrets.token_bytes(32))
                    file.flush()
                    os.fsync(file.fileno())
            self._key = self._key_file.read_bytes()
        return self._key


def basic_credentials(authorization: str | None) -> tuple[str, str] | None:
    """User and password of an `Authorization: Basic …` header; None when there is none or it is malformed."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).decode().partition(":")
    except ValueError:
        return None
    return (user, password) if colon else None
