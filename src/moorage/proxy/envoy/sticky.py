"""Stickiness by cookies: what the program of a route to a sticky target group has beside the common one. Pure.

Envoy's own cookie names the target and when it expires (`stickiness.….duration_seconds` after it was first given), and
Envoy sets it only when it chose a target. AWS gives the cookie again with every answer, for seven days, and twice: once for
requests from other sites. The cookie of target group stickiness carries the second in which it was given, so that its
duration ends here and not only in the client. Source: semantics elbv2 §6.
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
local function remembered(h)
  local known = h:streamInfo():dynamicMetadata():get("moorage")
  return known and known["stuck"]
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
  remember(h, (headers:get("cookie") or ""):match('AWSALBAPP%-0="?([^;"]*)'))
"""
_APPLICATION_ANSWERS = """
function envoy_on_response(h)
  local headers, given = h:headers(), false
  for i = 0, headers:getNumValues("set-cookie") - 1 do
    if headers:getAtIndex("set-cookie", i):sub(1, #application) == application then given = true end
  end
  local chosen, known = taken(headers, "AWSALBAPP-0"), remembered(h)
  if not given and not known then return end
  local value = chosen or (given and known)
  if value then headers:add("set-cookie", sticky("AWSALBAPP-0", value)) end
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


def declarations(application_cookie: str | None) -> str:
    """What comes before the request function. `application_cookie`: a Lua string; None: the load balancer's own."""
    return _COOKIES if application_cookie is None else f"{_COOKIES}local application = {application_cookie}\n"


def on_request(*, of_application: bool) -> str:
    return _OF_APPLICATION if of_application else _OF_LOAD_BALANCER


def on_response(*, of_application: bool) -> str:
    """A function of its own, after that of requests."""
    return _APPLICATION_ANSWERS if of_application else _LOAD_BALANCER_ANSWERS


def group_on_request(seconds: int) -> str:
    """For the route that a target group's cookie leads to: a cookie of more than `seconds` ago is as good as none."""
    return _OF_GROUP.replace("{seconds}", str(seconds))
