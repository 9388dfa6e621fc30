"""Which rules may match a path: an index, so that a request is not held against every rule of its listener. Pure.

Rules whose path patterns begin with letters that mean themselves are kept under those letters. A request is held against
what lies under the longest of them that its path begins with: the rules of that entry, of entries that are a beginning of
it, and all rules that no path excludes, in the order of their priorities, as in the list that Envoy would go through
otherwise. Which rule is chosen is the same (`tests/proxy/test_index.py` compares the two).

What comes before all rules (`special` routes) is looked at first, once and in a coarse way; a request that one of them
may concern goes through the list.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

FEW = 8
"""With fewer rules the list is as cheap."""
MOST = 4
"""So many times the routes of the list may be in the index; beyond, too little is told apart by paths."""
LONG = 256
"""A path of this length goes through the list, where its length is counted."""

Route = dict[str, Any]

_MATCHED = "type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput"
_LIST = "type.googleapis.com/envoy.config.route.v3.RouteList"


class Candidate(msgspec.Struct, frozen=True):
    """The routes of one rule. Every path that they match begins with one of `beginnings`; None: it may be any path."""

    routes: Sequence[Route]
    beginnings: Sequence[str] | None = None


def chosen_by_path(special: Sequence[Route], candidates: Sequence[Candidate]) -> dict[str, Any]:
    """The part of an envoy.config.route.v3.VirtualHost that says which route a request takes: the first of `special` (two
    at least) and `candidates` (by priority) that matches."""
    linear = [*special, *(route for one in candidates for route in one.routes)]
    entries = sorted({entry for one in candidates for entry in one.beginnings or ()})
    if len(entries) < FEW:
        return {"routes": linear}
    index = {entry: _under(entry, candidates) for entry in entries}
    others = [route for one in candidates if one.beginnings is None for route in one.routes]
    if sum(map(len, index.values())) + len(others) > MOST * len(linear):
        return {"routes": linear}
    tree = {
        "input": _header(":path"),
        "prefix_match_map": {"map": {entry: _take(routes) for entry, routes in index.items()}},
    }
    by_path = {"matcher": {"matcher_tree": tree, "on_no_match": _take(others)}}
    concerned = {"or_matcher": {"predicate": [_may_match(route) for route in special]}}
    return {
        "matcher": {
            "matcher_list": {"matchers": [{"predicate": concerned, "on_match": _take(linear)}]},
            "on_no_match": by_path,
        }
    }


def _under(entry: str, candidates: Iterable[Candidate]) -> list[Route]:
    """What may match a path that begins with `entry` and with no longer entry."""
    found: list[Route] = []
    for one in candidates:
        if one.beginnings is not None and not any(map(entry.startswith, one.beginnings)):
            continue
        for route in one.routes:
            found.append(route)
            match = route["match"]
            if set(match) == {"prefix"} and entry.startswith(match["prefix"]):
                return found  # nothing gets past this one
    return found


def _take(routes: Sequence[Route]) -> dict[str, Any]:
    return {"action": {"name": "routes", "typed_config": {"@type": _LIST, "routes": list(routes)}}}


def _header(name: str) -> dict[str, Any]:
    return {"name": name, "typed_config": {"@type": _MATCHED, "header_name": name}}


def _may_match(route: Route) -> dict[str, Any]:
    """The predicate for requests that a special route concerns, or some more. Special routes look at one header."""
    (condition,) = route["match"]["headers"]
    wanted = condition.get("string_match", {})
    if "safe_regex" in wanted:
        value = _regex(wanted["safe_regex"]["regex"])
    elif "custom" in wanted:
        value = _regex(f"(?s).{{{LONG}}}.*")
    else:
        value = wanted or _regex("(?s).*")
    single = {"single_predicate": {"input": _header(condition["name"]), "value_match": value}}
    return {"not_matcher": single} if condition.get("invert_match") else single


def _regex(regex: str) -> dict[str, Any]:
    return {"safe_regex": {"google_re2": {}, "regex": regex}}
