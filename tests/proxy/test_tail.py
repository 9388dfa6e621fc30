from __future__ import annotations

from pathlib import Path

import pytest

from moorage.proxy.envoy import tail
from moorage.proxy.envoy.request_log import parse
from moorage.proxy.envoy.tail import Tail


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def test_only_complete_lines(tmp_path: Path) -> None:
    path = tmp_path / "log"
    follow = Tail(path)
    assert follow.read() == []
    append(path, "one\ntw")
    assert follow.read() == [b"one"]
    append(path, "o\n")
    assert follow.read() == [b"two"]
    follow.close()


def test_over_a_rotation(tmp_path: Path) -> None:
    path = tmp_path / "log"
    append(path, "one\n")
    follow = Tail(path)
    assert follow.read() == [b"one"]
    path.replace(tmp_path / "old")
    append(tmp_path / "old", "two\n")  # Envoy has not opened the new file yet
    assert follow.read() == [b"two"]
    append(path, "three\n")
    assert follow.read() == [b"three"]
    follow.close()


def test_too_much_is_skipped_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tail, "MOST_AT_ONCE", 100)
    monkeypatch.setattr(tail, "LOOK_BACK", 20)
    path = tmp_path / "log"
    append(path, "first\n")
    follow = Tail(path)
    assert follow.read() == [b"first"]
    append(path, "".join(f"line {n:03d}\n" for n in range(50)))
    assert follow.read() == [b"line 048", b"line 049"]
    assert follow.skipped == 50 * 9 - 20
    follow.close()


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b'{"t":"x"}', b'{"s":200}'])
def test_lines_that_are_not_ours(line: bytes) -> None:
    assert parse(line) is None
