"""Programs that are told what to do, and some that do not listen."""

from __future__ import annotations

from moorage.network.commands import run


async def test_a_program_reads_what_it_is_given() -> None:
    assert await run(["sh", "-c", "read word; [ $word = hello ]"], "hello\n") == (0, "")


async def test_a_program_that_ends_without_reading_tells_why() -> None:
    for _ in range(10):
        assert await run(["sh", "-c", "echo gone >&2; exit 3"], "x" * 1_000_000) == (3, "gone\n")


async def test_a_namespace_that_has_gone(tmp_path) -> None:
    status, told = await run(["true"], "add rule\n", namespace=str(tmp_path / "none"), enter="nsenter")
    assert status != 0
    assert "none" in told
