"""Authorization tokens: valid over a restart, worthless when touched, private to their installation."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from moorage.domain.scope import Scope
from moorage.registry.tokens import Token, TokenSigner, basic_credentials

SCOPE = Scope("111122223333", "eu-west-1")


def test_a_token_outlives_the_process_that_issued_it(tmp_path: Path) -> None:
    password = TokenSigner(tmp_path / "key").issue(SCOPE, 1_700_000_000.9)
    assert TokenSigner(tmp_path / "key").read(password) == Token(SCOPE, 1_700_000_000)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_another_installation_does_not_know_it(tmp_path: Path) -> None:
    password = TokenSigner(tmp_path / "a" / "key").issue(SCOPE, 1_700_000_000)
    assert TokenSigner(tmp_path / "b" / "key").read(password) is None


@pytest.mark.parametrize("part", range(4))
def test_no_part_of_it_can_be_changed(tmp_path: Path, part: int) -> None:
    signer = TokenSigner(tmp_path / "key")
    parts = signer.issue(SCOPE, 1_700_000_000).split(".")
    parts[part] = parts[part][:-1] + ("0" if parts[part][-1] != "0" else "1")
    assert signer.read(".".join(parts)) is None


@pytest.mark.parametrize("password", ["", ".", "...", "a.b.c.d", "ü"])
def test_what_is_no_token(tmp_path: Path, password: str) -> None:
    assert TokenSigner(tmp_path / "key").read(password) is None


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Basic QVdTOnB3", ("AWS", "pw")),
        ("basic QVdTOnA6dw==", ("AWS", "p:w")),
        ("Bearer QVdTOnB3", None),
        ("Basic !!", None),
        ("Basic QVdT", None),
        ("", None),
        (None, None),
    ],
)
def test_basic_credentials(header: str | None, expected: tuple[str, str] | None) -> None:
    assert basic_credentials(header) == expected


def test_a_signature_made_for_something_else_is_no_token(tmp_path: Path) -> None:
    signer = TokenSigner(tmp_path / "key")
    for payload in ("111122223333.eu-west-1.1700000000", "download a.b.c 1"):
        assert signer.read(f"{payload}.{signer.sign(payload)}") is None
