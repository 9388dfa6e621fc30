"""One real server for all these tests (a test that kills or stops its server has one of its own), and the image."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .server import ROOT, Server, docker
from .stack import Stack


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    found = Server(tmp_path_factory.mktemp("moorage"))
    found.up()
    yield found
    found.remove()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[Server]:
    found = Server(tmp_path / "own")
    found.up()
    yield found
    found.remove()


@pytest.fixture(scope="session")
def image() -> Iterator[str]:
    """The query service's image, under a name of this run that no registry knows."""
    tag = f"moorage-clients-{os.getpid()}/query:1"
    subprocess.run([ROOT / "examples/query-service/build.sh", tag, "1"], check=True, capture_output=True)
    yield tag
    docker("rmi", "--force", tag)


@pytest.fixture
def stack_of(image: str) -> Iterator[Callable[..., Stack]]:
    """Makes stacks and takes them down again."""
    made: list[Stack] = []

    def make(server: Server, **settings: Any) -> Stack:
        made.append(Stack(server, image, **settings))
        return made[-1]

    yield make
    for stack in made:
        stack.remove()


@pytest.fixture
def stack(server: Server, stack_of: Callable[..., Stack]) -> Stack:
    return stack_of(server)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]):  # type: ignore[no-untyped-def]
    """A failure shows the end of the server's log."""
    report = yield
    if report.failed:
        funcargs = getattr(item, "funcargs", {})
        for name in ("server", "own_server"):
            if isinstance(funcargs.get(name), Server):
                report.sections.append((f"log of {name}", funcargs[name].log_tail()))
    return report
