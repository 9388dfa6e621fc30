"""A server that only has Moorage's own doors, so that the commands are tested over real HTTP."""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.cli.instance import Instance, hold
from moorage.cli.main import main


class Doors(http.server.BaseHTTPRequestHandler):
    """Answers from `server.answers` ({"GET /path": (status, body)}) and remembers what it was asked."""

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        key = f"{self.command} {self.path}"
        self.server.asked.append((key, json.loads(body) if body else None))  # type: ignore[attr-defined]
        status, answer = self.server.answers.get(key, (404, {"message": f"no door {self.path}"}))  # type: ignore[attr-defined]
        content = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_arguments: object) -> None:
        pass


class Served:
    """A data directory whose server (this test process) lives."""

    def __init__(self, data_dir: Path, server: http.server.HTTPServer) -> None:
        self.data_dir = data_dir
        self.server = server
        self.answers: dict[str, tuple[int, object]] = {"GET /_moorage/health": (200, {"services": {}})}
        self.asked: list[tuple[str, object]] = []
        server.answers = self.answers  # type: ignore[attr-defined]
        server.asked = self.asked  # type: ignore[attr-defined]
        self.instance = Instance(
            os.getpid(), "127.0.0.1", server.server_address[1], "000000000000", "eu-west-1", 1_700_000_000.0
        )


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MOORAGE_DATA_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def served(data_dir: Path) -> Iterator[Served]:
    with http.server.HTTPServer(("127.0.0.1", 0), Doors) as server:
        thread = threading.Thread(target=server.serve_forever, args=[0.01])
        thread.start()
        found = Served(data_dir, server)
        with hold(data_dir, found.instance):
            yield found
        server.shutdown()
        thread.join()


@pytest.fixture
def moor(capsys: pytest.CaptureFixture[str]):  # type: ignore[no-untyped-def]
    """Runs a command in this process: (exit code, standard output, standard error)."""

    def run(*words: str) -> tuple[int, str, str]:
        try:
            code = main(words)
        except SystemExit as end:
            code = int(end.code or 0)
        output = capsys.readouterr()
        return code, output.out, output.err

    return run
