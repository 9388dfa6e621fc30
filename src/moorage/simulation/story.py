"""Random stories: what users do and what breaks, as a list of steps that a seed determines and anybody can read.

A story is written before it is played, without looking at the world ("kill the third running container, counted round"),
so that a failing one can be shortened by leaving steps out. It ends with everything mended: then the world must come to
rest by itself.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from moorage.engine.simulated_container import SimulatedImage

GOOD: Mapping[str, SimulatedImage] = {
    "good": SimulatedImage(),
    "slow": SimulatedImage(pull=4, start=1, listens_after=5, healthy_after=6),
    "stubborn": SimulatedImage(ignores_sigterm=True),
    "hasty": SimulatedImage(graceful=False, stop=0.01),
}
BROKEN: Mapping[str, SimulatedImage] = {
    "exits": SimulatedImage(exits_after=4, exit_code=1),
    "crashes": SimulatedImage(exits_after=0.05, exit_code=139),
    "deaf": SimulatedImage(listens_after=None, healthy_after=None, unhealthy_after=12),
    "lost": SimulatedImage(pull_failure="manifest unknown"),
    "unstartable": SimulatedImage(start_failure="executable file not found in $PATH"),
    "greedy": SimulatedImage(oom_after=2),
    "sick later": SimulatedImage(turns=((15, 500),), unhealthy_after=15),
}
# Works as it should, but not for every container of every task.
SPECIAL: Mapping[str, SimulatedImage] = {
    "brief": SimulatedImage(ports=(), exits_after=1),
    "moody": SimulatedImage(ports=(), exits_after=90, exit_code=1),
    "distant": SimulatedImage(pull=90),
}
IMAGES = {**GOOD, **BROKEN, **SPECIAL}
NAMES = ("a", "b")
BELL = "bell"
"""The alarm that watches over deployments."""
CONDITIONS = ("START", "COMPLETE", "SUCCESS", "HEALTHY")
PERCENTS = ((100, 200), (50, 200), (50, 100), (100, 150), (0, 100), (67, 134))


class Step(msgspec.Struct, frozen=True):
    """`after`: seconds since the step before."""

    after: float
    verb: str
    arguments: Mapping[str, Any] = {}

    def __str__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"+{self.after:7.3f} s  {self.verb}({arguments})"


# What an operator does on a good day, and what must not disturb users.
CALM = ("scale_out", "deploy_good", "redeploy_a", "restart_control_plane", "lose_events", "proxy_outage")


def write_calm(seed: int, length: int = 14) -> list[Step]:
    """A story in which nothing goes wrong but the control plane's own life: users must not notice any of it."""
    dice = random.Random(seed)
    percents = dice.choice(((100, 200), (50, 200), (50, 100)))
    start = {
        "name": "a",
        "image": "good",
        "desired": dice.randint(2, 4),
        "balanced": True,
        "checked": dice.random() < 0.5,
        "minimum": percents[0],
        "maximum": percents[1],
        "breaker": dice.random() < 0.5,
    }
    steps = [Step(0.0, "create_service", start), Step(60.0, "users_come")]
    for _ in range(length):
        after = round(dice.choice((dice.uniform(0, 0.05), dice.uniform(0, 5), dice.uniform(0, 40))), 3)
        match dice.choice(CALM):
            case "scale_out":
                steps.append(Step(after, "scale", {"name": "a", "desired": dice.randint(2, 6)}))
            case "deploy_good":
                image = dice.choice(("good", "slow"))
                arguments = {"name": "a", "image": image, "checked": dice.random() < 0.5}
                steps.append(Step(after, "deploy", arguments))
            case "redeploy_a":
                steps.append(Step(after, "redeploy", {"name": "a"}))
            case "restart_control_plane":
                steps.append(Step(after, "restart_control_plane", {"away": dice.choice((0.0, 0.5, 10.0))}))
            case "lose_events":
                steps.append(Step(after, "lose_events", {"seconds": dice.choice((0.5, 5, 20))}))
            case "proxy_outage":
                steps.append(Step(after, "proxy_outage", {"seconds": dice.choice((0.5, 5, 20))}))
    return [*steps, Step(90.0, "users_go")]


def write(seed: int, length: int = 14) -> list[Step]:
    """The story of a seed."""
    dice = random.Random(seed)
    steps = [_create(dice, name) for name in NAMES[: dice.randint(1, len(NAMES))]]
    return steps + [written(dice, list(_WRITERS)) for _ in range(length)]


def written(dice: random.Random, verbs: Sequence[str]) -> Step:
    """One more step, with one of these verbs."""
    verb = dice.choices(verbs, [_WRITERS[verb][0] for verb in verbs])[0]
    return Step(pause(dice), verb, _WRITERS[verb][1](dice))


