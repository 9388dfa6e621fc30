"""The rolling update as arithmetic: how many tasks of the new revision to start and which tasks to stop, so that healthy
tasks never fall below minimumHealthyPercent by our own doing and tasks never exceed maximumPercent (ecs-services §3.4).

Nothing here knows why a deployment exists, whether it failed, or how a task is stopped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Literal

import msgspec
from msgspec.structs import replace

from moorage.decide.health import Verdict
from moorage.domain.task import Task


class Candidate(msgspec.Struct, frozen=True):
    """A task whose desired status is RUNNING, with the verdict over it. `new`: it belongs to the PRIMARY deployment."""

    task: Task
    verdict: Verdict
    new: bool
    protected: bool = False


class Stop(msgspec.Struct, frozen=True):
    """`why`: replaced (it is of an old revision) | scale-in | unhealthy."""

    task: Task
    why: Literal["replaced", "scale-in", "unhealthy"]
    verdict: Verdict


class Step(msgspec.Struct, frozen=True):
    """One step of a rollout. `blocked`: the percentages forbid both starting and stopping (§3.4 row "deadlock").
    `protected`: tasks that should go but are protected from scale-in."""

    start: int
    stop: tuple[Stop, ...]
    blocked: bool = False
    protected: int = 0


def next_step(
    candidates: Sequence[Candidate],
    *,
    desired: int,
    minimum: int,
    maximum: int,
    may_start: bool,
) -> Step:
    """`minimum`/`maximum`: tasks, from `percent.py`. `may_start` False: launches are throttled or the deployment failed.

    Worked examples (D desired, old → new, all old healthy):
    * D=4, 100/200: starts 4; as each turns healthy one old task stops.
    * D=4, 50/100 (2, 4): stops 2, then starts 2, and again.
    * D=1, 50/100 (1, 1): can neither stop nor start: blocked.
    * D=2, 100/200, one task unhealthy: starts 1, stops the unhealthy one when the newcomer is healthy.
    * D=2, 50/100, one task unhealthy: no room for a third, so the unhealthy one goes first.
    """
    old = [c for c in candidates if not c.new]
    sick = [c for c in candidates if c.new and c.verdict.state == "unhealthy"]
    sound = [c for c in candidates if c.new and c.verdict.state != "unhealthy"]
    missing = max(0, desired - len(sound))
    room = max(0, maximum - len(candidates))
    start = min(missing, room) if may_start else 0

    enough = sum(1 for c in sound if c.verdict.state == "healthy") >= desired
    needless = len(sick) if enough else max(0, missing - room) if may_start else 0
    excess = max(0, len(sound) - desired)
    scaled_in = _scaled_in(sound, excess)
    stops = (*_replaced(candidates, old, minimum), *_no_longer_needed(sick, needless), *scaled_in)

    protected = sum(1 for c in old if c.protected) + excess - len(scaled_in)
    settled = all(c.verdict.state != "waiting" for c in candidates)
    blocked = bool(missing and old and may_start and not start and not stops and settled and not protected)
    return Step(start, stops, blocked, protected)


def _replaced(candidates: Sequence[Candidate], old: Sequence[Candidate], minimum: int) -> list[Stop]:
    """Old tasks that may go now: those that serve nobody at once, the others as far as the minimum allows. Protection
    holds up a deployment, not the end of a task that is unhealthy.

    Minimum 2, old: 3 healthy, new: none → 1. Old: 2 healthy, new: 1 healthy → 1. Old: 2 that run and are not counted yet,
    new: none → none: they may serve, though nobody knows. Old: 2 that have not started → both."""
    healthy = sum(1 for c in candidates if c.verdict.state == "healthy")
    serving = healthy + sum(1 for c in old if _may_serve(c))
    stops: list[Stop] = []
    for candidate in _in_stop_order(old):
        state = candidate.verdict.state
        if candidate.protected:
            if state == "unhealthy":
                stops.append(Stop(candidate.task, "unhealthy", candidate.verdict))
            continue
        if state == "healthy":
            if min(healthy, serving) <= minimum:
                break  # all that follow are healthy too
            healthy -= 1
            serving -= 1
        elif _may_serve(candidate):
            if serving <= minimum:
                continue
            serving -= 1
        stops.append(Stop(candidate.task, "replaced", candidate.verdict))
    return stops


def _may_serve(candidate: Candidate) -> bool:
    """It runs and has not counted as healthy yet: it goes only when others can serve."""
    return candidate.verdict.state == "waiting" and candidate.task.last_status == "RUNNING"


def _no_longer_needed(sick: Sequence[Candidate], count: int) -> list[Stop]:
    """Sick tasks of the new revision: all when there are enough healthy ones, else as many as make room for successors."""
    return [Stop(c.task, "unhealthy", c.verdict) for c in islice(_in_stop_order(sick), count)]


def _scaled_in(sound: Sequence[Candidate], excess: int) -> list[Stop]:
    """Those that are more than desired, the least useful first, protected ones never."""
    free = (c for c in _in_stop_order(sound) if not c.protected)
    return [Stop(c.task, "scale-in", c.verdict) for c in islice(free, excess)]


def hold(candidates: Sequence[Candidate], *, desired: int) -> Step:
    """A deployment has failed and nothing replaces it: both sets of tasks stay as they are (§3.6), neither larger than
    desired. 4 desired, 2 old and 4 new → nothing; 1 desired → 1 old and 1 new stay; 0 desired → all go."""
    stops: list[Stop] = []
    for new in (True, False):
        mine = [replace(c, new=True) for c in candidates if c.new is new]
        step = next_step(mine, desired=desired, minimum=0, maximum=desired, may_start=False)
        stops += [stop for stop in step.stop if desired == 0 or stop.why == "scale-in"]
    return Step(0, tuple(stops))


def _rank(verdict: Verdict) -> int:
    """The less a task serves, the earlier it goes."""
    return {"unhealthy": 0, "waiting": 2 if verdict.serving else 1, "healthy": 3}[verdict.state]


def _in_stop_order(candidates: Sequence[Candidate]) -> Iterator[Candidate]:
    """Unhealthy, then not serving yet, then serving but not counted, then healthy; within that from the zone with the most
    tasks, there from the container instance with the most, and the youngest first (§3.4 step 5). Only what is taken is
    sorted: most passes over a large service stop nothing."""
    in_zone = Counter(c.task.availability_zone for c in candidates)
    on_instance = Counter(_instance(c) for c in candidates)
    pools: dict[tuple[int, str], dict[str, list[Candidate]]] = {}
    for c in candidates:
        pools.setdefault((_rank(c.verdict), c.task.availability_zone), {}).setdefault(_instance(c), []).append(c)
    for state in range(4):
        zones = {zone for s, zone in pools if s == state}
        for mine in (mine for zone in zones for mine in pools[(state, zone)].values()):
            # Popped from the end: those that have not started yet go first, then the youngest.
            mine.sort(key=lambda c: (c.task.started_at is None, c.task.created_at, c.task.arn))
        while zones:
            zone = max(sorted(zones), key=lambda z: in_zone[z])
            pool = pools[(state, zone)]
            instance = max(sorted(pool), key=lambda i: on_instance[i])
            yield pool[instance].pop()
            in_zone[zone] -= 1
            on_instance[instance] -= 1
            if not pool[instance]:
                del pool[instance]
            if not pool:
                zones.discard(zone)


def _instance(candidate: Candidate) -> str:
    """Its container instance; tasks on Fargate have none to share."""
    return candidate.task.instance.arn if candidate.task.instance is not None else ""
