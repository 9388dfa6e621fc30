"""The small Lua program for what an ALB does to a request and Envoy cannot say in configuration: a trace id that the
client brought, a Host that must change (semantics elbv2 §7), cookies, and versions of HTTP.

Most requests need none of it and do not enter it (`translate_routes.unusual`): entering Lua at all costs a request most of
what the program costs. For the rest, strings are made ahead, and garbage is collected seldom (a state that is in use grows
to a megabyte or two instead of being swept every hundred requests).
"""

from __future__ import annotations

import msgspec

from moorage.domain.load_balancer import Redirect
from moorage.proxy.envoy import sticky
from moorage.proxy.envoy.lua import lua_text
from moorage.proxy.envoy.pages import page
from moorage.proxy.envoy.request_log import NOTES
from moorage.proxy.envoy.sticky import Stickiness

MARK = "moorage.seen"
"""Dynamic metadata of requests that have passed the script because their first route was not a rule's: their route is
chosen again, and not that one."""

_HEAD = """
collectgarbage("setpause", 1000)
math.randomseed(os.time() + tonumber(tostring({}):match("0x(%x+)"), 16) % 2147483647)
local random, format, time, find = math.random, string.format, os.time, string.find
local run = format("%08x%08x", random(0, 4294967295), random(0, 4294967295))
local low, high, second, prefix, hex = random(0, 255), random(0, 16777215), 0, "", {}
for i = 0, 255 do hex[i] = format("%02x", i) end
local function fresh()
  local now = time()
  low = low + 1
  if low == 256 then low, high, second = 0, (high + 1) % 16777216, 0 end
  if now ~= second then second, prefix = now, format("Root=1-%08x-%s%06x", now, run, high) end
  return prefix .. hex[low]
end
local function traced(old)
  local kept = {}
  for field in old:gmatch("[^;]+") do
    if not field:find("^%s*Self=") then kept[#kept + 1] = field end
  end
  local rest = table.concat(kept, ";")
  if rest:find("Root=", 1, true) then return "Self=" .. fresh():sub(6) .. ";" .. rest end
  if rest == "" then return fresh() end
  return fresh() .. ";" .. rest
end
function envoy_on_request(h)
  local headers = h:headers()
  local get = headers.get
  local host = get(headers, ":authority")
"""
_EDGE = """
  if host and find(host, "%u") then
    host = host:lower()
    headers:replace(":authority", host)
    h:clearRouteCache()
  end
"""
_HOST_WITHOUT_PORT = """
  if host and find(host, ":", 1, true) then
    local bare = host:match("^(.+):%d+$")
    if bare then
      headers:replace(":authority", bare)
      h:clearRouteCache()
    end
  end
"""
_HOST_WITH_PORT = """
  if host and not find(host, ":%d+$") then
    headers:replace(":authority", host .. ":{port}")
    h:clearRouteCache()
  end
"""
_TRACE = """
  local trace, info = get(headers, "x-amzn-trace-id"), h:streamInfo()
  if trace then
    trace = traced(trace)
    headers:replace("x-amzn-trace-id", trace)
    info:dynamicMetadata():set("NOTES", "trace", trace)
  end
  if not find(info:routeName(), "^%d") then
    info:dynamicMetadata():set("MARK", "MARK", true)
    h:clearRouteCache()
  end
end
""".replace("MARK", MARK).replace("NOTES", NOTES)


_REFUSE = """
local function refuse(h, status, body)
  h:respond({[":status"] = status, ["server"] = "awselb/2.0", ["content-type"] = "text/html"}, body)
end
"""
_ONLY_HTTP2 = """
  if h:streamInfo():protocol() ~= "HTTP/2" then refuse(h, "464", page464) end
"""
_ONLY_POST = """
  if headers:get(":method") ~= "POST" then refuse(h, "464", page464) end
"""


class TargetTraits(msgspec.Struct, frozen=True):
    """What the routes to a target group depend on beside its ARN. `version`: HTTP1, HTTP2 or GRPC. `sticky_seconds`:
    of the load balancer's cookie, or of the application's when `app_cookie` names one; None: not sticky. `zonal`: without
    cross-zone balancing (which is the listeners' business, not the program's)."""

    version: str = "HTTP1"
    sticky_seconds: int | None = None
    app_cookie: str = ""
    zonal: bool = False


def script(
    port: int,
    *,
    preserve_host: bool = False,
    edge: bool = False,
    traits: TargetTraits | None = None,
    stickiness: Stickiness | None = None,
) -> str:
    """The program for a listener on `port` (the port of the API, not of this machine). `preserve_host`: the load
    balancer's attribute. `edge`: the listener is shared and finds the load balancer by a lower-case Host. `traits`: of
    the target group, for the routes that lead to one that needs more; `stickiness` of such a route."""
    parts = [f"local page464 = {lua_text(page(464))}", _REFUSE] if traits is not None else []
    if stickiness is not None:
        parts.append(sticky.declarations(stickiness))
    parts.append(_HEAD)
    if edge:
        parts.append(_EDGE)
    if not preserve_host:
        parts.append(_HOST_WITHOUT_PORT if port in (80, 443) else _HOST_WITH_PORT.replace("{port}", str(port)))
    if traits is not None and traits.version != "HTTP1":
        parts.append(_ONLY_HTTP2)
    if traits is not None and traits.version == "GRPC":
        parts.append(_ONLY_POST)
    if stickiness is None:
        return "".join([*parts, _TRACE])
    return "".join([*parts, sticky.on_request(stickiness), _TRACE, sticky.on_response(stickiness)])


def redirect_script(redirect: Redirect, *, protocol: str, port: int, status: int, body: str) -> str:
    """The program of a redirect whose placeholders Envoy's own redirect cannot express."""
    template = f"{redirect.protocol.lower()}://{redirect.host}:{redirect.port}{redirect.path}"
    if redirect.query:
        template += f"?{redirect.query}"
    return f"""
local template = {lua_text(template)}
function envoy_on_request(h)
  local headers = h:headers()
  local host = headers:get(":authority") or ""
  local full = headers:get(":path") or "/"
  local path, query = full:match("^/?([^?]*)%??(.*)$")
  local values = {{
    protocol = {lua_text(protocol)}, port = {lua_text(str(port))}, host = host:match("^(.+):%d+$") or host,
    path = path, query = query,
  }}
  local location = template:gsub("#{{(%a+)}}", values):gsub("%?$", "")
  h:respond({{[":status"] = "{status}", ["location"] = location, ["server"] = "awselb/2.0",
    ["content-type"] = "text/html"}}, {lua_text(body)})
end
"""
