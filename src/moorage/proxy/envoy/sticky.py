"""Stickiness by cookies: what the program of a route to a sticky target group has beside the common one. Pure.

Envoy's own cookie names the target and when stickiness ends (base64 of a protobuf with these two fields), and Envoy sets
it only when it chose a target. AWS gives the cookie again with every answer, and each time its duration begins anew; the
client keeps it for seven days. The cookie of target group stickiness carries the second in which it was given, so that its
duration ends here and not only in the client. Source: semantics elbv2 §6 and AWS's page on sticky sessions.
"""

from __future__ import annotations

_COOKIES = """
local function sticky(name, value)
  local expires = os.date("!%a, %d %b %Y %H:%M:%S GMT", os.time() + 604800)
  return name .. "=" .. value .. "; Expires=" .. expires .. "; Path=/"
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
function envoy_on_response(h)
  local headers = h:headers()
  local value = taken(headers, "AWSALB") or remembered(h)
  if not value then return end
  headers:add("set-cookie", sticky("AWSALB", value))
  headers:add("set-cookie", sticky("AWSALBCORS", value) .. "; SameSite=None; Secure")
end
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
function envoy_on_response(h)
  local headers, given = h:headers(), false
  for i = 0, headers:getNumValues("set-cookie") - 1 do
    if headers:getAtIndex("set-cookie", i):sub(1, #application) == application then given = true end
  end
  local chosen, known = taken(headers, "AWSALBAPP-0"), remembered(h)
  local value = chosen or known
  if value and (given or known) then headers:add("set-cookie", sticky("AWSALBAPP-0", value)) end
end
"""
_OF_GROUP = """
  local sent = headers:get("cookie") or ""
  local given = tonumber(sent:match("AWSALBTG%a*=%x+%.(%d+)"))
  if not given or os.time() - given >= {seconds} then
    local rest = sent:gsub("AWSALBTG%a*=[^;]*;?%s*", "")
    if rest == "" then headers:remove("cookie") else headers:replace("cookie", rest) end
    h:clearRouteCache()
  end
"""


def declarations(seconds: int, application_cookie: str = "nil") -> str:
    """What comes before the request function. `seconds`: the duration; `application_cookie`: a Lua string, the name and an
    equals sign."""
    return f"local seconds, application = {seconds}, {application_cookie}\n{_COOKIES}"


def on_request(*, of_application: bool) -> str:
    return _OF_APPLICATION if of_application else _OF_LOAD_BALANCER


def on_response(*, of_application: bool) -> str:
    """A function of its own, after that of requests."""
    return _APPLICATION_ANSWERS if of_application else _LOAD_BALANCER_ANSWERS


def group_on_request(seconds: int) -> str:
    """For the route that a target group's cookie leads to: a cookie of more than `seconds` ago is as good as none."""
    return _OF_GROUP.replace("{seconds}", str(seconds))
