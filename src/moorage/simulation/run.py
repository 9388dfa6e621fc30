"""Plays random stories by the hundred and prints the shortest version of those that fail.

    python -m moorage.simulation.run --seeds 200          stories 0 … 199
    python -m moorage.simulation.run --seed 17            one story, with everything that happened
    python -m moorage.simulation.run --seed 17 --shorten  … and only the steps that it takes to fail
    python -m moorage.simulation.run --seed 17 --keep 0,4 … the first and the fifth of its steps, nothing else
    python -m moorage.simulation.run --kind calm          stories in which no request may fail
    python -m moorage.simulation.run --kind all           every kind in turn
    python -m moorage.simulation.run --seed 17 --kills 50 the story 50 times more, the control plane killed somewhere else
                                                          each time: at awaits spread evenly over all that there are

A failing seed fails again with the same steps. Run it with PYTHONHASHSEED=0 when two runs of one seed must be equal to
the last event.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from moorage.simulation import loop
from moorage.simulation.player import Player, play
from moorage.simulation.story import Step, write, write_calm
from moorage.simulation.story_capacity import CapacityPlayer, write_capacity
from moorage.simulation.story_code_deploy import CodeDeployPlayer, write_code_deploy
from moorage.simulation.story_daemons import DaemonsPlayer, write_daemons
from moorage.simulation.story_hosts import HostsPlayer, write_hosts
from moorage.simulation.story_rolls import RollsPlayer, write_rolls
from moorage.simulation.story_sets import SetsPlayer, write_sets
from moorage.simulation.story_shifts import ShiftsPlayer, write_shifts

LENGTH = 14


class Kind(NamedTuple):
    """How stories are written, and who plays them."""

    write: Callable[[int, int], list[Step]]
    player: type[Player]


KINDS: Mapping[str, Kind] = {
    "mixed": Kind(write, Player),
    "calm": Kind(write_calm, Player),
    "hosts": Kind(write_hosts, HostsPlayer),
    "daemons": Kind(write_daemons, DaemonsPlayer),
    "sets": Kind(write_sets, SetsPlayer),
    "code-deploy": Kind(write_code_deploy, CodeDeployPlayer),
    "capacity": Kind(write_capacity, CapacityPlayer),
    "rolls": Kind(write_rolls, RollsPlayer),
    "shifts": Kind(write_shifts, ShiftsPlayer),
}


def failure(
    seed: int, steps: Sequence[Step], tolerate: Sequence[str] = (), player: type[Player] = Player
) -> str | None:
    """What went wrong in this story; None when it ended well."""
    try:
        loop.run(play(seed, steps, tolerate, player))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return None


def shorten(
    seed: int, steps: Sequence[Step], tolerate: Sequence[str] = (), player: type[Player] = Player
) -> list[Step]:
    """Leaves out steps, in ever smaller pieces, as long as the story still fails."""
    left = list(steps)
    piece = max(1, len(left) // 2)
    while True:
        start, shorter = 0, False
        while start < len(left):
            attempt = left[:start] + left[start + piece :]
            if attempt and failure(seed, attempt, tolerate, player) is not None:
                left, shorter = attempt, True
            else:
                start += piece
        if piece == 1 and not shorter:
            return left
        piece = max(1, piece // 2)


def killed_at(step: int) -> Step:
    """The first step of a story in which the control plane is killed before the event loop's step of that number, whatever
    it is doing then, and started again at once."""
    return Step(0.0, "crash", {"steps": step, "away": 0.0})


def kills(seed: int, steps: Sequence[Step], count: int, player: type[Player] = Player) -> list[int]:
    """`count` of the steps that the event loop makes until the faults of this story end, spread evenly."""
    made = loop.run(play(seed, steps, (), player)).mended_at
    return [made * number // count + 1 for number in range(count)]


def kept(steps: Sequence[Step], short: Sequence[Step]) -> list[int]:
    """Which of `steps` (by number) `short` consists of."""
    rest = iter(enumerate(steps))
    return [next(number for number, one in rest if one == step) for step in short]


def told(
    seed: int, steps: Sequence[Step], wrong: str, *, kind: str = "mixed", whole: Sequence[Step] | None = None
) -> str:
    """The story, what goes wrong in it, and how to play it again. `whole`: the story that `steps` were left of."""
    lines = "\n".join(f"  {step}" for step in steps)
    replay = f"python -m moorage.simulation.run --seed {seed}"
    if kind != "mixed":
        replay += f" --kind {kind}"
    if whole is not None and len(whole) != len(steps):
        replay += " --keep " + ",".join(map(str, kept(whole, steps)))
    return f"seed {seed} fails: {wrong}\n{lines}\nreplay: {replay}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m moorage.simulation.run", description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", type=int, default=100, help="how many stories of each kind")
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seed", type=int, help="this story only")
    parser.add_argument("--kind", choices=[*KINDS, "all"], default="mixed", help="what the stories are about")
    parser.add_argument("--length", type=int, default=LENGTH, help="steps of a story, besides those that begin it")
    parser.add_argument("--keep", help="numbers of the steps to play, with commas; the others are left out")
    parser.add_argument("--kills", type=int, default=0, help="play each story so many times more, with a kill in each")
    parser.add_argument(
        "--crash-at", type=int, help="kill the control plane before this step of the event loop as well"
    )
    parser.add_argument("--shorten", action="store_true", help="print the shortest version of failing stories")
    parser.add_argument("--calm", action="store_const", const="calm", dest="kind", help="the same as --kind calm")
    parser.add_argument("--tolerate", action="append", default=[], help="words of a known problem to look past")
    given = parser.parse_args(arguments)
    # The world listens to the log for unexpected errors; people need not, unless they look at one story.
    logging.getLogger("moorage").propagate = given.seed is not None
    seeds = range(given.first, given.first + given.seeds) if given.seed is None else [given.seed]
    started, failed, played = time.perf_counter(), 0, 0
    for seed in seeds:
        for kind in KINDS if given.kind == "all" else [given.kind]:
            for crash_at in _crashes(seed, kind, given):
                played += 1
                failed += not _told(seed, kind, crash_at, given)
    took = time.perf_counter() - started
    sys.stdout.write(f"{played} stories, {failed} failed, {took:.1f} s\n")
    return 1 if failed else 0


def _steps(seed: int, kind: str, given: argparse.Namespace) -> list[Step]:
    whole = KINDS[kind].write(seed, given.length)
    return whole if given.keep is None else [whole[int(number)] for number in given.keep.split(",")]


def _crashes(seed: int, kind: str, given: argparse.Namespace) -> Iterator[int | None]:
    """Where the story is interrupted, once for every time that it is played."""
    yield given.crash_at
    if given.kills:
        with contextlib.suppress(Exception):  # a story that fails without a kill was told already
            yield from kills(seed, _steps(seed, kind, given), given.kills, KINDS[kind].player)


def _told(seed: int, kind: str, crash_at: int | None, given: argparse.Namespace) -> bool:
    """Plays one story; tells of it, and answers False, when it fails."""
    player = KINDS[kind].player
    first = [killed_at(crash_at)] if crash_at is not None else []
    steps = [*first, *_steps(seed, kind, given)]
    wrong = failure(seed, steps, given.tolerate, player)
    if wrong is None:
        return True
    if given.shorten and crash_at is None:  # a kill at a certain step belongs to the story as it is
        with contextlib.suppress(KeyboardInterrupt):
            steps = shorten(seed, steps, given.tolerate, player)
            wrong = failure(seed, steps, given.tolerate, player) or wrong
    whole = KINDS[kind].write(seed, given.length)
    story = told(seed, steps[len(first) :], wrong, kind=kind, whole=whole)
    length = "" if given.length == LENGTH else f" --length {given.length}"
    crash = "" if crash_at is None else f" --crash-at {crash_at}"
    sys.stdout.write(f"{story}{length}{crash}\n\n")
    sys.stdout.flush()
    return False


if __name__ == "__main__":
    sys.exit(main())
