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


def test_what_an_earlier_reader_had_is_told_apart(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"one\ntwo\nth")
    first = Tail(file)
    assert (first.read(), first.known) == ([b"one", b"two"], 0)
    mark = first.mark()
    first.close()
    with file.open("ab") as more:
        more.write(b"ree\nfour\n")
    second = Tail(file, mark)
    assert (second.read(), second.known) == ([b"one", b"two", b"three", b"four"], 2)
    with file.open("ab") as more:
        more.write(b"five\n")
    assert (second.read(), second.known) == ([b"five"], 0)
    second.close()


def test_another_file_is_new_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "log"
    file.write_bytes(b"one\n")
    tail = Tail(file, (1, 4))
    assert (tail.read(), tail.known) == ([b"one"], 0)
    tail.close()
