"""Filter patterns: what matches what. Examples follow the AWS guide's."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.services.logs.filter_fields import split_fields
from moorage.services.logs.filter_pattern import compile_pattern
from moorage.services.logs.filter_values import InvalidPattern


def matches(pattern: str, message: str) -> bool:
    predicate = compile_pattern(pattern)
    return predicate is None or predicate(message)


@pytest.mark.parametrize(
    ("pattern", "message", "expected"),
    [
        ("", "anything", True),
        ("  ", "anything", True),
        ("ERROR", "[ERROR 400] BAD REQUEST", True),
        ("error", "[ERROR 400] BAD REQUEST", False),
        ("ERROR REQUEST", "[ERROR 400] BAD REQUEST", True),
        ("ERROR GOOD", "[ERROR 400] BAD REQUEST", False),
        ('"BAD REQUEST"', "[ERROR 400] BAD REQUEST", True),
        ('"REQUEST BAD"', "[ERROR 400] BAD REQUEST", False),
        ("?ERROR ?WARN", "WARN: slow", True),
        ("?ERROR ?WARN", "INFO: fine", False),
        ("ERROR -EXITING", "[ERROR 1] EXITING", False),
        ("ERROR -EXITING", "[ERROR 1] going on", True),
        ('-"health check"', "GET health check", False),
        ("-x", "abc", True),
        ("%AUTHORIZED%", "UNAUTHORIZED", True),
        ("%4[0-9]{2}%", "status 404", True),
        ("%4[0-9]{2}%", "status 504", False),
        (r'"say \"hi\""', 'they say "hi"', True),
        ("100%", "100% done", True),
    ],
)
def test_terms(pattern: str, message: str, expected: bool) -> None:
    assert matches(pattern, message) is expected


EVENT = json.dumps(
    {
        "eventType": "UpdateTrail",
        "sourceIPAddress": "111.111.111.111",
        "arrayKey": ["value", "another value"],
        "objectList": [{"name": "a", "id": 1}, {"name": "b", "id": 2}],
        "SomeObject": None,
        "ThisFlag": True,
        "count": 4,
        "latency": 1.5e2,
        "dotted.key": "yes",
        "user": {"name": "bob"},
    }
)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ('{ $.eventType = "UpdateTrail" }', True),
        ("{ $.eventType = UpdateTrail }", True),
        ('{ $.eventType = "Other" }', False),
        ('{ $.eventType != "Other" }', True),
        ('{ $.missing != "Other" }', False),
        ("{ $.sourceIPAddress != 123.123.* }", True),
        ("{ $.sourceIPAddress = 111.111.* }", True),
        ('{ $.arrayKey[0] = "value" }', True),
        ('{ $.arrayKey[1] = "value" }', False),
        ('{ $.arrayKey[*] = "another*" }', True),
        ("{ $.objectList[1].id = 2 }", True),
        ("{ $.objectList[7].id = 2 }", False),
        ("{ $.SomeObject IS NULL }", True),
        ("{ $.SomeOtherObject NOT EXISTS }", True),
        ("{ $.SomeObject NOT EXISTS }", False),
        ("{ $.ThisFlag IS TRUE }", True),
        ("{ $.ThisFlag is false }", False),
        ("{ $.count > 3 }", True),
        ("{ $.count >= 5 }", False),
        ("{ $.count < 4.5 }", True),
        ("{ $.latency = 150 }", True),
        ("{ $.count = 4 && $.user.name = bob }", True),
        ("{ ($.count = 5 || $.user.name = bob) && $.ThisFlag IS TRUE }", True),
        ("{ $.count = 5 || ($.user.name = bob && $.ThisFlag IS FALSE) }", False),
        ("{ $.eventType = %Update.*% }", True),
        ("{ $.eventType = %^Trail% }", False),
        ("{ $.['dotted.key'] = yes }", True),
        ('{ $.["dotted.key"] = "no" }', False),
        ('{ $.count = "4" }', False),
    ],
)
def test_json(pattern: str, expected: bool) -> None:
    assert matches(pattern, EVENT) is expected


def test_json_patterns_match_no_other_text() -> None:
    assert not matches("{ $.a NOT EXISTS }", "plain text")
    assert not matches("{ $.a NOT EXISTS }", '{"broken": ')


LINE = '127.0.0.1 Prod frank [10/Oct/2000:13:25:15 -0700] "GET /index.html HTTP/1.0" 404 1534'


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[ip, server, username, timestamp, request, status_code, bytes]", True),
        ("[ip, server, username, timestamp, request, status_code]", False),
        ("[ip, server, username, timestamp, request, status_code = 404, bytes]", True),
        ("[ip, ..., status_code = 4*, bytes > 1000]", True),
        ("[ip, ..., status_code = 4*, bytes > 2000]", False),
        ("[..., bytes]", True),
        ("[ip = 127.0.0.1, ...]", True),
        ("[ip != 127.0.0.1, ...]", False),
        ('[ip, server, username, timestamp, request = "*index.html*", ...]', True),
        ("[ip, server, username = fr* && username != fred, ...]", True),
        ("[ip, server = Dev || server = Prod, ...]", True),
        ("[ip, server = Dev || server = Test, ...]", False),
        ("[ip = %127\\.0\\.0\\.[0-9]%, ...]", True),
    ],
)
def test_space_delimited(pattern: str, expected: bool) -> None:
    assert matches(pattern, LINE) is expected


def test_fields_of_a_line() -> None:
    assert split_fields(LINE) == [
        "127.0.0.1",
        "Prod",
        "frank",
        "10/Oct/2000:13:25:15 -0700",
        "GET /index.html HTTP/1.0",
        "404",
        "1534",
    ]


@pytest.mark.parametrize(
    "pattern",
    [
        '"open',
        "{ $.a = }",
        "{ $.a }",
        "{ $.a = 1",
        "{ a = 1 }",
        "[a, b",
        "[..., ...]",
        "[1]",
        "%[%",
        "{} x",
        "?",
        "x" * 1025,
    ],
)
def test_what_is_no_pattern(pattern: str) -> None:
    with pytest.raises(InvalidPattern):
        compile_pattern(pattern)


@given(st.text(alphabet='{}[]$.="%?- ab1*&|(),', max_size=25), st.text(max_size=25))
def test_any_text_is_a_pattern_or_refused(pattern: str, message: str) -> None:
    try:
        predicate = compile_pattern(pattern)
    except InvalidPattern:
        return
    if predicate is not None:
        assert predicate(message) in (True, False)
