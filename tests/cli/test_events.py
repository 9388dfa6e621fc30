"""`moor events` against a server that has only Moorage's own doors."""

from __future__ import annotations

import json
import time

import pytest

from moorage.cli.commands import events

DOOR = "GET /_moorage/people/events"
NOW = time.time()


def an_event(message: str) -> dict[str, object]:
    return {"at": NOW, "service": "arn", "cluster": "c1", "message": message, "id": "u"}


def test_none(moor, served):
    served.answers[f"{DOOR}?limit=50"] = (200, {"cursor": "c", "events": []})
    assert moor("events") == (0, "There are no events.\n", "")


def test_messages_are_wrapped_beside_the_time(moor, served):
    tasks = " ".join(f"(task {number:032d})" for number in range(3))
    served.answers[f"{DOOR}?limit=50"] = (
        200,
        {"cursor": "c", "events": [an_event(f"(service web) has started {tasks}")]},
    )
    first, *rest = moor("events")[1].splitlines()
    assert first.startswith(f"{time.strftime('%H:%M:%S', time.localtime(NOW))}  (service web) has started (task 0")
    assert rest
    assert all(line.startswith(" " * 10) and len(line) <= 100 for line in rest)


def test_of_one_service_as_json(moor, served):
    found = {"cursor": "c", "events": [an_event("a"), an_event("b")]}
    served.answers[f"{DOOR}?service=web&limit=2"] = (200, found)
    out = moor("events", "--service", "web", "-n", "2", "--json")[1]
    assert [json.loads(line) for line in out.splitlines()] == found["events"]


def test_the_cluster_is_named_where_there_are_several(moor, served):
    found = {"cursor": "c", "clusters": 2, "events": [an_event("(service web) has reached a steady state.")]}
    served.answers[f"{DOOR}?limit=50"] = (200, found)
    assert moor("events")[1].endswith("  c1: (service web) has reached a steady state.\n")


def test_following_goes_on_from_the_cursor_until_the_server_is_gone(moor, served, monkeypatch):
    """The server holds each question, so that nobody asks in a circle; the last one ends this test as Ctrl-C would."""
    monkeypatch.setattr(events, "PAUSE", 0.0)
    served.answers[f"{DOOR}?limit=50"] = (200, {"cursor": "c1", "events": [an_event("one")]})
    served.answers[f"{DOOR}?after=c1&wait=20"] = (200, {"cursor": "c2", "events": [an_event("two")]})
    served.answers[f"{DOOR}?after=c2&wait=20"] = (503, {"message": "enough"})
    code, out, err = moor("events", "--follow")
    assert [line.rsplit(" ", 1)[-1] for line in out.splitlines()] == ["one", "two"]
    assert (code, err) == (1, "moor: enough. Its log: moor logs\n")


@pytest.mark.parametrize("lines", ["0", "-3"])
def test_only_what_comes(moor, served, lines):
    served.answers[f"{DOOR}?limit=0"] = (200, {"cursor": "c", "events": []})
    assert moor("events", "-n", lines)[0] == 0
