"""A fixed share of random stories, and the tools around them; `python -m moorage.simulation.run` plays more."""

import pytest

from moorage.decide import service
from moorage.simulation import loop
from moorage.simulation.player import Player
from moorage.simulation.process import Process
from moorage.simulation.run import KINDS, LENGTH, failure, kept, killed_at, kills, main, shorten, told
from moorage.simulation.story import IMAGES, Step, write, write_calm
from moorage.simulation.world import World


@pytest.mark.parametrize("seed", range(24))
def test_a_random_story_ends_well(seed):
    steps = write(seed)
    wrong = failure(seed, steps)
    if wrong is not None:
        pytest.fail(told(seed, steps, wrong), pytrace=False)


@pytest.mark.parametrize("seed", range(6))
def test_no_request_fails_while_services_are_scaled_and_rolled_and_the_control_plane_is_killed(seed):
    steps = write_calm(seed, 8)
    wrong = failure(seed, steps)
    if wrong is not None:
        pytest.fail(told(seed, steps, wrong, kind="calm"), pytrace=False)


@pytest.mark.parametrize("kind", ["calm", "hosts", "shifts"])
def test_the_control_plane_can_be_killed_at_any_await(kind):
    """One story over and over, killed at another step each time, its own start included."""
    player = KINDS[kind].player
    steps = KINDS[kind].write(3, 3)
    for step in kills(3, steps, 12, player):
        killed = [killed_at(step), *steps]
        wrong = failure(3, killed, player=player)
        if wrong is not None:
            pytest.fail(told(3, killed, wrong, kind=kind), pytrace=False)


def test_a_story_that_fails_when_it_is_killed_is_told_with_the_step(monkeypatch, capsys):
    begin = Process.begin

    async def first(self):
        monkeypatch.setattr(Process, "begin", again)
        await begin(self)

    async def again(self):
        raise RuntimeError("once is enough")

    monkeypatch.setattr(Process, "begin", first)
    story = ["--seed", "2", "--length", "2"]
    assert main([*story, "--crash-at", "70"]) == 1
    assert "the control plane does not start: RuntimeError('once is enough')" in (said := capsys.readouterr().out)
    assert "--seed 2 --length 2 --crash-at 70" in said


def test_a_seed_writes_one_story():
    assert write(5) == write(5)
    assert write(5) != write(6)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ("mixed", "calm")])
@pytest.mark.parametrize("seed", range(10))
def test_a_story_about_one_thing_above_all_ends_well(kind, seed):
    steps = KINDS[kind].write(seed, LENGTH)
    wrong = failure(seed, steps, player=KINDS[kind].player)
    if wrong is not None:
        pytest.fail(told(seed, steps, wrong, kind=kind), pytrace=False)


def test_a_failing_story_is_told_with_its_shortest_version(monkeypatch, capsys):
    async def breaks(self, which):
        self.world.engine.violations.append("it broke")

    monkeypatch.setattr(Player, "sicken_container", breaks)
    steps = [Step(1.0, "run_task", {"image": "good"})] * 5
    steps.insert(3, Step(0.5, "sicken_container", {"which": 1}))
    assert "it broke" in failure(1, steps)
    short = shorten(1, steps)
    assert [step.verb for step in short] == ["sicken_container"]
    assert kept(steps, short) == [3]
    assert told(1, short, "it broke", whole=steps).endswith("--seed 1 --keep 3")
    assert "sicken_container(which=1)" in told(1, short, "it broke")
    assert main(["--seeds", "0"]) == 0
    assert "0 stories" in capsys.readouterr().out


def test_a_broken_rule_is_found_shortened_and_replayed_by_the_printed_command(monkeypatch, capsys):
    """The rolling update is made to stop old tasks without a look at minimumHealthyPercent."""
    monkeypatch.setattr(service, "minimum_healthy", lambda desired, percent: 0)
    assert main(["--first", "0", "--seeds", "10", "--shorten"]) == 1
    told_of = [line for line in capsys.readouterr().out.splitlines() if line]
    wrong = next(line for line in told_of if "at least" in line)
    assert "leaves 0, at least" in wrong or "must stay" in wrong
    start = told_of.index(wrong)
    replay = next(line for line in told_of[start:] if line.startswith("replay: "))
    steps = told_of[start + 1 : told_of.index(replay, start)]
    assert len(steps) <= 4, "little more than a service and an update of it"
    again = replay.split("moorage.simulation.run ")[1].split()
    assert main(again) == 1
    assert "must stay" in capsys.readouterr().out
    monkeypatch.undo()
    assert main(again) == 0, "with the rule mended, the same story ends well"


def test_every_verb_of_a_story_can_be_played():
    async def all_there(kind) -> None:
        verbs = {step.verb for seed in range(200) for step in kind.write(seed, LENGTH)}
        async with World(images=IMAGES) as world:
            player = kind.player(world)
            assert all(callable(getattr(player, verb)) for verb in verbs)
        assert len(verbs) > 5

    for kind in KINDS.values():
        loop.run(all_there(kind))
