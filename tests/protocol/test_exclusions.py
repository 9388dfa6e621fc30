"""The table of exclusions holds no entry that has become meaningless."""

from __future__ import annotations

import json

from .cases import BODY_DIFFERS, EXCLUDED, VECTORS


def names(file: str, direction: str) -> set[str]:
    folder, _, stem = file.rpartition("/")
    suites = json.loads((VECTORS / folder / direction / f"{stem}.json").read_text())
    return {case.get("id", f"{i}:{j}") for i, suite in enumerate(suites) for j, case in enumerate(suite["cases"])}


def test_every_exclusion_names_a_vector() -> None:
    for (file, direction, case), reason in EXCLUDED.items():
        assert case in names(file, direction), (file, direction, case)
        assert reason


def test_every_difference_of_bodies_names_a_vector() -> None:
    known = set().union(*(names(path.stem, "output") for path in (VECTORS / "output").glob("*.json")))
    assert set(BODY_DIFFERS) <= known
