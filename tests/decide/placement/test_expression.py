from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from decide.placement.builders import a_host
from moorage.decide.placement.expression import (
    SUBJECTS,
    AllOf,
    Comparison,
    InvalidExpression,
    Not,
    OneOf,
    holds,
    parse,
)

HOST = a_host(
    "abc",
    attributes={"stack": "prod", "ecs.instance-type": "t3.large", "bare": None, "slots": "9"},
    version_info={"agentVersion": "1.9.0"},
    groups={"service:web": 2, "family:job": 1},
)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("attribute:stack == prod", True),
        ("attribute:stack equals test", False),
        ("attribute:stack == 'prod'", True),
        ("attribute:stack==prod", True),
        ("attribute:stack != prod", False),
        ("attribute:stack not_equals test", True),
        ("attribute:ecs.instance-type =~ (t3)+\\.(la|r|ge)*", True),
        ("attribute:absent == prod", False),
        ("attribute:absent != prod", True),
        ("attribute:stack exists", True),
        ("attribute:bare exists", True),
        ("attribute:absent exists", False),
        ("attribute:absent !exists", True),
        ("attribute:absent not_exists", True),
        ("attribute:stack in [test, prod]", True),
        ("attribute:stack !in [test, prod]", False),
        ("attribute:absent not_in [prod]", True),
        ("attribute:ecs.instance-type =~ t3.*", True),
        ("attribute:ecs.instance-type matches t3", False),
        ("attribute:ecs.instance-type !~ t3.*", False),
        ("attribute:ecs.instance-type =~ t[23]\\.(small|large)", True),
        ("(attribute:ecs.instance-type =~ t[23]\\.(small|large))", True),
        ("attribute:ecs.instance-type =~ (?<kind>t)3.*", True),
        ("attribute:ecs.availability-zone in [us-east-1a, us-east-1b]", True),
        # Numbers, versions and dates are compared as such.
        ("attribute:slots > 10", False),
        ("attribute:slots less_than 10", True),
        ("agentVersion < 1.10.0", True),
        ("agentVersion >= 1.9.0", True),
        ("registeredAt >= 2023-11-01", True),
        ("registeredAt < 2023-11-01T00:00:00Z", False),
        ("runningTasksCount == 3", True),
        ("runningTasksCount greater_than_equal 4", False),
        ("agentConnected == true", True),
        ("ec2InstanceId == i-abc", True),
        # One of the groups is enough; a denial needs all of them.
        ("task:group == service:web", True),
        ("task:group == family:job", True),
        ("task:group != service:web", False),
        ("task:group in [service:api]", False),
        ("not(task:group == service:api)", True),
        # and binds closer than or; not closest of all.
        ("attribute:stack == test and attribute:slots == 1 or attribute:slots == 9", True),
        ("attribute:stack == test && (attribute:slots == 1 || attribute:slots == 9)", False),
        ("!attribute:stack == test and attribute:slots == 9", True),
        ("!(attribute:stack == prod)", False),
    ],
)
def test_an_expression_holds(text, wanted):
    assert holds(parse(text), HOST) is wanted


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a subject, found the end"),
        ("stack == prod", "'stack' is not one of attribute:NAME, agentConnected"),
        ("attribute: == prod", "'attribute:' is not one of attribute:NAME"),
        ("attribute:stack", "expected an operator after 'attribute:stack', found the end"),
        ("attribute:stack is prod", "expected an operator after 'attribute:stack', found 'is' at position 15"),
        ("attribute:stack ==", "expected a value after '==', found the end"),
        ("attribute:stack == prod test", "expected 'and', 'or' or the end, found 'test' at position 23"),
        ("(attribute:stack == prod", "expected ')', found the end"),
        ("attribute:stack in prod", "expected '[', found 'prod' at position 18"),
        ("attribute:stack in [prod", "expected ',' or ']', found the end"),
        ("attribute:stack in []", "expected a value, found ']' at position 20"),
        ("attribute:stack =~ [", "the pattern '[' is not valid"),
        ("attribute:stack =~", "expected a pattern, found the end"),
        ("attribute:stack =~ \\p{Lower}", "'\\p' in the pattern '\\p{Lower}' is not supported"),
        ("attribute:stack =~ (a+)+b", "the pattern '(a+)+b' repeats a group that repeats"),
        ("attribute:stack =~ (a{2}|b)*", "the pattern '(a{2}|b)*' repeats a group that repeats"),
        ("attribute:stack == a and", "expected a subject, found the end"),
        ("attribute:stack == " + "a" * 2000, "the expression is longer than 2000 characters"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_place(text, message):
    with pytest.raises(InvalidExpression) as error:
        parse(text)
    assert str(error.value).startswith(message)


@given(st.text(max_size=60) | st.text(alphabet="()[]!=~<>&|'\" ,attribute:x inorexistsand", max_size=60))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(InvalidExpression):
        holds(parse(text), HOST)


_WORD = st.from_regex(r"[a-z][a-z0-9.:/-]{0,8}", fullmatch=True).filter(
    lambda w: w not in ("and", "or", "not", "in", "exists")
)
_COMPARISON = st.one_of(
    st.builds(
        Comparison,
        st.sampled_from(SUBJECTS) | _WORD.map("attribute:".__add__),
        st.sampled_from(("==", "!=", "<", ">=")),
        _WORD,
    ),
    st.builds(Comparison, st.just("task:group"), st.just("in"), st.lists(_WORD, min_size=1, max_size=3).map(tuple)),
    st.builds(Comparison, st.just("attribute:stack"), st.just("!exists"), st.none()),
)
_TREE = st.recursive(
    _COMPARISON,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(AllOf, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(OneOf, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=8,
)


def _written(expression) -> str:
    match expression:
        case Comparison(subject, operator, None):
            return f"{subject} {operator}"
        case Comparison(subject, "in", words):
            return f"{subject} in [{', '.join(words)}]"
        case Comparison(subject, operator, word):
            return f"{subject} {operator} {word}"
        case Not(inner):
            return f"!({_written(inner)})"
        case AllOf(parts):
            return " and ".join(f"({_written(p)})" for p in parts)
        case OneOf(parts):
            return " || ".join(f"({_written(p)})" for p in parts)


@given(_TREE)
def test_what_is_written_is_read_back(expression):
    assert parse(_written(expression)) == expression
