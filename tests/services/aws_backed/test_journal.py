"""The journal is a prefix of what was appended, wherever a crash cuts it."""

from __future__ import annotations

from pathlib import Path

import pytest

from moorage.services.aws_backed.frames import Call, Frames, decode_request, frame
from moorage.services.aws_backed.journal import MAGIC, Entry, Head, Journal, JournalError


def an_entry(number: int) -> Entry:
    call = Call(
        id=f"id-{number}",
        at=1.5 * number,
        seed="seed",
        service="s3",
        operation="PutObject",
        account="000000000000",
        region="us-east-1",
        access_key="test",
        method="PUT",
        path=f"/bucket/{number}?x=%20",
        headers=[("x-amz-meta-a", "1"), ("x-amz-meta-a", "2")],
        body=bytes(range(number)),
        mutates=True,
    )
    return Entry(call, [b"key"] * (number % 2), 200)


HEAD = Head(1.0, "seed", "5.2.5")


def written(path: Path, count: int) -> list[Head | Entry]:
    journal = Journal(path)
    assert list(journal.read()) == []
    journal.begin(HEAD)
    entries = [an_entry(number) for number in range(count)]
    for entry in entries:
        journal.append(entry)
    journal.sync()
    journal.close()
    return [HEAD, *entries]


def test_what_was_synced_comes_back(tmp_path: Path) -> None:
    records = written(tmp_path / "j", 20)
    journal = Journal(tmp_path / "j")
    assert list(journal.read()) == records
    journal.append(an_entry(20))
    journal.sync()
    journal.close()
    again = Journal(tmp_path / "j")
    assert list(again.read()) == [*records, an_entry(20)]
    again.close()


def test_every_cut_leaves_whole_records_and_a_journal_to_go_on_with(tmp_path: Path) -> None:
    records = written(tmp_path / "whole", 4)
    data = (tmp_path / "whole").read_bytes()
    for cut in range(len(data)):
        path = tmp_path / "cut"
        path.write_bytes(data[:cut])
        journal = Journal(path)
        found = list(journal.read())
        assert found == records[: len(found)]
        if not found:
            journal.begin(HEAD)
            found = [HEAD]
        journal.append(an_entry(99))
        journal.sync()
        journal.close()
        after = Journal(path)
        assert list(after.read()) == [*found, an_entry(99)]
        after.close()
        path.unlink()


def test_a_flipped_bit_ends_the_journal_before_it(tmp_path: Path) -> None:
    records = written(tmp_path / "j", 3)
    data = bytearray((tmp_path / "j").read_bytes())
    data[-5] ^= 1
    (tmp_path / "j").write_bytes(data)
    journal = Journal(tmp_path / "j")
    assert list(journal.read()) == records[:-1]
    journal.close()


def test_a_newer_journal_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_bytes(MAGIC[:-1] + b"\x09" + b"future")
    journal = Journal(path)
    with pytest.raises(JournalError):
        list(journal.read())
    assert path.read_bytes().endswith(b"future")
    journal.close()


def test_frames_come_out_however_they_are_cut() -> None:
    calls = [an_entry(number).call for number in range(5)]
    stream = b"".join(map(frame, calls))
    for size in (1, 3, 7, len(stream)):
        frames = Frames()
        out = [
            decode_request(body)
            for start in range(0, len(stream), size)
            for body in frames.feed(stream[start : start + size])
        ]
        assert out == calls
