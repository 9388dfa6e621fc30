"""moto's modules by name, untyped on purpose: its types change from release to release and take minutes to check."""

from __future__ import annotations

import importlib
import os
from typing import Any

# Read by moto while it is imported.
os.environ.setdefault("MOTO_ALLOW_NONEXISTENT_REGION", "true")
os.environ.setdefault("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")


def moto_module(name: str) -> Any:
    """`moto_module("sts.models")` is `moto.sts.models`."""
    return importlib.import_module(f"moto.{name}" if name else "moto")
