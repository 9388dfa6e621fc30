"""`moor explain` against a server that has only Moorage's own doors."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime

import pytest

from moorage.cli.commands.explain import around, meant, render
from moorage.domain.errors import Permanent

TOLD = {
    "kind": "service",
    "arn": "arn:web",
    "title": "Service web in cluster c1 is ACTIVE: 2 desired, 1 running, 1 pending.",
    "sections": [
        {"heading": "Now", "lines": ["word " * 30]},
        {"heading": "Deployments", "lines": ["ecs-svc/1 PRIMARY", "  allowed: at least 2"]},
    ],
    "facts": {},
    "next": "moor explain task 01234567",
}


def test_an_explanation_as_text(moor, served):
    served.answers["GET /_moorage/explain?of=web"] = (200, TOLD)
    code, out, _ = moor("explain", "web")
    assert code == 0
    assert out.splitlines() == [
        TOLD["title"],
        "",
        "Now",
        "  " + " ".join(["word"] * 19),
        "    " + " ".join(["word"] * 11),
        "",
        "Deployments",
        "  ecs-svc/1 PRIMARY",
        "    allowed: at least 2",
        "",
        "Next: moor explain task 01234567",
    ]


def test_as_json(moor, served):
    served.answers["GET /_moorage/explain?of=c1%2Fweb&kind=service&account=1&region=r"] = (200, TOLD)
    out = moor("explain", "service", "c1/web", "--account", "1", "--region", "r", "--json")[1]
    assert json.loads(out) == TOLD


@pytest.mark.parametrize(
    ("words", "kind", "name"),
    [
        (["web"], None, "web"),
        (["task"], None, "task"),
        (["lb", "web"], "load-balancer", "web"),
        (["load", "balancer", "web"], "load-balancer", "web"),
        (["Target", "Group", "web"], "target-group", "web"),
        (["target", "10.0.0.1:80"], "target", "10.0.0.1:80"),
    ],
)
def test_what_is_meant(words, kind, name):
    assert meant(words) == (kind, name)


def test_a_kind_that_there_is_not():
    with pytest.raises(Permanent, match="'boat' is not something that can be explained"):
        meant(["boat", "web"])


def test_a_name_of_several_things_lists_the_commands(moor, served):
    candidates = ["moor explain service c1/web", "moor explain load-balancer web"]
    served.answers["GET /_moorage/explain?of=web"] = (
        409,
        {"message": "'web' may mean 2 things", "candidates": candidates},
    )
    code, out, err = moor("explain", "web")
    assert (code, out) == (1, "")
    assert err.splitlines() == ["moor: 'web' may mean 2 things; say which:", *(f"  {one}" for one in candidates)]


def test_a_name_that_does_not_exist(moor, served):
    refusal = {"message": "There is no task 'x'", "why": "there are none yet", "next": "See what runs: moor status"}
    served.answers["GET /_moorage/explain?of=x"] = (404, refusal)
    assert moor("explain", "x")[2] == "moor: There is no task 'x'. There are none yet. See what runs: moor status\n"


def test_long_words_stay_whole():
    arn = "arn:aws:elasticloadbalancing:us-east-1:000000000000:targetgroup/" + "w" * 60
    assert any(arn in line for line in render({"title": "t", "sections": [{"heading": "H", "lines": [f"see {arn}"]}]}))


@pytest.mark.parametrize("name", ["services", "tasks", "events", "explain"])
def test_the_commands_stay_light(name):
    code = f"import sys, moorage.cli.main, moorage.cli.commands.{name}; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    heavy = {"aiohttp", "botocore", "grpc", "moto", "asyncio", "moorage.people", "moorage.control"}
    assert not heavy & set(loaded)


def test_a_status_of_a_load_balancer(moor, served):
    served.answers["GET /_moorage/explain?of=502&load_balancer=web"] = (200, TOLD)
    assert moor("explain", "502", "web")[1].startswith(TOLD["title"])


@pytest.mark.parametrize(
    ("at", "day", "seconds"),
    [("14:03", 21, (0, 60)), ("11:59", 22, (0, 60)), ("11:59:30", 22, (25, 36)), ("9:05", 22, (0, 60))],
)
def test_a_time_of_the_day_is_the_last_one_that_was(at, day, seconds):
    now = datetime(2026, 11, 22, 12, 0, 0)
    hour, minute = (int(part) for part in at.split(":")[:2])
    start = datetime(2026, 11, day, hour, minute).timestamp()
    since, until = around(at, now)
    assert (float(since) - start, float(until) - start) == seconds


def test_what_is_no_time():
    with pytest.raises(Permanent):
        around("25:00", datetime(2026, 11, 22))
