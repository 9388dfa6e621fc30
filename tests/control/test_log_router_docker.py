"""The log router with a real container: a control plane that restarts in the middle loses and doubles nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from moorage.control.log_router import LogRouter
from moorage.control.ports import ContainerLog
from moorage.domain.clock import Ids, SystemClock
from moorage.domain.scope import Scope
from moorage.engine.docker.engine import DockerEngine
from moorage.engine.driver import LABEL_TASK, ContainerSpec, SandboxSpec
from moorage.settings import Settings
from moorage.store.log_events import SqliteLogEvents
from moorage.store.log_events_sql import OVERHEAD, EventQuery
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables.logs import LOG_GROUPS, LOG_STREAMS, TABLES
from support.images import busybox_image

TASK = "arn:aws:ecs:us-east-1:000000000000:task/default/" + "1" * 32
COUNT = 3000
SIZE = sum(len(f"line {n}") + OVERHEAD for n in range(COUNT))
# One output only: in which order an engine's driver hands on two that are stamped apart is the driver's matter.
SCRIPT = f'i=0; while [ $i -lt {COUNT} ]; do echo "line $i"; i=$((i+1)); done; exec sleep 60'


@pytest.mark.docker
async def test_every_line_once_over_a_restart(tmp_path: Path) -> None:
    engine = DockerEngine(Settings(data_dir=tmp_path))
    store = await Store.open(MemoryLog(), TABLES)
    events = await SqliteLogEvents.open(tmp_path / "logs.sqlite")
    try:
        sandbox = await engine.start_sandbox(SandboxSpec(task_arn=TASK, mode="none", labels={LABEL_TASK: TASK}))
        created = await engine.create(
            ContainerSpec(
                name="web",
                docker_name="moorage-test-log-router",
                task_arn=TASK,
                image=await busybox_image(),
                labels={LABEL_TASK: TASK},
                command=("/bin/sh", "-c", SCRIPT),
            ),
            sandbox,
        )
        container = created.id
        target = ContainerLog(
            Scope("000000000000", "us-east-1"), container, "web", "task", "/ecs/web", "us-east-1", "ecs", True
        )
        first = LogRouter(store, SystemClock(), Ids(), events, engine)
        await engine.start(container)
        await first.follow(target)
        while not _stored_bytes(events, store):
            await asyncio.sleep(0.01)
        await first.close()
        second = LogRouter(store, SystemClock(), Ids(), events, engine)
        await second.follow(target)
        while events.stats(store.all(LOG_STREAMS)[0].id).bytes < SIZE:
            await asyncio.sleep(0.01)
        await engine.stop(container, 0)
        await second.drain(container)
        (group,) = store.all(LOG_GROUPS)
        page = await events.read(EventQuery(group_id=group.id))
        found = [event.message for event in page.events]
        assert found == [f"line {n}" for n in range(COUNT)]
    finally:
        await engine.cleanup()
        await engine.close()
        await events.close()
        await store.close()


def _stored_bytes(events: SqliteLogEvents, store: Store) -> int:
    return sum(events.stats(stream.id).bytes for stream in store.all(LOG_STREAMS))
