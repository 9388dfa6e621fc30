"""Rule transforms: rewrites of Host and URL between matching and forwarding → filters of a route. Pure.

Envoy's own path rewriting knows the path only, an ALB rewrites path and query together. So one filter computes the new
values with Envoy's regular expressions (the same engine that AWS describes), a second one puts them in place without
choosing the route again. Source: semantics elbv2 §6.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from moorage.domain.load_balancer import Transform
from moorage.proxy.envoy.lua import lua_per_route

REWRITE = "moorage.rewrite"
REWRITTEN = "moorage.rewritten"
_COMPUTE = "type.googleapis.com/envoy.extensions.filters.http.header_to_metadata.v3.Config"
_LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
_HEADERS = {"url-rewrite": (":path", "path"), "host-header-rewrite": (":authority", "host")}
_PUT = f"""
function envoy_on_request(h)
  local made = h:streamInfo():dynamicMetadata():get("{REWRITE}")
  if not made then return end
  local headers = h:headers()
  if made["host"] and made["host"] ~= "" then headers:replace(":authority", made["host"]) end
  local path = made["path"]
  if path then
    if path:sub(1, 1) ~= "/" then path = "/" .. path end
    headers:replace(":path", path)
  end
end
"""


def filters() -> list[dict[str, Any]]:
    """For every connection manager, before its router; off until a route switches them on."""
    return [
        {
            "name": REWRITE,
            "disabled": True,
            "typed_config": {"@type": _COMPUTE, "request_rules": [_rule(":path", "path", "^$", "")]},
        },
        {
            "name": REWRITTEN,
            "disabled": True,
            "typed_config": {"@type": _LUA, "clear_route_cache": False},
        },
    ]


def per_route(transforms: Sequence[Transform]) -> dict[str, Any]:
    """The `typed_per_filter_config` of a rule's routes; empty without transforms."""
    if not transforms:
        return {}
    rules = [
        _rule(*_HEADERS[transform.type], transform.regex, _substitution(transform.replace)) for transform in transforms
    ]
    return {
        REWRITE: {"@type": _COMPUTE, "request_rules": rules},
        REWRITTEN: lua_per_route(_PUT),
    }


def _rule(header: str, key: str, regex: str, substitution: str) -> dict[str, Any]:
    return {
        "header": header,
        "on_header_present": {
            "metadata_namespace": REWRITE,
            "key": key,
            "regex_value_rewrite": {"pattern": {"regex": regex}, "substitution": substitution},
        },
    }


def _substitution(replace: str) -> str:
    """AWS writes a group as `$1`, Envoy as `\\1`; other backslashes stand for themselves."""
    return re.sub(r"\$([0-9])", r"\\\1", replace.replace("\\", "\\\\"))
