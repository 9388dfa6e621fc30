"""Plays random stories by the hundred and prints the shortest version of those that fail.

    python -m moorage.simulation.run --seeds 200          stories 0 … 199
    python -m moorage.simulation.run --seed 17            one story, with everything that happened
    python -m moorage.simulation.run --seed 17 --shorten  … and only the steps that it takes to fail
    python -m moorage.simulation.run --calm               stories in which no request may fail

A failing seed fails again with the same steps. Run it with PYTHONHASHSEED=0 when two runs of one seed must be equal to
the last event.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time
from collections.abc import Sequence

from moorage.simulation import loop
from moorage.simulation.story import Step, play, write, write_calm


def failure(seed: int, steps: Sequence[Step], tolerate: Sequence[str] = ()) -> str | None:
    """What went wrong in this story; None when it ended well."""
    try:
        loop.run(play(seed, steps, tolerate))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def shorten(seed: int, steps: Sequence[Step], tolerate: Sequence[str] = ()) -> list[Step]:
    """Leaves out steps, in ever smaller pieces, as long as the story still fails."""
    left = list(steps)
    piece = max(1, len(left) // 2)
    while True:
        start, shorter = 0, False
        while start < len(left):
            attempt = left[:start] + left[start + piece :]
            if attempt and failure(seed, attempt, tolerate) is not None:
                left, shorter = attempt, True
            else:
                start += piece
        if piece == 1 and not shorter:
            return left
        piece = max(1, piece // 2)


def told(seed: int, steps: Sequence[Step], wrong: str, *, calm: bool = False) -> str:
    lines = "\n".join(f"  {step}" for step in steps)
    replay = f"python -m moorage.simulation.run --seed {seed}{' --calm' if calm else ''}"
    return f"seed {seed} fails: {wrong}\n{lines}\nreplay: {replay}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m moorage.simulation.run", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=100, help="how many stories")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="this story only")
    parser.add_argument("--length", type=int, default=14, help="steps of a story")
    parser.add_argument("--shorten", action="store_true", help="print the shortest version of failing stories")
    parser.add_argument("--calm", action="store_true", help="stories in which users must not notice anything")
    parser.add_argument("--tolerate", action="append", default=[], help="words of a known problem to look past")
    given = parser.parse_args(arguments)
    # The world listens to the log for unexpected errors; people need not, unless they look at one story.
    logging.getLogger("moorage").propagate = given.seed is not None
    seeds = range(given.first, given.first + given.seeds) if given.seed is None else [given.seed]
    started, failed = time.perf_counter(), 0
    for seed in seeds:
        steps = (write_calm if given.calm else write)(seed, given.length)
        wrong = failure(seed, steps, given.tolerate)
        if wrong is None:
            continue
        failed += 1
        with contextlib.suppress(KeyboardInterrupt):
            steps = shorten(seed, steps, given.tolerate) if given.shorten else steps
        sys.stdout.write(told(seed, steps, failure(seed, steps, given.tolerate) or wrong, calm=given.calm) + "\n\n")
    took = time.perf_counter() - started
    sys.stdout.write(f"{len(seeds)} stories, {failed} failed, {took:.1f} s\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
