"""Pieces of Lua, and of the configuration that carries it. Pure."""

from __future__ import annotations

from typing import Any

LUA_PER_ROUTE = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.LuaPerRoute"
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-./:?#{}=&<>,;+~@!*()$^|[]%'")


def lua_text(text: str) -> str:
    """A Lua string literal for any text."""
    return '"' + "".join(c if c in _PLAIN else "".join(f"\\{b:03d}" for b in c.encode()) for c in text) + '"'


def lua_per_route(source: str) -> dict[str, Any]:
    return {"@type": LUA_PER_ROUTE, "source_code": {"inline_string": source}}
