"""What every test may count on: tests marked `docker` run where an engine answers, and are skipped with the reason
where none does (in CI, where scripts/ensure-docker has started one, they then fail instead)."""

from __future__ import annotations

import os

import pytest

from moorage.cli.docker_engine import find
from moorage.domain.errors import MoorageError


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if item.get_closest_marker("docker")]
    if not marked or os.environ.get("CI"):
        return
    try:
        find()
    except MoorageError as error:
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=str(error)))
