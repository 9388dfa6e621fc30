import asyncio
import time

import pytest

from moorage.simulation.loop import EPOCH, Deadlock, Livelock, VirtualClock, VirtualTimeLoop, run


def now() -> float:
    return asyncio.get_running_loop().time()


async def test_a_day_passes_at_once():
    started = time.perf_counter()
    await asyncio.sleep(86_400 * 3)
    assert now() == 86_400 * 3
    assert time.perf_counter() - started < 60


async def test_sleepers_wake_in_order_at_exactly_their_time():
    woken: list[tuple[float, str]] = []

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await asyncio.sleep(nap)
            woken.append((now(), name))

    await asyncio.gather(sleeper("a", 0.1, 0.2), sleeper("b", 0.25), sleeper("c", 0.1))
    assert woken == [(0.1, "a"), (0.1, "c"), (0.25, "b"), (0.1 + 0.2, "a")]


async def test_timeouts_semaphores_and_queues_work():
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 5)
    assert now() == 5
    limit = asyncio.Semaphore(2)

    async def work() -> None:
        async with limit:
            await asyncio.sleep(1)

    await asyncio.gather(*(work() for _ in range(5)))
    assert now() == 8
    queue: asyncio.Queue[int] = asyncio.Queue()
    asyncio.get_running_loop().call_later(2, queue.put_nowait, 1)
    assert await queue.get() == 1
    assert now() == 10


async def test_the_clock_counts_from_its_epoch():
    clock = VirtualClock(asyncio.get_running_loop())
    await asyncio.sleep(90)
    assert clock.now() == EPOCH + 90


def test_a_deadlock_is_an_error_that_names_who_waits():
    async def main() -> None:
        waiting = asyncio.create_task(asyncio.Event().wait(), name="the culprit")
        await waiting

    with pytest.raises(Deadlock, match="the culprit"):
        run(main())


def test_a_livelock_is_an_error():
    async def main() -> None:
        while True:
            await asyncio.sleep(0)

    with pytest.raises(Livelock):
        run(main())


def test_run_cancels_what_is_left():
    cancelled = []

    async def forever() -> None:
        try:
            await asyncio.sleep(1e9)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def main() -> str:
        left = asyncio.create_task(forever())
        await asyncio.sleep(1)
        assert not left.done()
        return "done"

    assert run(main()) == "done"
    assert cancelled == [True]


def test_a_run_is_the_same_every_time():
    def story() -> list[tuple[float, int]]:
        seen: list[tuple[float, int]] = []

        async def main() -> None:
            async def one(number: int) -> None:
                for step in range(5):
                    await asyncio.sleep((number * 7 + step * 3) % 4 * 0.5)
                    seen.append((now(), number))

            await asyncio.gather(*(one(number) for number in range(10)))

        run(main())
        return seen

    assert story() == story()


def test_a_hook_comes_between_any_two_steps_of_whoever_is_at_work():
    async def one(name: str, seen: list[str]) -> None:
        for number in range(3):
            seen.append(f"{name}{number}")
            await asyncio.sleep(0)

    async def main(steps: int) -> list[str]:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualTimeLoop)
        seen: list[str] = []
        loop.after_steps(steps, lambda: seen.append("|"))
        await asyncio.gather(one("a", seen), one("b", seen))
        return seen

    told = ["".join(run(main(steps))) for steps in range(6)]
    assert told == [
        "|a0b0a1b1a2b2",
        "a0|b0a1b1a2b2",
        "a0b0|a1b1a2b2",
        "a0b0a1|b1a2b2",
        "a0b0a1b1|a2b2",
        "a0b0a1b1a2|b2",
    ]


def test_closing_twice_is_fine():
    loop = VirtualTimeLoop()
    loop.close()
    loop.close()
