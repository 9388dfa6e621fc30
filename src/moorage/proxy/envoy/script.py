"""The small Lua program that every request passes: what an ALB does to a request and Envoy cannot say in configuration.

It is kept short because it runs for every request: the trace id, the Host rules, and which methods must not be repeated
once they were sent (semantics elbv2 §7). Everything else is plain configuration.
"""

from __future__ import annotations

from moorage.domain.load_balancer import Redirect
from moorage.proxy.envoy.pages import page

_HEAD = """
math.randomseed(os.time() + tonumber(tostring({}):match("0x(%x+)"), 16) % 2147483647)
local random, format, time = math.random, string.format, os.time
local run = format("%08x%08x", random(0, 4294967295), random(0, 4294967295))
local count, second, prefix = random(0, 4294967295), 0, ""
local function fresh()
  local now = time()
  if now ~= second then second, prefix = now, format("1-%08x-%s", now, run) end
  count = (count + 1) % 4294967296
  return prefix .. format("%08x", count)
end
local function traced(old)
  local kept = {}
  for field in old:gmatch("[^;]+") do
    if not field:find("^%s*Self=") then kept[#kept + 1] = field end
  end
  local rest = table.concat(kept, ";")
  if rest:find("Root=", 1, true) then return "Self=" .. fresh() .. ";" .. rest end
  if rest == "" then return "Root=" .. fresh() end
  return "Root=" .. fresh() .. ";" .. rest
end
function envoy_on_request(h)
  local headers = h:headers()
  local host = headers:get(":authority")
"""
_EDGE = """
  if host and host:find("%u") then
    host = host:lower()
    headers:replace(":authority", host)
    h:clearRouteCache()
  end
"""
_HOST_WITHOUT_PORT = """
  if host and host:find(":", 1, true) then
    local bare = host:match("^(.+):%d+$")
    if bare then headers:replace(":authority", bare) end
  end
"""
_HOST_WITH_PORT = """
  if host and not host:find(":%d+$") then headers:replace(":authority", host .. ":{port}") end
"""
_TRACE_AND_RETRY = """
  local trace = headers:get("x-amzn-trace-id")
  if trace then
    headers:replace("x-amzn-trace-id", traced(trace))
  else
    headers:add("x-amzn-trace-id", "Root=" .. fresh())
  end
  local method = headers:get(":method")
  if method ~= "GET" and method ~= "HEAD" then
    if method == "TRACE" then
      h:respond({[":status"] = "405", ["server"] = "awselb/2.0", ["content-type"] = "text/html"}, page405)
    end
    headers:add("x-envoy-retry-on", "connect-failure")
  end
end
"""


def script(port: int, *, preserve_host: bool = False, edge: bool = False) -> str:
    """The program for a listener on `port` (the port of the API, not of this machine). `preserve_host`: the load
    balancer's attribute. `edge`: the listener is shared and finds the load balancer by a lower-case Host."""
    parts = [f"local page405 = {lua_text(page(405))}", _HEAD]
    if edge:
        parts.append(_EDGE)
    if not preserve_host:
        parts.append(_HOST_WITHOUT_PORT if port in (80, 443) else _HOST_WITH_PORT.replace("{port}", str(port)))
    parts.append(_TRACE_AND_RETRY)
    return "".join(parts)


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


def lua_text(text: str) -> str:
    """A Lua string literal for any text."""
    plain = set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-./:?#{}=&<>,;+~@!*()$^|[]%'")
    return '"' + "".join(c if c in plain else "".join(f"\\{b:03d}" for b in c.encode()) for c in text) + '"'
