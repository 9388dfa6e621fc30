"""CloudWatch Logs as people use it: boto3's paginators, and `aws logs tail --follow` of the CLI's version 2."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import boto3
import pytest
import pytest_asyncio
from botocore.config import Config

from moorage.domain.clock import Ids, SystemClock
from moorage.gateway.server import Gateway
from moorage.services.logs.provider import LogsProvider
from moorage.settings import Settings
from moorage.store.log_events import SqliteLogEvents
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables.logs import TABLES


@pytest_asyncio.fixture
async def endpoint(tmp_path: Path) -> AsyncIterator[str]:
    clock, ids = SystemClock(), Ids(1)
    store = await Store.open(MemoryLog(), TABLES)
    events = await SqliteLogEvents.open(tmp_path / "logs.sqlite")
    gateway = Gateway(Settings(port=0, data_dir=tmp_path), clock, ids)
    gateway.add_provider(LogsProvider(store, clock, ids, events))
    port = await gateway.start()
    yield f"http://127.0.0.1:{port}"
    await gateway.close(grace=1.0)
    await events.close()
    await store.close()


def client(endpoint: str) -> Any:
    return boto3.client(
        "logs",
        endpoint_url=endpoint,
        region_name="eu-west-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
        config=Config(retries={"max_attempts": 0}, inject_host_prefix=False),
    )


def put(logs: Any, *messages: str, ago: float = 0) -> None:
    """Events one millisecond apart, the last one `ago` seconds ago."""
    last = int((time.time() - ago) * 1000)
    events = [{"timestamp": last - len(messages) + n, "message": text} for n, text in enumerate(messages, 1)]
    logs.put_log_events(logGroupName="/ecs/web", logStreamName="web/app/1", logEvents=events)


def prepare(logs: Any) -> None:
    logs.create_log_group(logGroupName="/ecs/web", tags={"team": "a"})
    logs.create_log_stream(logGroupName="/ecs/web", logStreamName="web/app/1")


async def test_a_group_from_its_making_to_its_end_with_boto3(endpoint: str) -> None:
    def person() -> None:
        logs = client(endpoint)
        prepare(logs)
        put(logs, *(f"line {n}" for n in range(250)))
        pages = logs.get_paginator("filter_log_events").paginate(
            logGroupName="/ecs/web", filterPattern='"line 1"', PaginationConfig={"PageSize": 40}
        )
        found = [event["message"] for page in pages for event in page["events"]]
        assert found == [f"line {n}" for n in range(250) if str(n).startswith("1")]
        (stream,) = logs.describe_log_streams(logGroupName="/ecs/web", orderBy="LastEventTime")["logStreams"]
        assert stream["lastEventTimestamp"] - stream["firstEventTimestamp"] == 249
        events = logs.get_log_events(logGroupName="/ecs/web", logStreamName=stream["logStreamName"], limit=2)
        assert [event["message"] for event in events["events"]] == ["line 248", "line 249"]
        with pytest.raises(logs.exceptions.ResourceAlreadyExistsException):
            logs.create_log_group(logGroupName="/ecs/web")
        logs.delete_log_group(logGroupName="/ecs/web")
        with pytest.raises(logs.exceptions.ResourceNotFoundException):
            logs.get_log_events(logGroupName="/ecs/web", logStreamName="web/app/1")

    await asyncio.to_thread(person)


async def test_live_tail_shows_what_arrives(endpoint: str) -> None:
    def person() -> list[str]:
        logs = client(endpoint)
        prepare(logs)
        put(logs, "before the session")
        (group,) = logs.describe_log_groups()["logGroups"]
        session = logs.start_live_tail(logGroupIdentifiers=[group["logGroupArn"]], logEventFilterPattern="-noise")
        found: list[str] = []
        for event in session["responseStream"]:
            if "sessionStart" in event:
                assert event["sessionStart"]["logGroupIdentifiers"] == [group["logGroupArn"]]
                put(logs, "first", "noise", "second")
            found += [result["message"] for result in event.get("sessionUpdate", {}).get("sessionResults", [])]
            if len(found) >= 2:
                session["responseStream"].close()
                return found
        return found

    assert await asyncio.to_thread(person) == ["first", "second"]


def aws_version_2() -> str | None:
    """The path of an `aws` that knows `logs tail` (only version 2 does)."""
    for candidate in ("/usr/bin/aws", "/usr/local/bin/aws", shutil.which("aws")):
        if candidate and Path(candidate).exists():
            with os.popen(f"{candidate} --version 2>&1") as answer:
                if answer.read().startswith("aws-cli/2"):
                    return candidate
    return None


@pytest.mark.skipif(aws_version_2() is None, reason="`aws logs tail` exists in version 2 of the aws CLI only")
async def test_aws_logs_tail_follow_shows_old_and_new_events(endpoint: str) -> None:
    logs = client(endpoint)
    await asyncio.to_thread(prepare, logs)
    await asyncio.to_thread(put, logs, "too old to be shown", ago=3600)
    await asyncio.to_thread(put, logs, "before the tail", "{}", ago=5)
    environment = {
        **os.environ,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "PYTHONUNBUFFERED": "1",
    }
    environment.pop("PYTHONPATH", None)
    command = [aws_version_2() or "", "--endpoint-url", endpoint, "logs", "tail", "/ecs/web", "--follow"]
    tail = await asyncio.create_subprocess_exec(
        *command, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    assert tail.stdout is not None
    try:
        first = (await tail.stdout.readline()).decode()
        assert "web/app/1 before the tail" in first
        assert "{}" in (await tail.stdout.readline()).decode()
        await asyncio.to_thread(put, logs, "while tailing")
        assert "web/app/1 while tailing" in (await tail.stdout.readline()).decode()
    finally:
        tail.kill()
        await tail.wait()
