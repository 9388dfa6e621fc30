"""Containers on a real engine: create, start, stop, memory, health, logs, stats and what is refused."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from moorage.engine.docker import DockerEngine
from moorage.engine.driver import (
    LABEL_TASK,
    CannotCreateContainerError,
    CannotStartContainerError,
    HealthCheckSpec,
    Mount,
    Tmpfs,
    Ulimit,
)
from support.images import busybox_image, web_image

from .conftest import make, no_network, output, run, seen, task_arn

pytestmark = pytest.mark.docker


async def test_create_is_idempotent_by_name(engine: DockerEngine, busybox: str):
    name = f"moorage-test-{engine.installation}-same"
    first = await make(engine, busybox, "true", docker_name=name)
    assert await make(engine, busybox, "true", docker_name=name) == first
    with pytest.raises(CannotCreateContainerError, match="is already in use"):
        await make(engine, busybox, "true", docker_name=name, task_arn=task_arn(2))


async def test_an_image_without_a_command_cannot_be_created(engine: DockerEngine, busybox: str):
    with pytest.raises(CannotCreateContainerError) as refused:
        await make(engine, busybox, None)
    assert refused.value.reason() == "CannotCreateContainerError: Error response from daemon: No command specified"


async def test_an_image_that_is_not_there_cannot_be_created(engine: DockerEngine):
    with pytest.raises(CannotCreateContainerError, match="No such image: moorage-test/absent:1"):
        await make(engine, "moorage-test/absent:1", "true")


async def test_a_program_that_is_not_there_cannot_be_started(engine: DockerEngine, busybox: str):
    container = await make(engine, busybox, None, argv=("/no/such/program",))
    with pytest.raises(CannotStartContainerError, match=r"/no/such/program.*no such file or directory"):
        await engine.start(container)
    [found] = [entry for entry in await engine.list() if entry.id == container]
    assert (found.state, found.exit_code) == ("created", None)


async def test_a_container_cannot_start_after_its_sandbox_died(engine: DockerEngine, busybox: str):
    sandbox = await engine.start_sandbox(no_network())
    container = await make(engine, busybox, "true", sandbox)
    await engine.stop(sandbox.id, 10)
    with pytest.raises(CannotStartContainerError, match="cannot join network of a non running container"):
        await engine.start(container)


async def test_start_stop_and_remove_are_idempotent(engine: DockerEngine, busybox: str):
    container = await run(engine, busybox, "trap 'exit 3' TERM; echo up; while true; do usleep 20000; done")
    assert (await anext(engine.logs(container))).message == "up"
    await engine.start(container)
    await engine.stop(container, 30)
    await engine.stop(container, 30)
    [found] = [entry for entry in await engine.list() if entry.id == container]
    assert (found.state, found.exit_code, found.oom_killed) == ("stopped", 3, False)
    assert found.finished_at is not None
    assert found.started_at is not None
    await engine.remove(container)
    await engine.remove(container)
    await engine.stop(container, 30)
    assert container not in [entry.id for entry in await engine.list()]


async def test_a_process_that_ignores_the_stop_signal_is_killed(engine: DockerEngine, busybox: str):
    container = await run(engine, busybox, "trap '' TERM; echo up; while true; do usleep 20000; done")
    logs = engine.logs(container)
    await anext(logs)
    await engine.stop(container, 0.5)
    [found] = [entry for entry in await engine.list() if entry.id == container]
    assert (found.state, found.exit_code, found.oom_killed) == ("stopped", 137, False)


async def test_a_stop_signal_of_its_own(engine: DockerEngine, busybox: str):
    script = "trap 'echo usr1; exit 0' USR1; echo up; while true; do usleep 20000; done"
    container = await run(engine, busybox, script, stop_signal="SIGUSR1")
    assert (await anext(engine.logs(container))).message == "up"
    await engine.stop(container, 60)
    assert await output(engine, container) == ["up", "usr1"]


async def test_over_its_memory_limit_a_container_is_killed_and_it_is_told(engine: DockerEngine, busybox: str):
    events = engine.events()
    await seen(events, "resync")
    container = await run(engine, busybox, "exec tail /dev/zero", memory=16)
    died = await seen(events, "died", container)
    assert (died.exit_code, died.oom_killed) == (137, True)
    [found] = [entry for entry in await engine.list() if entry.id == container]
    assert (found.exit_code, found.oom_killed) == (137, True)
    await events.aclose()


async def test_kill_dash_nine_is_not_memory(engine: DockerEngine, busybox: str):
    events = engine.events()
    await seen(events, "resync")
    container = await run(engine, busybox, "sleep 1000")
    subprocess.run(["docker", "kill", container], check=True, capture_output=True)
    died = await seen(events, "died", container)
    assert (died.exit_code, died.oom_killed) == (137, False)
    await events.aclose()


async def test_started_died_and_gone_are_told_in_order_with_labels(engine: DockerEngine, busybox: str):
    events = engine.events()
    await seen(events, "resync")
    container = await run(engine, busybox, "exit 4")
    kinds = []
    async for event in events:
        if event.id != container:
            continue
        kinds.append((event.kind, event.exit_code))
        assert event.labels[LABEL_TASK] == task_arn()
        if event.kind == "died":
            await engine.remove(container)
        if event.kind == "gone":
            break
    assert kinds == [("started", None), ("died", 4), ("gone", None)]
    await events.aclose()


async def test_health_is_told_by_events_and_by_the_list(engine: DockerEngine, busybox: str):
    events = engine.events()
    await seen(events, "resync")
    check = HealthCheckSpec(("CMD-SHELL", "test -e /tmp/well"), interval=1, timeout=5, retries=1)
    script = "touch /tmp/well; while true; do usleep 50000; test -e /tmp/ill && rm -f /tmp/well; done"
    container = await run(engine, busybox, script, health_check=check)
    assert (await seen(events, "health", container)).health == "HEALTHY"
    [found] = [entry for entry in await engine.list() if entry.id == container]
    assert found.health == "HEALTHY"
    subprocess.run(["docker", "exec", container, "touch", "/tmp/ill"], check=True)
    assert (await seen(events, "health", container)).health == "UNHEALTHY"
    await events.aclose()


async def test_the_images_own_health_check_counts_for_nothing(engine: DockerEngine):
    image = await busybox_image(changes=["HEALTHCHECK --interval=1s CMD true"])
    container = await run(engine, image, "sleep 1000")
    shown = subprocess.run(
        ["docker", "inspect", "-f", "{{.State.Health}}", container], capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() in ("<nil>", "<no value>")


async def test_what_a_task_definition_can_ask_for_arrives(engine: DockerEngine, busybox: str, tmp_path_factory):
    shared = tmp_path_factory.mktemp("shared")
    (shared / "given").write_text("from the host\n")
    script = """
      echo env $COLOUR; id -u; pwd; cat /data/given; touch /data/x 2>/dev/null || echo read-only
      ulimit -n; df -m /scratch | tail -1 | awk '{print $2}'; touch /y 2>/dev/null || echo read-only-root
      touch /volume/z && echo volume; cat /proc/1/comm; df -m /dev/shm | tail -1 | awk '{print $2}'
      grep CapEff /proc/self/status
    """
    container = await run(
        engine,
        busybox,
        script,
        environment={"COLOUR": "light blue"},
        working_directory="/tmp",
        mounts=(Mount("/data", str(shared), read_only=True), Mount("/volume")),
        ulimits=(Ulimit("nofile", 512, 512),),
        tmpfs=(Tmpfs("/scratch", 7, ("noexec",)),),
        readonly_root_filesystem=True,
        init=True,
        shared_memory_mib=9,
        capabilities_drop=("ALL",),
        capabilities_add=("NET_BIND_SERVICE",),
        memory=64,
        memory_reservation=32,
        cpus=0.5,
        cpu_shares=256,
    )
    assert await output(engine, container) == [
        "env light blue", "0", "/tmp", "from the host", "read-only", "512", "7", "read-only-root", "volume",
        "docker-init", "9", "CapEff:\t0000000000000400",
    ]  # fmt: skip


async def test_user_entry_point_and_command(engine: DockerEngine, busybox: str):
    container = await run(engine, busybox, None, entry_point=("/bin/echo", "a"), argv=("b", "c"), user="nobody")
    assert await output(engine, container) == ["a b c"]
    container = await run(engine, await web_image(), None, entry_point=("/bin/id", "-un"), user="nobody")
    assert await output(engine, container) == ["nobody"]


async def test_anonymous_volumes_go_with_their_container(engine: DockerEngine, busybox: str):
    container = await run(engine, busybox, "sleep 1000", mounts=(Mount("/volume"),))
    shown = subprocess.run(
        ["docker", "inspect", "-f", "{{(index .Mounts 0).Name}}", container], capture_output=True, text=True, check=True
    )
    volume = shown.stdout.strip()
    await engine.remove(container)
    assert subprocess.run(["docker", "volume", "inspect", volume], capture_output=True).returncode != 0


async def test_logs_keep_order_streams_and_long_lines(engine: DockerEngine, busybox: str):
    script = "echo one; echo two >&2; head -c 200000 /dev/zero | tr '\\0' x; echo; printf '\\nlast'"
    container = await run(engine, busybox, script)
    lines = [line async for line in engine.logs(container)]
    by_stream = {stream: [line.message for line in lines if line.stream == stream] for stream in ("stdout", "stderr")}
    assert by_stream == {"stdout": ["one", "x" * 200000, "", "last"], "stderr": ["two"]}
    assert [line.at for line in lines if line.stream == "stdout"] == sorted(
        line.at for line in lines if line.stream == "stdout"
    )


async def test_logs_of_a_terminal(engine: DockerEngine, busybox: str):
    script = "echo one; head -c 100000 /dev/zero | tr '\\0' x; echo; printf last"
    container = await run(engine, busybox, script, pseudo_terminal=True)
    assert await output(engine, container) == ["one", "x" * 100000, "last"]


async def test_logs_are_followed_and_resumed(engine: DockerEngine, busybox: str):
    script = "echo 1; echo 2; until test -e /tmp/go; do usleep 20000; done; echo 3; echo 4"
    container = await run(engine, busybox, script)
    logs = engine.logs(container)
    first, second = await anext(logs), await anext(logs)
    subprocess.run(["docker", "exec", container, "touch", "/tmp/go"], check=True)
    third = await anext(logs)
    assert [first.message, second.message, third.message] == ["1", "2", "3"]
    await logs.aclose()
    rest = [line.message async for line in engine.logs(container, since=second.at)]
    assert rest == ["3", "4"]
    assert [line.message async for line in engine.logs(container, since=first.at)] == ["2", "3", "4"]


async def test_logs_of_a_container_that_is_gone_end(engine: DockerEngine):
    assert [line async for line in engine.logs("0" * 64)] == []


async def test_stats_of_those_that_run(engine: DockerEngine, busybox: str):
    script = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; echo done; sleep 1000"
    busy = await run(engine, busybox, script)
    ended = await run(engine, busybox, "true")
    await output(engine, ended)
    assert (await anext(engine.logs(busy))).message == "done"
    [stats] = await engine.stats([ended, busy, "0" * 64])
    assert stats.id == busy
    assert stats.cpu_seconds > 0.01
    assert 100_000 < stats.memory_bytes < 50_000_000


async def test_list_shows_only_this_installation(engine: DockerEngine, busybox: str):
    other = subprocess.run(
        ["docker", "create", busybox, "true"], capture_output=True, text=True, check=True
    ).stdout.strip()
    try:
        container = await make(engine, busybox, "true")
        found = {entry.id: entry for entry in await engine.list()}
        assert container in found
        assert other not in found
        assert found[container].state == "created"
        assert found[container].exit_code is None
    finally:
        subprocess.run(["docker", "rm", other], check=True, capture_output=True)


async def test_many_at_once(engine: DockerEngine, busybox: str):
    sandbox = await engine.start_sandbox(no_network())
    containers = await asyncio.gather(*(run(engine, busybox, f"echo {n}", sandbox) for n in range(8)))
    outputs = await asyncio.gather(*(output(engine, container) for container in containers))
    assert outputs == [[str(n)] for n in range(8)]