def pause(dice: random.Random) -> float:
    """Often at once, sometimes after everything has come to rest, rarely when pools and records have gone stale."""
    long = 700.0 if dice.random() < 0.8 else 4000.0
    pauses = (dice.uniform(0, 0.05), dice.uniform(0, 2), dice.uniform(0, 20), 60.0, long)
    return round(dice.choices(pauses, (4, 4, 4, 3, 0.5))[0], 3)


def _create(dice: random.Random, name: str | None = None) -> Step:
    minimum, maximum = dice.choice(PERCENTS)
    return Step(
        0.0,
        "create_service",
        {
            "name": name or dice.choice(NAMES),
            "image": dice.choice(list(GOOD)),
            "desired": dice.randint(1, 4),
            "balanced": dice.random() < 0.7,
            "checked": dice.random() < 0.5,
            "minimum": minimum,
            "maximum": maximum,
            "breaker": dice.random() < 0.6,
        },
    )


_WRITERS: Mapping[str, tuple[float, Callable[[random.Random], Mapping[str, Any]]]] = {
    "create_service": (1, lambda dice: _create(dice).arguments),
    "scale": (3, lambda dice: {"name": dice.choice(NAMES), "desired": dice.randint(0, 6)}),
    "deploy": (
        4,
        lambda dice: {
            "name": dice.choice(NAMES),
            "image": dice.choice(list(GOOD) + list(BROKEN)),
            "checked": dice.random() < 0.5,
        },
    ),
    "redeploy": (1, lambda dice: {"name": dice.choice(NAMES)}),
    "delete_service": (0.7, lambda dice: {"name": dice.choice(NAMES)}),
    "run_task": (1, lambda dice: {"image": dice.choice([*GOOD, *BROKEN])}),
    "stop_task": (1, lambda dice: {"which": dice.randrange(100)}),
    "kill_container": (2, lambda dice: {"which": dice.randrange(100)}),
    "freeze_container": (0.7, lambda dice: {"which": dice.randrange(100)}),
    "sicken_container": (0.7, lambda dice: {"which": dice.randrange(100)}),
    "remove_container": (0.7, lambda dice: {"which": dice.randrange(100)}),
    "kill_sandbox": (0.7, lambda dice: {"which": dice.randrange(100)}),
    "lose_answer": (
        1.5,
        lambda dice: {"verb": dice.choice(("start_sandbox", "create", "start", "stop", "remove", "warm"))},
    ),
    "watch": (
        1,
        lambda dice: {
            "name": dice.choice(NAMES),
            "rollback": dice.random() < 0.7,
            "bake": dice.choice((None, 0, 1)),
            "early": dice.choice((None, None, "BLOCKING", "DEFERRED")),
            "percent": dice.choice((50, 100)),
        },
    ),
    "ring": (1.5, lambda dice: {"state": dice.choice(("ALARM", "OK"))}),
    "move_tag": (1, lambda dice: {"image": dice.choice(list(GOOD)), "start": dice.choice((0.1, 0.3, 0.5))}),
    "set_percents": (1, lambda dice: {"name": dice.choice(NAMES), "percents": dice.choice(PERCENTS)}),
    "run_group": (1, lambda dice: {"image": dice.choice([*GOOD, *BROKEN]), "condition": dice.choice(CONDITIONS)}),
    "cut_off": (0.5, lambda dice: {"name": dice.choice(NAMES)}),
    "deregister_target": (0.5, lambda dice: {"name": dice.choice(NAMES)}),
    "reset": (0.3, lambda dice: {}),
    "slow_disk": (0.7, lambda dice: {"seconds": dice.choice((0.002, 0.05, 0.5))}),
    "flap_container": (0.7, lambda dice: {"which": dice.randrange(100), "every": dice.choice((3.0, 11.0))}),
    "engine_freeze": (1, lambda dice: {"seconds": dice.choice((0.5, 5, 40))}),
    "engine_outage": (1, lambda dice: {"seconds": dice.choice((0.5, 5, 40)), "containers_die": dice.random() < 0.3}),
    "lose_events": (1, lambda dice: {"seconds": dice.choice((0.5, 5, 40))}),
    "lose_host": (0.3, lambda dice: {}),
    "proxy_outage": (1, lambda dice: {"seconds": dice.choice((0.5, 5, 40))}),
    "disk_full": (1, lambda dice: {"seconds": dice.choice((0.01, 1, 20))}),
    "crash": (3, lambda dice: {"steps": int(10 ** dice.uniform(0, 3.5)), "away": dice.choice((0.0, 0.5, 10.0))}),
    "restart_control_plane": (3, lambda dice: {"away": dice.choice((0.0, 0.5, 10.0))}),
}
