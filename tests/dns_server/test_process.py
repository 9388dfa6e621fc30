"""The process that answers names: the real one, on a free port of an address of this machine."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import dns.asyncquery
import dns.exception
import dns.message
import pytest

from moorage.dns import process as module
from moorage.dns.process import NamesProcess, end, holder

DOOR, OTHER, NAME = "127.84.53.1", "127.84.53.2", "web-1.us-east-1.elb.localhost"


async def asked(port: int, name: str = NAME, door: str = DOOR) -> list[str] | None:
    """None: nobody answers."""
    try:
        reply = await dns.asyncquery.udp(dns.message.make_query(name, "A"), door, port=port, timeout=0.5)
    except (OSError, dns.exception.DNSException):
        return None
    return sorted(item.address for item in reply.answer[0]) if reply.answer else []


async def becomes(port: int, wanted: list[str] | None, door: str = DOOR) -> None:
    async with asyncio.timeout(20):
        while await asked(port, door=door) != wanted:
            await asyncio.sleep(0.01)


@pytest.fixture
def port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((DOOR, 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def names(tmp_path: Path, port: int) -> AsyncIterator[NamesProcess]:
    made = NamesProcess(tmp_path, [], port=port)
    made.start()
    made.keep([DOOR], {NAME: ["10.0.0.5", "10.0.1.5"]})
    await becomes(port, ["10.0.0.5", "10.0.1.5"])
    yield made
    await made.leave(purge=True)
    assert holder(tmp_path) is None
    assert await asked(port) is None


async def test_what_changes_is_answered(names: NamesProcess, port: int) -> None:
    assert await asked(port, "ip-10-0-0-7.ec2.internal") == ["10.0.0.7"]
    names.keep([DOOR, OTHER, "192.0.2.1"], {NAME: ["10.0.0.6"]})
    await becomes(port, ["10.0.0.6"])
    await becomes(port, ["10.0.0.6"], OTHER)
    names.keep([DOOR], {NAME: ["10.0.0.6"]})
    await becomes(port, None, OTHER)


async def test_a_door_that_is_taken_is_said_once(names: NamesProcess, port: int, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind((OTHER, port))
        for last in ("6", "7", "8"):
            names.keep([DOOR, OTHER], {NAME: [f"10.0.0.{last}"]})
            await becomes(port, [f"10.0.0.{last}"])
    said = (tmp_path / module.LOG).read_text()
    assert said.count(OTHER) == 1
    assert "in use" in said
    names.keep([DOOR, OTHER], {NAME: ["10.0.0.9"]})
    await becomes(port, ["10.0.0.9"], OTHER)


async def test_it_outlives_the_control_plane_and_is_adopted(names: NamesProcess, port: int, tmp_path: Path) -> None:
    before = holder(tmp_path)
    await names.leave(purge=False)
    assert await asked(port) == ["10.0.0.5", "10.0.1.5"]
    again = NamesProcess(tmp_path, [], port=port)
    again.start()
    again.keep([DOOR], {NAME: ["10.0.0.7"]})
    await becomes(port, ["10.0.0.7"])
    assert holder(tmp_path) == before
    await again.leave(purge=False)


async def test_it_is_started_again_when_it_ends(names: NamesProcess, port: int, tmp_path: Path) -> None:
    before = holder(tmp_path)
    assert before is not None
    async with asyncio.timeout(20):
        while names._watched is None:
            await asyncio.sleep(0.01)
    os.kill(before, signal.SIGKILL)
    async with asyncio.timeout(20):
        while holder(tmp_path) in (None, before):
            await asyncio.sleep(0.01)
    await becomes(port, ["10.0.0.5", "10.0.1.5"])


async def test_one_of_another_version_is_replaced(
    names: NamesProcess, port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = holder(tmp_path)
    await names.leave(purge=False)
    monkeypatch.setattr(module, "version", lambda: "another")
    again = NamesProcess(tmp_path, [], port=port)
    again.start()
    async with asyncio.timeout(20):
        while holder(tmp_path) in (None, before):
            await asyncio.sleep(0.01)
    await becomes(port, ["10.0.0.5", "10.0.1.5"])
    await again.leave(purge=False)


async def test_a_damaged_table_is_not_believed(names: NamesProcess, port: int, tmp_path: Path) -> None:
    pid = holder(tmp_path)
    assert pid is not None
    (tmp_path / module.TABLE).write_text('{"doors": ["127')
    os.kill(pid, signal.SIGHUP)
    assert await asked(port) == ["10.0.0.5", "10.0.1.5"]


async def test_nothing_to_end(tmp_path: Path) -> None:
    await end(tmp_path / "never")
    assert holder(tmp_path) is None
