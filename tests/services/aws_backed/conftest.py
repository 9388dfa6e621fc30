from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from front import Front


@pytest.fixture(scope="package")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """One worker for all tests that only look at what they made themselves."""
    front = Front(tmp_path_factory.mktemp("aws"))
    yield front
    front.close()


@pytest.fixture
def client(front: Front) -> Callable[..., Any]:
    return front.client


@pytest.fixture
def fronts(tmp_path: Path) -> Iterator[Callable[[], Front]]:
    """Fronts on one data directory, started one after the other."""
    made: list[Front] = []

    def make() -> Front:
        made.append(Front(tmp_path))
        return made[-1]

    yield make
    for front in made:
        front.close()
