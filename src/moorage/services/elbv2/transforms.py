"""`Transforms` of rules: parameters → records and back (semantics elbv2 §6)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from moorage.domain.load_balancer import Action, Forward, Transform
from moorage.services.elbv2.conditions import regex_groups
from moorage.services.elbv2.validate import invalid

LONGEST = 1024
_CONFIGS = {"host-header-rewrite": "HostHeaderRewriteConfig", "url-rewrite": "UrlRewriteConfig"}


def parse(given: Iterable[Mapping[str, Any]] | None) -> tuple[Transform, ...]:
    """In the order given; at most one of each type."""
    found = tuple(_one(transform) for transform in given or ())
    for kind in _CONFIGS:
        if sum(transform.type == kind for transform in found) > 1:
            raise invalid(f"A rule can only have one '{kind}' transform")
    return found


def check(transforms: tuple[Transform, ...], actions: tuple[Action, ...]) -> None:
    """There must be something to forward."""
    if transforms and not any(isinstance(action, Forward) for action in actions):
        raise invalid("Transforms can only be specified for rules with an action of type 'forward'")


def shown(record: Transform) -> dict[str, Any]:
    rewrite = {"Regex": record.regex, "Replace": record.replace}
    return {"Type": record.type, _CONFIGS[record.type]: {"Rewrites": [rewrite]}}


def _one(given: Mapping[str, Any]) -> Transform:
    kind = given["Type"]
    if kind not in _CONFIGS:
        raise invalid(f"Transform type '{kind}' must be one of '{', '.join(_CONFIGS)}'")
    member = _CONFIGS[kind]
    for other in _CONFIGS.values():
        if other != member and given.get(other):
            raise invalid(f"{other} cannot be specified for a transform of type '{kind}'")
    rewrites = (given.get(member) or {}).get("Rewrites") or []
    if len(rewrites) != 1:
        raise invalid(f"A transform of type '{kind}' must have exactly one rewrite")
    regex, replace = rewrites[0]["Regex"], rewrites[0]["Replace"]
    for name, value in (("Regex", regex), ("Replace", replace)):
        if len(value) > LONGEST:
            raise invalid(f"The {name} of a transform cannot be longer than '{LONGEST}' characters")
    if not re.fullmatch(r"[\x20-\x7e]*", replace):
        raise invalid("The Replace of a transform contains a character that is not valid")
    groups = regex_groups(regex)
    for number in re.findall(r"\$([0-9])", replace):
        if int(number) > groups:
            raise invalid(f"The replacement '{replace}' names the group '${number}', which the regex does not have")
    return Transform(kind, regex, replace)
