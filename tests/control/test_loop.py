"""The control loop: one pass of a key at a time, nothing lost, no coroutine for a key that only waits."""

import asyncio

import uvloop

from moorage.control.loop import Loop, Pass
from moorage.domain.errors import Retryable
from moorage.simulation import loop as virtual


def play(story):
    virtual.run(story)


def test_a_wake_during_a_pass_causes_another_pass():
    async def story():
        seen, gate = [], asyncio.Event()

        async def reconcile(key):
            seen.append(key)
            if len(seen) == 1:
                await gate.wait()
            return Pass("done")

        loop = Loop("test", reconcile)
        loop.wake("a")
        await asyncio.sleep(1)
        loop.wake("a")
        loop.wake("a")
        assert seen == ["a"], "never twice at the same time"
        gate.set()
        await loop.quiet()
        assert seen == ["a", "a"]
        await loop.close()

    play(story())


def test_as_many_keys_at_once_as_there_are_workers_in_the_order_of_their_wakes():
    async def story():
        busy, most, seen = 0, 0, []

        async def reconcile(key):
            nonlocal busy, most
            busy += 1
            most = max(most, busy)
            seen.append(key)
            await asyncio.sleep(1)
            busy -= 1
            return Pass("done")

        loop = Loop("test", reconcile, workers=3)
        keys = [f"k{number}" for number in range(10)]
        for key in keys:
            loop.wake(key)
            loop.wake(key)
        await loop.quiet()
        assert (most, seen) == (3, keys)
        await loop.close()

    play(story())


def test_keys_that_wait_have_no_coroutine_and_a_busy_loop_lets_others_run():
    async def story():
        others = 0

        async def reconcile(key):
            return Pass("done")

        async def other():
            nonlocal others
            while True:
                others += 1
                await asyncio.sleep(0)

        loop = Loop("test", reconcile, workers=4)
        for number in range(1000):
            loop.wake(f"k{number}")
        assert len(asyncio.all_tasks()) <= 5
        beside = asyncio.ensure_future(other())
        await loop.quiet()
        assert others > 5
        beside.cancel()
        await loop.close()

    play(story())


def test_a_key_that_rests_is_looked_at_once_for_all_that_happened_meanwhile():
    async def story():
        at = []

        async def reconcile(key):
            at.append(asyncio.get_running_loop().time())
            return Pass("done", rest=1.0)

        loop = Loop("test", reconcile)
        loop.wake("a")
        await asyncio.sleep(0.25)
        for _ in range(5):
            loop.wake("a")
            await asyncio.sleep(0.05)
        await asyncio.sleep(10)
        assert at == [0.0, 1.0]
        await loop.close()

    play(story())


def test_a_failure_is_tried_again_and_said():
    async def story():
        tries = 0

        async def reconcile(key):
            nonlocal tries
            tries += 1
            if tries < 3:
                raise Retryable("not yet", "", "")
            return Pass("done")

        loop = Loop("test", reconcile)
        loop.wake("a")
        await asyncio.sleep(0.1)
        assert "not yet" in loop.said("a")
        await asyncio.sleep(60)
        assert (tries, loop.said("a")) == (3, "done")
        loop.forget("a")
        assert loop.said("a") is None
        await loop.close()

    play(story())


def test_a_pass_whose_wait_is_cancelled_does_not_keep_others_from_theirs():
    async def story():
        seen = []
        broken = asyncio.get_running_loop().create_future()

        async def reconcile(key):
            seen.append(key)
            if key == "a":
                await broken
            return Pass("done")

        loop = Loop("test", reconcile, workers=1)
        loop.wake("a")
        loop.wake("b")
        await asyncio.sleep(1)
        broken.cancel()
        await asyncio.sleep(1)
        assert seen == ["a", "b"]
        await loop.close()

    play(story())


def test_a_timer_that_is_due_at_once_may_be_set_again_on_uvloop():
    """uvloop turns it into a handle that cannot say when it is due."""

    async def story():
        seen = []

        async def reconcile(key):
            seen.append(key)
            if len(seen) == 1:
                loop.wake_after(key, 0)
                return Pass("again", again_after=0)
            return Pass("done")

        loop = Loop("test", reconcile)
        loop.wake("a")
        while len(seen) < 2:
            await asyncio.sleep(0)
        await loop.quiet()
        assert loop.said("a") == "done"
        await loop.close()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(story(), 5))
