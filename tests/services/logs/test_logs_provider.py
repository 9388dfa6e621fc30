"""CloudWatch Logs' operations against the real store and events; answers are checked against the service model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from typing import Any

import botocore.session
import pytest
import pytest_asyncio
from botocore.validate import ParamValidator

from moorage.control.log_retention import ORPHANS, LogRetention
from moorage.domain.clock import Ids
from moorage.domain.errors import AwsError
from moorage.services.base import RequestContext
from moorage.services.logs.provider import LogsProvider
from moorage.store.log_events import MemoryLogEvents
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables.logs import LOG_GROUPS, TABLES

MODEL = botocore.session.get_session().get_service_model("logs")
ACCOUNT = "111122223333"
GROUP_ARN = f"arn:aws:logs:eu-west-1:{ACCOUNT}:log-group:/ecs/web"
NOW = 1_700_000_000_000
HOUR, DAY = 3_600_000, 86_400_000


class HandClock:
    time = NOW / 1000

    def now(self) -> float:
        return self.time


class Logs:
    """The provider as a caller sees it: `await logs("CreateLogGroup", logGroupName="/ecs/web")`."""

    def __init__(self, store: Store) -> None:
        self.clock = HandClock()
        self.store = store
        self.events = MemoryLogEvents()
        self.handlers = LogsProvider(store, self.clock, Ids(2), self.events).handlers()

    async def __call__(self, operation: str, account: str = ACCOUNT, **params: Any) -> dict[str, Any]:
        context = RequestContext(account, "eu-west-1", "logs", operation, "r", "test", f"arn:aws:iam::{account}:root")
        answer = dict(await self.handlers[operation](context, params) or {})
        shape = MODEL.operation_model(operation).output_shape
        if shape is not None:
            report = ParamValidator().validate(answer, shape)
            assert not report.has_errors(), report.generate_report()
        return answer

    async def stream(self, name: str = "s", group: str = "/ecs/web") -> None:
        await self("CreateLogStream", logGroupName=group, logStreamName=name)

    async def put(self, *events: tuple[int, str], stream: str = "s", group: str = "/ecs/web") -> dict[str, Any]:
        """`events`: (milliseconds from NOW, message)."""
        entries = [{"timestamp": NOW + offset, "message": message} for offset, message in events]
        return await self("PutLogEvents", logGroupName=group, logStreamName=stream, logEvents=entries)

    async def get(self, **params: Any) -> dict[str, Any]:
        return await self("GetLogEvents", logGroupName="/ecs/web", logStreamName="s", **params)

    async def filter(self, **params: Any) -> list[str]:
        """All pages."""
        found: list[str] = []
        while True:
            page = await self("FilterLogEvents", logGroupName="/ecs/web", **params)
            found += [event["message"] for event in page["events"]]
            if "nextToken" not in page:
                return found
            params["nextToken"] = page["nextToken"]


@pytest_asyncio.fixture
async def logs() -> AsyncIterator[Logs]:
    store = await Store.open(MemoryLog(), TABLES, verify=True)
    it = Logs(store)
    await it("CreateLogGroup", logGroupName="/ecs/web")
    yield it
    await store.close()


async def refusal(call: Awaitable[Any]) -> tuple[str, str]:
    with pytest.raises(AwsError) as error:
        await call
    return error.value.code, error.value.message


def texts(page: dict[str, Any]) -> list[str]:
    return [event["message"] for event in page["events"]]


# -- groups and streams ------------------------------------------------------------------------------------------------


async def test_a_group_as_described(logs: Logs) -> None:
    await logs("PutRetentionPolicy", logGroupName="/ecs/web", retentionInDays=7)
    (group,) = (await logs("DescribeLogGroups", logGroupNamePrefix="/ecs"))["logGroups"]
    assert group == {
        "logGroupName": "/ecs/web",
        "creationTime": NOW,
        "metricFilterCount": 0,
        "arn": f"{GROUP_ARN}:*",
        "storedBytes": 0,
        "logGroupClass": "STANDARD",
        "logGroupArn": GROUP_ARN,
        "deletionProtectionEnabled": False,
        "retentionInDays": 7,
    }
    await logs("DeleteRetentionPolicy", logGroupName="/ecs/web")
    assert "retentionInDays" not in (await logs("DescribeLogGroups"))["logGroups"][0]


async def test_what_exists_already_or_does_not(logs: Logs) -> None:
    await logs.stream()
    exists = "ResourceAlreadyExistsException"
    missing = "ResourceNotFoundException"
    assert await refusal(logs("CreateLogGroup", logGroupName="/ecs/web")) == (
        exists,
        "The specified log group already exists",
    )
    assert await refusal(logs.stream()) == (exists, "The specified log stream already exists")
    assert await refusal(logs.stream(group="none")) == (missing, "The specified log group does not exist.")
    assert await refusal(logs("DeleteLogGroup", logGroupName="none")) == (
        missing,
        "The specified log group does not exist.",
    )
    assert await refusal(logs.put((0, "x"), stream="none")) == (missing, "The specified log stream does not exist.")
    assert await refusal(logs.filter(logStreamNames=["none"])) == (missing, "The specified log stream does not exist.")


@pytest.mark.parametrize("name", ["", "a b", "ä", "x" * 513, "aws/x"])
async def test_names_that_are_no_group_names(logs: Logs, name: str) -> None:
    assert (await refusal(logs("CreateLogGroup", logGroupName=name)))[0] == "InvalidParameterException"


async def test_retention_has_fixed_values(logs: Logs) -> None:
    code, message = await refusal(logs("PutRetentionPolicy", logGroupName="/ecs/web", retentionInDays=2))
    assert code == "InvalidParameterException"
    assert "Value '2' at 'retentionInDays'" in message


async def test_groups_are_named_by_arn_too(logs: Logs) -> None:
    await logs.stream()
    await logs.put((0, "x"))
    for identifier in ("/ecs/web", GROUP_ARN, f"{GROUP_ARN}:*"):
        page = await logs("FilterLogEvents", logGroupIdentifier=identifier)
        assert texts(page) == ["x"]
        assert len((await logs("DescribeLogStreams", logGroupIdentifier=identifier))["logStreams"]) == 1
    both = logs("FilterLogEvents", logGroupIdentifier=GROUP_ARN, logGroupName="/ecs/web")
    assert (await refusal(both))[0] == "InvalidParameterException"
    assert (await refusal(logs("FilterLogEvents")))[0] == "InvalidParameterException"


async def test_accounts_do_not_see_each_other(logs: Logs) -> None:
    assert (await logs("DescribeLogGroups", account="999999999999"))["logGroups"] == []
    call = logs("DescribeLogStreams", account="999999999999", logGroupIdentifier=GROUP_ARN)
    assert (await refusal(call))[0] == "ResourceNotFoundException"


async def test_groups_by_prefix_pattern_and_page(logs: Logs) -> None:
    for name in ("/ecs/api", "/lambda/web", "other"):
        await logs("CreateLogGroup", logGroupName=name)

    async def names(**params: Any) -> list[str]:
        return [group["logGroupName"] for group in (await logs("DescribeLogGroups", **params))["logGroups"]]

    assert await names(logGroupNamePrefix="/ecs/") == ["/ecs/api", "/ecs/web"]
    assert await names(logGroupNamePattern="WEB") == ["/ecs/web", "/lambda/web"]
    first = await logs("DescribeLogGroups", limit=3)
    assert await names(limit=3, nextToken=first["nextToken"]) == ["other"]
    assert "less than or equal to 50" in (await refusal(logs("DescribeLogGroups", limit=51)))[1]


async def test_streams_by_name_and_by_last_event(logs: Logs) -> None:
    for name in ("b", "c", "a"):
        await logs.stream(name)
    await logs.put((-5, "old"), stream="c")
    await logs.put((-1, "new"), stream="a")

    async def names(**params: Any) -> list[str]:
        answer = await logs("DescribeLogStreams", logGroupName="/ecs/web", **params)
        return [stream["logStreamName"] for stream in answer["logStreams"]]

    assert await names() == ["a", "b", "c"]
    assert await names(descending=True) == ["c", "b", "a"]
    assert await names(orderBy="LastEventTime", descending=True) == ["a", "c", "b"]
    assert await names(logStreamNamePrefix="c") == ["c"]
    assert (await refusal(names(orderBy="LastEventTime", logStreamNamePrefix="c")))[0] == "InvalidParameterException"
    stream = (await logs("DescribeLogStreams", logGroupName="/ecs/web"))["logStreams"][0]
    assert (stream["firstEventTimestamp"], stream["lastEventTimestamp"], stream["lastIngestionTime"]) == (
        NOW - 1,
        NOW - 1,
        NOW,
    )
    assert stream["arn"] == f"{GROUP_ARN}:log-stream:a"


async def test_tags_in_both_generations_of_the_api(logs: Logs) -> None:
    await logs("TagResource", resourceArn=GROUP_ARN, tags={"team": "a", "stage": "prod"})
    await logs("TagLogGroup", logGroupName="/ecs/web", tags={"team": "b"})
    assert (await logs("ListTagsForResource", resourceArn=f"{GROUP_ARN}:*"))["tags"] == {"team": "b", "stage": "prod"}
    await logs("UntagResource", resourceArn=GROUP_ARN, tagKeys=["stage"])
    await logs("UntagLogGroup", logGroupName="/ecs/web", tags=["team"])
    assert (await logs("ListTagsLogGroup", logGroupName="/ecs/web"))["tags"] == {}


async def test_a_protected_group_is_not_deleted(logs: Logs) -> None:
    await logs("PutLogGroupDeletionProtection", logGroupIdentifier=GROUP_ARN, deletionProtectionEnabled=True)
    assert (await refusal(logs("DeleteLogGroup", logGroupName="/ecs/web")))[0] == "ValidationException"


async def test_a_deleted_group_takes_its_events_with_it(logs: Logs) -> None:
    await logs.stream()
    await logs.put((0, "old"))
    await logs("DeleteLogGroup", logGroupName="/ecs/web")
    await logs("CreateLogGroup", logGroupName="/ecs/web")
    await logs.stream()
    assert await logs.filter() == []
    assert (await logs("DescribeLogStreams", logGroupName="/ecs/web"))["logStreams"][0].get(
        "lastEventTimestamp"
    ) is None


# -- putting -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offsets", "kept", "rejected"),
    [
        ([0], 1, None),
        ([-14 * DAY - 1, -14 * DAY, -14 * DAY + 1], 2, {"tooOldLogEventEndIndex": 1}),
        ([2 * HOUR, 2 * HOUR + 1], 1, {"tooNewLogEventStartIndex": 1}),
        ([-3 * DAY - 2, -3 * DAY - 1, -3 * DAY], 1, {"expiredLogEventEndIndex": 2}),
        ([-15 * DAY, -15 * DAY + 1], 0, {"tooOldLogEventEndIndex": 2}),
    ],
)
async def test_events_outside_the_window_are_dropped_and_named(
    logs: Logs, offsets: list[int], kept: int, rejected: dict[str, int] | None
) -> None:
    await logs.stream()
    if rejected and "expiredLogEventEndIndex" in rejected:
        await logs("PutRetentionPolicy", logGroupName="/ecs/web", retentionInDays=3)
    answer = await logs.put(*((offset, str(offset)) for offset in offsets))
    assert answer.get("rejectedLogEventsInfo") == rejected
    assert len(await logs.filter()) == kept
    assert len(answer["nextSequenceToken"]) == 56


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([(1, "b"), (0, "a")], "Log events in a single PutLogEvents request must be in chronological order."),
        (
            [(-DAY - 1, "a"), (0, "b")],
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ),
        ([(0, "x" * 600_000), (1, "y" * 500_000)], "Upload too large: 1100052 bytes exceeds limit of 1048576"),
        ([], "Member must have length greater than or equal to 1"),
        ([(0, "")] * 1, "Log event message must not be empty."),
        ([(0, "x")] * 10_001, "Member must have length less than or equal to 10000"),
    ],
)
async def test_batches_that_are_refused_whole(logs: Logs, events: list[tuple[int, str]], message: str) -> None:
    await logs.stream()
    code, said = await refusal(logs.put(*events))
    assert code == "InvalidParameterException"
    assert message in said
    assert await logs.filter() == []


# -- getting -----------------------------------------------------------------------------------------------------------


async def test_reading_on_until_the_same_token_comes_back(logs: Logs) -> None:
    await logs.stream()
    await logs.put(*((n, str(n)) for n in range(5)))
    page = await logs.get(startFromHead=True, limit=3)
    assert texts(page) == ["0", "1", "2"]
    page = await logs.get(nextToken=page["nextForwardToken"], limit=3)
    assert texts(page) == ["3", "4"]
    end = await logs.get(nextToken=page["nextForwardToken"])
    assert (texts(end), end["nextForwardToken"]) == ([], page["nextForwardToken"])
    await logs.put((9, "later"))
    assert texts(await logs.get(nextToken=end["nextForwardToken"])) == ["later"]


async def test_reading_back_from_the_end(logs: Logs) -> None:
    await logs.stream()
    await logs.put(*((n, str(n)) for n in range(5)))
    page = await logs.get(limit=2)
    assert texts(page) == ["3", "4"]
    page = await logs.get(nextToken=page["nextBackwardToken"], limit=2)
    assert texts(page) == ["1", "2"]
    page = await logs.get(nextToken=page["nextBackwardToken"], limit=2)
    assert texts(page) == ["0"]
    start = await logs.get(nextToken=page["nextBackwardToken"])
    assert (texts(start), start["nextBackwardToken"]) == ([], page["nextBackwardToken"])
    assert texts(await logs.get(nextToken=start["nextForwardToken"], limit=2)) == ["0", "1"]


async def test_turning_round_at_the_end_sees_the_last_event_again(logs: Logs) -> None:
    await logs.stream()
    await logs.put((0, "a"), (1, "b"))
    page = await logs.get(startFromHead=True)
    end = await logs.get(nextToken=page["nextForwardToken"])
    assert texts(await logs.get(nextToken=end["nextBackwardToken"], limit=1)) == ["b"]


async def test_an_empty_stream_can_be_waited_for(logs: Logs) -> None:
    await logs.stream()
    page = await logs.get(startFromHead=True)
    assert page["nextForwardToken"].startswith("f/")
    await logs.put((0, "first"))
    assert texts(await logs.get(nextToken=page["nextForwardToken"])) == ["first"]


async def test_time_bounds_of_a_stream_leave_the_end_out(logs: Logs) -> None:
    await logs.stream()
    await logs.put((0, "a"), (1, "b"), (2, "c"))
    assert texts(await logs.get(startTime=NOW + 1, endTime=NOW + 2)) == ["b"]


async def test_tokens_that_are_none(logs: Logs) -> None:
    await logs.stream()
    expected = ("InvalidParameterException", "The specified nextToken is invalid.")
    for token in ("x", "f/1/s", "g/" + "0" * 56 + "/s", "ä"):
        assert await refusal(logs.get(nextToken=token)) == expected
        assert await refusal(logs.filter(nextToken=token)) == expected


# -- filtering ---------------------------------------------------------------------------------------------------------


async def test_streams_are_interleaved_and_bounds_are_inclusive(logs: Logs) -> None:
    for name in ("web/1", "web/2", "job/1"):
        await logs.stream(name)
    await logs.put((0, "a"), (2, "c"), stream="web/1")
    await logs.put((1, "b"), (3, "d"), stream="web/2")
    await logs.put((1, "job"), stream="job/1")
    assert await logs.filter(limit=1) == ["a", "b", "job", "c", "d"]
    assert await logs.filter(startFromHead=False, limit=2) == ["d", "c", "job", "b", "a"]
    assert await logs.filter(logStreamNamePrefix="web/") == ["a", "b", "c", "d"]
    assert await logs.filter(logStreamNamePrefix="none") == []
    assert await logs.filter(logStreamNames=["job/1", "web/2"]) == ["b", "job", "d"]
    assert await logs.filter(startTime=NOW + 1, endTime=NOW + 2) == ["b", "job", "c"]
    both = logs.filter(logStreamNames=["job/1"], logStreamNamePrefix="web/")
    assert (await refusal(both))[0] == "InvalidParameterException"


async def test_filtered_events_have_everything_a_tail_needs(logs: Logs) -> None:
    await logs.stream()
    await logs.put((0, "ERROR a"), (0, "fine"), (0, "ERROR b"))
    page = await logs("FilterLogEvents", logGroupName="/ecs/web", filterPattern="ERROR", interleaved=True)
    first, second = page["events"]
    assert first["logStreamName"] == "s"
    assert (first["timestamp"], first["ingestionTime"], first["message"]) == (NOW, NOW, "ERROR a")
    assert len(first["eventId"]) == 56
    assert first["eventId"] < second["eventId"]
    assert page["searchedLogStreams"] == []
    assert (await refusal(logs.filter(filterPattern="{ $.a")))[0] == "InvalidParameterException"


# -- retention ---------------------------------------------------------------------------------------------------------


async def test_expired_events_are_not_shown_and_then_deleted(logs: Logs) -> None:
    await logs.stream()
    await logs.put((0, "old"))
    await logs("PutRetentionPolicy", logGroupName="/ecs/web", retentionInDays=1)
    logs.clock.time += 86_400 + 1
    await logs(
        "PutLogEvents",
        logGroupName="/ecs/web",
        logStreamName="s",
        logEvents=[{"timestamp": int(logs.clock.time * 1000), "message": "young"}],
    )
    assert await logs.filter() == ["young"]
    assert texts(await logs.get()) == ["young"]
    (group,) = logs.store.all(LOG_GROUPS)
    retention = LogRetention(logs.store, logs.clock, logs.events)
    assert (await retention.reconcile(group.arn)).said == "events older than 1 days are deleted"
    (described,) = (await logs("DescribeLogGroups"))["logGroups"]
    assert described["storedBytes"] == len("young") + 26


async def test_events_without_a_stream_are_cleaned_up(logs: Logs) -> None:
    await logs.stream()
    await logs.put((0, "kept"))
    await logs.events.append("gone", "gone", [(NOW, "left behind")], NOW)
    await LogRetention(logs.store, logs.clock, logs.events).reconcile(ORPHANS)
    assert logs.events.stats("gone").bytes == 0
    assert await logs.filter() == ["kept"]


# -- live tail ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "params",
    [
        {"logGroupIdentifiers": ["/ecs/web"]},
        {"logGroupIdentifiers": [f"{GROUP_ARN}:*"]},
        {"logGroupIdentifiers": [GROUP_ARN] * 11},
        {"logGroupIdentifiers": [GROUP_ARN, GROUP_ARN], "logStreamNames": ["s"]},
        {"logGroupIdentifiers": [GROUP_ARN], "logStreamNames": ["s"], "logStreamNamePrefixes": ["s"]},
        {"logGroupIdentifiers": [GROUP_ARN], "logEventFilterPattern": "{"},
    ],
)
async def test_live_tails_that_are_refused(logs: Logs, params: dict[str, Any]) -> None:
    assert (await refusal(logs("StartLiveTail", **params)))[0] == "InvalidParameterException"


async def test_a_busy_live_tail_is_sampled_and_a_closed_one_forgotten(
    logs: Logs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("moorage.services.logs.live_tail.EVERY", 0)
    await logs.stream()
    params = {"logGroupIdentifiers": [GROUP_ARN], "logStreamNamePrefixes": ["s"]}
    context = RequestContext(ACCOUNT, "eu-west-1", "logs", "StartLiveTail", "r", "test", "arn")
    session = (await logs.handlers["StartLiveTail"](context, params))["responseStream"]
    assert "sessionStart" in await anext(session)
    await logs.put(*((0, str(n)) for n in range(600)))
    update = (await anext(session))["sessionUpdate"]
    assert (len(update["sessionResults"]), update["sessionMetadata"]) == (500, {"sampled": True})
    assert (await anext(session))["sessionUpdate"] == {"sessionMetadata": {"sampled": False}, "sessionResults": []}
    logs.clock.time += 3 * 3600
    assert (await refusal(anext(session)))[0] == "SessionTimeoutException"
    assert logs.events._watchers == []
