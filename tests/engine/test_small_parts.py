"""Names, hosts, the pause program, pull texts, events, log parsing, cgroup files: pure parts of the Docker driver."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moorage.domain.errors import Permanent
from moorage.engine.docker import pause
from moorage.engine.docker.client import _negotiate
from moorage.engine.docker.engine import host_limits
from moorage.engine.docker.events import translate
from moorage.engine.docker.hosts import DockerHost, find_host
from moorage.engine.docker.images import full_reference, pull_failure, pulled, split_reference
from moorage.engine.docker.logs import FrameParser, TerminalParser
from moorage.engine.docker.names import named_task, observed_labels, pool_name, sandbox_name
from moorage.engine.docker.observe import epoch, observed
from moorage.engine.docker.pause.code import AARCH64, X86_64
from moorage.engine.docker.stats import Groups, from_api
from moorage.engine.driver import (
    LABEL_POOL,
    LABEL_SANDBOX,
    LABEL_TASK,
    ContainerStats,
    EngineEvent,
    EngineUnavailable,
    PulledImage,
)

TASK = "arn:aws:ecs:eu-west-1:123456789012:task/my_cluster-1/0123456789abcdef0123456789abcdef"


# names


def test_a_sandboxs_name_spells_its_task():
    name = sandbox_name("abc123", TASK)
    assert name == "moorage-abc123.eu-west-1.123456789012.my_cluster-1.0123456789abcdef0123456789abcdef.pause"
    assert named_task("/" + name) == TASK
    assert named_task(sandbox_name("abc123", "not an arn")) is None
    assert named_task(pool_name("abc123", "net", "10.0.0.5")) is None


def test_labels_of_pooled_and_claimed_sandboxes():
    labels = {LABEL_SANDBOX: "true", LABEL_POOL: "10.0.0.5"}
    assert observed_labels("/" + pool_name("abc", "net", "10.0.0.5"), labels) == labels
    assert observed_labels("/" + sandbox_name("abc", TASK), labels) == {LABEL_SANDBOX: "true", LABEL_TASK: TASK}
    assert observed_labels("/app", {"x": "y"}) == {"x": "y"}


# hosts


def test_where_docker_is_looked_for(tmp_path: Path):
    assert find_host("tcp://h:2375", {"DOCKER_HOST": "unix:///x"}, tmp_path).url == "http://h:2375"
    assert find_host(None, {"DOCKER_HOST": "unix:///x"}, tmp_path) == DockerHost(socket="/x", origin="DOCKER_HOST")
    secure = find_host(None, {"DOCKER_HOST": "tcp://h:2376", "DOCKER_TLS_VERIFY": "1"}, tmp_path)
    assert (secure.url, secure.certificates) == ("https://h:2376", str(tmp_path / ".docker"))
    socket = tmp_path / "docker.sock"
    socket.touch()
    assert find_host(None, {}, tmp_path).socket is not None


def test_the_docker_context_is_followed(tmp_path: Path):
    meta = tmp_path / ".docker/contexts/meta/abc"
    meta.mkdir(parents=True)
    (tmp_path / ".docker/config.json").write_text('{"currentContext": "colima"}')
    document = {"Name": "colima", "Endpoints": {"docker": {"Host": "unix:///colima.sock"}}}
    (meta / "meta.json").write_text(json.dumps(document))
    assert find_host(None, {}, tmp_path) == DockerHost(socket="/colima.sock", origin="docker context")
    (meta / "meta.json").write_text("not json")
    assert find_host(None, {}, tmp_path).origin == "default"


def test_an_address_that_cannot_be_used_is_refused():
    with pytest.raises(Permanent, match="ssh -NL"):
        find_host("ssh://me@host", {}, Path("/nowhere"))


@pytest.mark.parametrize(
    ("newest", "least", "spoken"), [("1.41", "1.12", (1, 41)), ("1.52", "1.44", (1, 47)), ("1.60", "1.50", (1, 50))]
)
def test_the_api_version_is_one_that_both_know(newest: str, least: str, spoken: tuple[int, int]):
    assert _negotiate({"ApiVersion": newest, "MinAPIVersion": least, "Arch": "arm64"}).api == spoken


def test_an_engine_that_is_too_old():
    with pytest.raises(EngineUnavailable, match=r"too old.*1\.41"):
        _negotiate({"ApiVersion": "1.40", "Version": "19.03"})


@pytest.mark.parametrize(
    ("info", "local", "limits"),
    [
        ({"OperatingSystem": "Debian", "MemoryLimit": True, "CpuCfsQuota": True}, True, []),
        ({"OperatingSystem": "Docker Desktop"}, True, ["runs in a virtual machine"]),
        ({"OperatingSystem": "Debian"}, False, ["is on another host"]),
        ({"MemoryLimit": False, "CpuCfsQuota": False}, True, ["cannot limit memory", "cannot limit processor time"]),
    ],
)
def test_what_a_host_cannot_do_is_said(info: dict[str, Any], local: bool, limits: list[str]):
    found = host_limits(info, local)
    assert len(found) == len(limits)
    assert all(expected in sentence for expected, sentence in zip(limits, found, strict=True))


# pause


@pytest.mark.parametrize(
    ("source", "code", "prefixes"),
    [("x86_64.S", X86_64, ("x86_64-linux-gnu-", "")), ("aarch64.S", AARCH64, ("aarch64-linux-gnu-", ""))],
)
def test_the_pause_programs_are_their_source(source: str, code: bytes, prefixes: tuple[str, ...], tmp_path: Path):
    path = Path(pause.__file__).with_name(source)
    for prefix in prefixes:
        if shutil.which(f"{prefix}as") is None:
            continue
        if subprocess.run([f"{prefix}as", "-o", tmp_path / "o", path], capture_output=True).returncode == 0:
            subprocess.run(
                [f"{prefix}objcopy", "-O", "binary", "-j", ".text", tmp_path / "o", tmp_path / "b"], check=True
            )
            assert (tmp_path / "b").read_bytes() == code
            return
    pytest.skip("no assembler for this architecture")


def test_the_pause_image_is_one_small_executable():
    with tarfile.open(fileobj=io.BytesIO(pause.image_tar("arm64"))) as archive:
        [entry] = archive.getmembers()
    assert (entry.name, entry.mode, entry.uid) == ("pause", 0o755, 0)
    assert entry.size < 300
    assert pause.image_tar("arm64") != pause.image_tar("amd64")


# images


@pytest.mark.parametrize(
    ("image", "parts", "full"),
    [
        ("app", ("app", "latest"), "docker.io/library/app:latest"),
        ("app:v1", ("app", "v1"), "docker.io/library/app:v1"),
        ("me/app", ("me/app", "latest"), "docker.io/me/app:latest"),
        ("127.0.0.1:4566/app", ("127.0.0.1:4566/app", "latest"), "127.0.0.1:4566/app:latest"),
        ("localhost/app:v1", ("localhost/app", "v1"), "localhost/app:v1"),
        ("host.io/a/b@sha256:ab", ("host.io/a/b", "sha256:ab"), "host.io/a/b@sha256:ab"),
        ("host:1/app:v1@sha256:ab", ("host:1/app", "sha256:ab"), "host:1/app@sha256:ab"),
    ],
)
def test_references(image: str, parts: tuple[str, str], full: str):
    assert split_reference(image) == parts
    assert full_reference(image) == full


_PREFIX = "pull image manifest has been retried {} time(s): failed to resolve ref {}: "


@pytest.mark.parametrize(
    ("image", "message", "text"),
    [
        (
            "no_such_image",
            "pull access denied for no_such_image, repository does not exist or may require 'docker login':"
            " denied: requested access to the resource is denied",
            _PREFIX.format(1, "docker.io/library/no_such_image:latest")
            + "pull access denied, repository does not exist or may require authorization:"
            " server message: insufficient_scope: authorization failed",
        ),
        (
            "h:1/app:v9",
            "manifest for h:1/app:v9 not found: manifest unknown: manifest unknown",
            _PREFIX.format(1, "h:1/app:v9") + "h:1/app:v9: not found",
        ),
        (
            "app",
            "no matching manifest for linux/amd64 in the manifest list entries",
            _PREFIX.format(1, "docker.io/library/app:latest")
            + "image Manifest does not contain descriptor matching platform 'linux/amd64'",
        ),
        (
            "h:1/app",
            'Get "http://h:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused',
            _PREFIX.format(5, "h:1/app:latest")
            + 'Get "http://h:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused',
        ),
    ],
)
def test_why_an_image_could_not_be_pulled(image: str, message: str, text: str):
    assert pull_failure(image, message) == text


def test_what_was_pulled_is_pinned():
    digests = {"RepoDigests": ["other/app@sha256:1", "app@sha256:2", "h:1/app@sha256:3"]}
    assert pulled("app:v1", digests) == PulledImage("app@sha256:2", "sha256:2")
    assert pulled("docker.io/library/app", digests).digest == "sha256:2"
    assert pulled("h:1/app:v1", digests) == PulledImage("h:1/app@sha256:3", "sha256:3")
    assert pulled("local:v1", {"RepoDigests": []}) == PulledImage("local:v1")


# events and inspection


@pytest.mark.parametrize(
    ("action", "attributes", "expected"),
    [
        ("start", {}, {"kind": "started"}),
        ("die", {"exitCode": "137"}, {"kind": "died", "exit_code": 137}),
        ("died", {"containerExitCode": "1"}, {"kind": "died", "exit_code": 1}),
        ("destroy", {}, {"kind": "gone"}),
        ("health_status: healthy", {}, {"kind": "health", "health": "HEALTHY"}),
        ("health_status: unhealthy", {}, {"kind": "health", "health": "UNHEALTHY"}),
        ("health_status: starting", {}, {"kind": "health", "health": "UNKNOWN"}),
        ("exec_start: sh", {"execID": "1"}, None),
        ("rename", {}, None),
    ],
)
def test_dockers_events(action: str, attributes: dict[str, str], expected: dict[str, Any] | None):
    raw = {
        "Action": action,
        "Actor": {"ID": "abc", "Attributes": {"image": "i", "name": "n", "label": "kept", **attributes}},
        "timeNano": 1_700_000_000_500_000_000,
    }
    event = translate(raw)
    if expected is None:
        assert event is None
    else:
        assert event == EngineEvent(id="abc", labels={"label": "kept"}, at=1_700_000_000.5, **expected)


def test_times():
    assert epoch("2023-11-14T22:13:20.5Z") == 1_700_000_000.5
    assert epoch("2023-11-14T23:13:20.123456789+01:00") == 1_700_000_000.123456789
    assert epoch("0001-01-01T00:00:00Z") is None
    assert epoch("") is None


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"Status": "created", "ExitCode": 127}, ("created", None)),
        ({"Status": "running", "ExitCode": 0}, ("running", None)),
        ({"Status": "paused"}, ("running", None)),
        ({"Status": "exited", "ExitCode": 3}, ("stopped", 3)),
        ({"Status": "dead", "ExitCode": 1}, ("stopped", 1)),
    ],
)
def test_states(state: dict[str, Any], expected: tuple[str, int | None]):
    found = observed({"Id": "abc", "Name": "/n", "Config": {"Labels": None}, "State": state})
    assert (found.state, found.exit_code) == expected


# logs


def frame(stream: int, nanoseconds: int, text: bytes) -> bytes:
    content = f"2023-11-14T22:13:20.{nanoseconds:09d}Z ".encode() + text
    return bytes([stream, 0, 0, 0]) + len(content).to_bytes(4, "big") + content


def parsed(parser: FrameParser | TerminalParser, data: bytes, size: int) -> Iterator[tuple[str, str]]:
    for start in range(0, len(data), size):
        for _, line in parser.feed(data[start : start + size]):
            yield line.stream, line.message
    for _, line in parser.end():
        yield line.stream, line.message


FRAMES = (
    frame(1, 1, b"one\n")
    + frame(2, 2, b"err\r\n")
    + frame(1, 3, b"x" * 16384)
    + frame(2, 4, b"between\n")
    + frame(1, 5, b"tail\n")
    + frame(1, 6, "ü\n".encode())
    + frame(1, 7, b"\n")
    + frame(1, 8, b"no end")
)


@settings(deadline=None)
@given(st.integers(1, 40000))
def test_frames_cut_anywhere_give_the_same_lines(size: int):
    assert list(parsed(FrameParser(), FRAMES, size)) == [
        ("stdout", "one"),
        ("stderr", "err"),
        ("stderr", "between"),
        ("stdout", "x" * 16384 + "tail"),
        ("stdout", "ü"),
        ("stdout", ""),
        ("stdout", "no end"),
    ]


STAMP = b"2023-11-14T22:13:20.000000001Z "
TERMINAL = STAMP + b"one\r\n" + STAMP + b"x" * 16384 + STAMP + b"y" * 16384 + STAMP + b"z\r\n" + STAMP + b"no end"


@settings(deadline=None)
@given(st.integers(1, 70000))
def test_a_terminals_output_cut_anywhere_gives_the_same_lines(size: int):
    assert [message for _, message in parsed(TerminalParser(), TERMINAL, size)] == [
        "one",
        "x" * 16384 + "y" * 16384 + "z",
        "no end",
    ]


def test_a_line_without_end_is_cut_at_a_mebibyte():
    data = b"".join(frame(1, number, b"x" * 16384) for number in range(100))
    assert [len(message) for _, message in parsed(FrameParser(), data, 65536)] == [2**20, 36 * 16384]


# stats


def test_cgroup_version_1(tmp_path: Path):
    for path, text in {
        "cpuacct/docker/abc/cpuacct.usage": "2500000000\n",
        "memory/docker/abc/memory.usage_in_bytes": "1000\n",
        "memory/docker/abc/memory.stat": "cache 400\ntotal_inactive_file 300\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    groups = Groups(tmp_path)
    assert groups.read("abc") == ContainerStats("abc", 2.5, 700)
    assert groups.read("absent") is None
    shutil.rmtree(tmp_path / "memory")
    assert groups.read("abc") is None


@pytest.mark.parametrize("parent", ["docker/abc", "system.slice/docker-abc.scope", "machine.slice/libpod-abc.scope"])
def test_cgroup_version_2(tmp_path: Path, parent: str):
    (tmp_path / "cgroup.controllers").touch()
    folder = tmp_path / parent
    folder.mkdir(parents=True)
    (folder / "cpu.stat").write_text("usage_usec 1500000\nuser_usec 1\n")
    (folder / "memory.current").write_text("1000\n")
    (folder / "memory.stat").write_text("anon 1\ninactive_file 250\n")
    assert Groups(tmp_path).read("abc") == ContainerStats("abc", 1.5, 750)


def test_stats_of_the_api():
    answer = {
        "cpu_stats": {"cpu_usage": {"total_usage": 3_000_000_000}},
        "memory_stats": {"usage": 500, "stats": {"inactive_file": 100}},
    }
    assert from_api("abc", answer) == ContainerStats("abc", 3.0, 400)
    assert from_api("abc", {"cpu_stats": {}, "memory_stats": {}}) is None
