"""Finding the engine, and the sentence when there is none."""

from __future__ import annotations

import http.server
import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.cli import docker_engine
from moorage.domain.errors import Permanent


class Ping(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/_ping" else 404)
        self.end_headers()

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_arguments: object) -> None:
        pass


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[str]:
    path = tmp_path / "docker.sock"
    with socketserver.UnixStreamServer(str(path), Ping) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        yield f"unix://{path}"
        server.shutdown()
        thread.join()


def test_the_engine_that_docker_host_names(engine, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", engine)
    assert docker_engine.find() == engine


def test_docker_host_that_names_nothing(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
    with pytest.raises(Permanent) as refusal:
        docker_engine.find()
    assert refusal.value.what == "Moorage needs a Docker engine and none answers at unix:///nowhere/docker.sock"
    assert refusal.value.next == "Mend it: unset DOCKER_HOST, or start that engine"


def test_docker_host_of_a_kind_that_is_not_understood(monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", "ssh://me@there")
    with pytest.raises(Permanent, match=r"only unix:// and tcp:// are understood"):
        docker_engine.find()


def test_an_engine_in_another_usual_place(engine, monkeypatch):
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(docker_engine, "DEFAULT", "unix:///nowhere/docker.sock")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(Path(engine.removeprefix("unix://")).parent))
    assert docker_engine.find() == engine


@pytest.mark.parametrize(
    ("installed", "mending"),
    [(None, "sudo apt-get install -y docker.io"), ("/usr/sbin/dockerd", "Start it: sudo ")],
)
def test_the_refusal_names_the_command_that_mends_it(monkeypatch, tmp_path, installed, mending):
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    monkeypatch.setattr(docker_engine, "DEFAULT", f"unix://{tmp_path}/docker.sock")
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("shutil.which", lambda _name: installed)
    with pytest.raises(Permanent) as refusal:
        docker_engine.find()
    assert mending in refusal.value.next
