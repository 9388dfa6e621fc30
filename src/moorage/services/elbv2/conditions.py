"""Conditions of rules: from the API's shape to records, with AWS's refusals (semantics elbv2 §3.3, §6)."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from moorage.domain.load_balancer import Condition
from moorage.services.elbv2.validate import invalid

MAX_VALUES = 5
MAX_WILDCARDS = 5


class _Kind(msgspec.Struct, frozen=True):
    """`config`: the typed member. `valid`: what one value may look like. `once`: one such condition a rule."""

    config: str
    valid: re.Pattern[str]
    longest: int = 128
    wildcards: bool = True
    regex: bool = False
    once: bool = False


_VISIBLE = re.compile(r"[\x20-\x7e]*")
KINDS: Mapping[str, _Kind] = {
    "path-pattern": _Kind("PathPatternConfig", re.compile(r"[A-Za-z0-9_\-.$/~\"'@:+&*?]*"), regex=True, once=True),
    "host-header": _Kind("HostHeaderConfig", re.compile(r"[A-Za-z0-9\-.*?]*"), regex=True, once=True),
    "http-header": _Kind("HttpHeaderConfig", _VISIBLE, regex=True),
    "http-request-method": _Kind(
        "HttpRequestMethodConfig", re.compile(r"[A-Z_-]*"), longest=40, wildcards=False, once=True
    ),
    "query-string": _Kind("QueryStringConfig", _VISIBLE),
    "source-ip": _Kind("SourceIpConfig", _VISIBLE, wildcards=False, once=True),
}
_FIELDS = "[path-pattern,host-header,http-header,http-request-method,query-string,source-ip]"
_HOST_TAIL = re.compile(r"\.[A-Za-z*?]+$")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


def parse(given: Sequence[Mapping[str, Any]]) -> tuple[Condition, ...]:
    if not given:
        raise invalid("A condition must be specified")
    found = tuple(_condition(condition) for condition in given)
    for field, kind in KINDS.items():
        if kind.once and sum(condition.field == field for condition in found) > 1:
            raise invalid(f"A rule can only have one '{field}' condition")
    if sum(len(c.values) + len(c.pairs) + len(c.regex) for c in found) > MAX_VALUES:
        raise invalid(f"A rule can only have '{MAX_VALUES}' condition values and regex values")
    if sum(map(_wildcards, found)) > MAX_WILDCARDS:
        raise invalid(f"A rule can only have '{MAX_WILDCARDS}' condition wildcards")
    return found


def _condition(given: Mapping[str, Any]) -> Condition:
    field = given.get("Field") or ""
    kind = KINDS.get(field)
    if kind is None:
        raise invalid(f"Condition field '{field}' must be one of '{_FIELDS}'")
    for other in KINDS.values():
        if other.config != kind.config and given.get(other.config):
            raise invalid(f"'{other.config}' is not supported for a condition of type '{field}'")
    config = given.get(kind.config)
    if not kind.regex and (given.get("RegexValues") or (config or {}).get("RegexValues")):
        raise invalid(f"'RegexValues' is not supported for a condition of type '{field}'")
    if field == "query-string":
        return _query_string(given, config)
    values, regex = _values(field, kind, given, config)
    for value in values:
        _check_value(field, kind, value)
    for pattern in regex:
        if len(pattern) > 128:
            raise invalid(f"Condition value for '{field}' cannot contain more than 128 characters")
        regex_groups(pattern)
    if field == "http-header":
        return Condition(field, values, header=_header_name(config or {}), regex=regex)
    return Condition(field, values, regex=regex)


def _values(
    field: str, kind: _Kind, given: Mapping[str, Any], config: Mapping[str, Any] | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(values, regex values), from the typed member or from the older plain one."""
    source = config if config is not None else given
    values, regex = source.get("Values"), source.get("RegexValues")
    if config is None and values is None and regex is None:
        members = f"Values or RegexValues or {kind.config}" if kind.regex else f"Values or {kind.config}"
        raise invalid(f"For conditions of type '{field}', you must specify the following fields: '{members}'")
    for member, typed in (("Values", values), ("RegexValues", regex)):
        if config is not None and given.get(member) and list(given[member]) != list(typed or []):
            raise invalid(f"You must provide exactly one of the following: ['{member}' '{kind.config}'] for '{field}'")
    if values and regex:
        raise invalid(
            f"You must provide exactly one of the following: ['Values' 'RegexValues'] for config of type '{field}'"
        )
    if not values and not regex:
        raise invalid("A condition value must be specified")
    return tuple(values or ()), tuple(regex or ())


def _query_string(given: Mapping[str, Any], config: Mapping[str, Any] | None) -> Condition:
    kind = KINDS["query-string"]
    if config is None:
        raise invalid(
            "For conditions of type 'query-string', you must specify the following fields: 'QueryStringConfig'"
        )
    pairs = tuple((pair.get("Key") or None, pair.get("Value") or "") for pair in config.get("Values") or ())
    if not pairs or any(not value for _, value in pairs):
        raise invalid("A condition value must be specified")
    for key, value in pairs:
        _check_value("query-string", kind, value)
        if key:
            _check_value("query-string", kind, key)
    return Condition("query-string", pairs=pairs)


def _header_name(config: Mapping[str, Any]) -> str:
    name = config.get("HttpHeaderName") or ""
    if not name:
        raise invalid("A header name must be specified for conditions of type 'http-header'")
    if len(name) > 40:
        raise invalid("Condition value for 'http-header' cannot contain more than 40 characters")
    if not _HEADER_NAME.fullmatch(name):
        raise invalid(f"Condition value '{name}' contains a character that is not valid")
    if name.lower() == "host":
        raise invalid("The 'Host' header cannot be used in a condition of type 'http-header'; use 'host-header'")
    return str(name)


def _check_value(field: str, kind: _Kind, value: str) -> None:
    if not value:
        raise invalid("A condition value must be specified")
    if len(value) > kind.longest:
        raise invalid(f"Condition value for '{field}' cannot contain more than {kind.longest} characters")
    if field == "source-ip":
        _check_cidr(value)
    elif not kind.valid.fullmatch(value) or (field == "host-header" and not _HOST_TAIL.search(value)):
        # AWS's words also for a host without a dot, or with digits after the last one
        raise invalid(f"Condition value '{value}' contains a character that is not valid")


def _check_cidr(value: str) -> None:
    try:
        if "/" not in value:
            raise ValueError(value)
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        raise invalid(f"The specified value '{value}' is not a valid CIDR block") from None


def regex_groups(pattern: str) -> int:
    """The number of groups of a regular expression, which Envoy's engine must understand: it would refuse the whole
    load balancer because of one that it does not know."""
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return int(re2.compile(pattern, options).groups)
    except re2.error:
        raise invalid(f"Condition value '{pattern}' is not a valid regular expression") from None


def _wildcards(condition: Condition) -> int:
    if not KINDS[condition.field].wildcards:
        return 0
    texts = [*condition.values, *(text for pair in condition.pairs for text in pair if text)]
    return sum(len(re.findall(r"(?<!\\)[*?]", text)) for text in texts)
