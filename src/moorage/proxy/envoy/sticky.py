"""Stickiness by cookies: what the program of a route to a sticky target group has beside the common one. Pure.

Envoy's own cookie names the target and when stickiness ends (base64 of a protobuf with these two fields), and Envoy sets
it only when it chose a target. AWS gives the cookie again with every answer, and each time its duration begins anew; the
client keeps it for seven days. The cookie of target group stickiness, which Envoy knows nothing of, names the group and the
second in which it was given. Source: semantics elbv2 §6 and AWS's page on sticky sessions.
"""

from __future__ import annotations

import msgspec

from moorage.proxy.envoy.lua import lua_text
from moorage.proxy.envoy.pages import SERVER

_COOKIES = """
local function sticky(name, value)
  local expires = os.date("!%a, %d %b %Y %H:%M:%S GMT", os.time() + 604800)
  return name .. "=" .. value .. "; Expires=" .. expires .. "; Path=/"
end
local function twice(headers, name, value)
  headers:add("set-cookie", sticky(name, value))
  headers:add("set-cookie", sticky(name .. "CORS", value) .. "; SameSite=None; Secure")
end
local function taken(headers, name)
  local kept, value = {}, nil
  for i = 0, headers:getNumValues("set-cookie") - 1 do
    local one = headers:getAtIndex("set-cookie", i)
    if one:sub(1, #name + 1) == name .. "=" then
      value = one:match('="?([^;"]*)')
    else
      kept[#kept + 1] = one
    end
  end
  if value then
    headers:remove("set-cookie")
    for _, one in ipairs(kept) do headers:add("set-cookie", one) end
  end
  return value
end
local letters, places = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", {}
for i = 1, 64 do places[letters:byte(i)] = i - 1 end
local function decoded(text)
  local out, bits, held = {}, 0, 0
  for i = 1, #text do
    local place = places[text:byte(i)]
    if not place then break end
    held, bits = (held * 64 + place) % 16777216, bits + 6
    if bits >= 8 then
      bits = bits - 8
      out[#out + 1] = string.char(math.floor(held / 2 ^ bits) % 256)
    end
  end
  return table.concat(out)
end
local function renewed(h, value)
  local old = decoded(value)
  local target = old:sub(1, 2 + (old:byte(2) or 0))
  if old:byte(1) ~= 10 or old:byte(#target + 1) ~= 16 then return value end
  local rest, ends = os.time() + seconds, ""
  while rest > 127 do ends, rest = ends .. string.char(rest % 128 + 128), math.floor(rest / 128) end
  return h:base64Escape(target .. string.char(16) .. ends .. string.char(rest))
end
local function remembered(h)
  local known = h:streamInfo():dynamicMetadata():get("moorage")
  local value = known and known["stuck"]
  return value and renewed(h, value)
end
local function anew(h)
  h:streamInfo():dynamicMetadata():set("moorage.log", "anew", "1")
end
local function remember(h, value)
  if value then h:streamInfo():dynamicMetadata():set("moorage", "stuck", value) end
end
"""
_OF_LOAD_BALANCER = """
  local cookies = headers:get("cookie") or ""
  local stuck = cookies:match('AWSALB="?([^;"]*)')
  if not stuck then
    stuck = cookies:match('AWSALBCORS="?([^;"]*)')
    if stuck then headers:replace("cookie", cookies .. "; AWSALB=" .. stuck) end
  end
  remember(h, stuck)
"""
_LOAD_BALANCER_ANSWERS = """
  local chosen = taken(headers, "AWSALB")
  local value = chosen or remembered(h)
  if chosen then anew(h) end
  if value then twice(headers, "AWSALB", value) end
"""
_OF_APPLICATION = """
  local cookies = headers:get("cookie") or ""
  local stuck = cookies:match('AWSALBAPP%-0="?([^;"]*)')
  if stuck and not (";" .. cookies:gsub("%s", "")):find(";" .. application, 1, true) then
    stuck = nil
    headers:replace("cookie", (cookies:gsub("AWSALBAPP%-0=[^;]*;?%s*", "")))
  end
  remember(h, stuck)
"""
_APPLICATION_ANSWERS = """
  local given = false
  for i = 0, headers:getNumValues("set-cookie") - 1 do
    if headers:getAtIndex("set-cookie", i):sub(1, #application) == application then given = true end
  end
  local chosen, known = taken(headers, "AWSALBAPP-0"), remembered(h)
  local value = chosen or known
  if chosen then anew(h) end
  if value and (given or known) then headers:add("set-cookie", sticky("AWSALBAPP-0", value)) end
"""
_GROUP_ANSWERS = """
  twice(headers, "AWSALBTG", group .. "." .. os.time())
"""
_OF_GROUP = """
  local sent = headers:get("cookie") or ""
  local given = tonumber(sent:match("AWSALBTG%a*=%x+%.(%d+)"))
  if not given or os.time() - given >= group_seconds then
    local rest = sent:gsub("AWSALBTG%a*=[^;]*;?%s*", "")
    if rest == "" then headers:remove("cookie") else headers:replace("cookie", rest) end
    h:clearRouteCache()
  end
"""


class Stickiness(msgspec.Struct, frozen=True):
    """What a route needs. `seconds`: of the target's cookie, that of the application named `application` if there is one;
    None: targets are not sticky. `group`: what the cookie of target group stickiness says, `group_seconds` how long it
    holds; `led`: such a cookie has led to this route."""

    seconds: int | None = None
    application: str = ""
    group: str = ""
    group_seconds: int = 0
    led: bool = False


def declarations(of: Stickiness) -> str:
    """What comes before the request function."""
    names = "local seconds, application, group, group_seconds = "
    values = f"{of.seconds or 0}, {lua_text(of.application + '=')}, {lua_text(of.group)}, {of.group_seconds}"
    return f"{names}{values}\n{_COOKIES}"


def on_request(of: Stickiness) -> str:
    parts = [_OF_GROUP] if of.led else []
    if of.seconds is not None:
        parts.append(_OF_APPLICATION if of.application else _OF_LOAD_BALANCER)
    return "".join(parts)


def on_response(of: Stickiness) -> str:
    """A function of its own, after that of requests. Where the load balancer itself had to answer, nobody should stay."""
    own = f'  if headers:get("server") == "{SERVER}" then return end\n'
    parts = [own]
    if of.seconds is not None:
        parts.append(_APPLICATION_ANSWERS if of.application else _LOAD_BALANCER_ANSWERS)
    if of.group:
        parts.append(_GROUP_ANSWERS)
    return "".join(["\nfunction envoy_on_response(h)\n  local headers = h:headers()\n", *parts, "end\n"])
