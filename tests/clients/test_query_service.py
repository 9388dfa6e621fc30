"""Story C1 with the plain aws CLI, chapter by chapter: the scripts that a person runs, unchanged."""

from __future__ import annotations

import subprocess

import pytest

from .server import ROOT, Server

pytestmark = pytest.mark.docker
STORY = ROOT / "examples/query-service"


@pytest.mark.timeout(600)
def test_the_story(server: Server):
    done = subprocess.run(
        [STORY / "story.sh"],
        # An account of its own: the story begins with an empty one and leaves an empty one.
        env={**server.environment, "AWS_ACCESS_KEY_ID": "210987654321"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    for fact in (
        "service query-service is stable with 2 tasks",
        "2 targets are healthy in the target group",
        "requests are spread over 2 addresses",
        "begins with the task's start",
        "alarms on CPU and memory",
        "query-service:2 is deployed",
        "4 tasks run, 4 targets are healthy",
        "nothing: no cluster, task definition, load balancer",
    ):
        assert fact in done.stdout, done.stdout
