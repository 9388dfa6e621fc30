"""A fixed share of random stories, and the tools around them; `python -m moorage.simulation.run` plays more."""

import pytest

from moorage.simulation import loop
from moorage.simulation.run import failure, main, shorten, told
from moorage.simulation.story import IMAGES, Player, Step, write, write_calm
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


def test_a_seed_writes_one_story():
    assert write(5) == write(5)
    assert write(5) != write(6)


def test_a_failing_story_is_told_with_its_shortest_version(monkeypatch, capsys):
    async def breaks(self, which):
        self.world.engine.violations.append("it broke")

    monkeypatch.setattr(Player, "sicken_container", breaks)
    steps = [Step(1.0, "run_task", {"image": "good"})] * 5
    steps.insert(3, Step(0.5, "sicken_container", {"which": 1}))
    assert "it broke" in failure(1, steps)
    short = shorten(1, steps)
    assert [step.verb for step in short] == ["sicken_container"]
    assert "sicken_container(which=1)" in told(1, short, "it broke")
    assert main(["--seeds", "0"]) == 0
    assert "0 stories" in capsys.readouterr().out


def test_every_verb_of_a_story_can_be_played():
    verbs = {step.verb for seed in range(200) for step in [*write(seed), *write_calm(seed)]}

    async def all_there() -> None:
        async with World(images=IMAGES) as world:
            player = Player(world)
            assert all(callable(getattr(player, verb)) for verb in verbs)

    loop.run(all_there())
    assert len(verbs) > 15
