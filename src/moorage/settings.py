"""Everything that can be set, with its default and its environment variable."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import msgspec

DEFAULT_PORT = 4566


def _default_data_dir() -> Path:
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(os.environ.get("MOORAGE_DATA_DIR") or Path(base) / "moorage")


class Settings(msgspec.Struct, frozen=True):
    """`host`/`port`: where the one AWS endpoint listens (loopback by default). `account`/`region`: used when a request
    names none. `installation`: labels what this data directory's control plane made in Docker; derived from the data
    directory, so that two installations on one machine never touch each other."""

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    data_dir: Path = msgspec.field(default_factory=_default_data_dir)
    account: str = "000000000000"
    region: str = "us-east-1"
    docker_host: str | None = None

    @property
    def installation(self) -> str:
        return hashlib.sha256(str(self.data_dir.resolve()).encode()).hexdigest()[:12]

    @property
    def endpoint(self) -> str:
        return f"http://localhost:{self.port}"
