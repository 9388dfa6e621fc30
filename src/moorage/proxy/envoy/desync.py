"""Desync mitigation: requests that other servers may read differently. Pure.

Envoy refuses by itself what AWS calls Severe. The rest takes a look at every header of every request, so only load
balancers in another mode than the default one have the filter that does it: `monitor` notes what it sees, `strictest`
answers 400 and closes. Source: semantics elbv2 §7; the reasons are AWS's (`domain.desync`).
"""

from __future__ import annotations

from typing import Any

from moorage.domain.desync import ATTRIBUTE, Mode
from moorage.domain.load_balancer import LoadBalancer
from moorage.proxy.envoy.lua import lua_per_route, lua_text
from moorage.proxy.envoy.pages import page

WATCH = "moorage.desync"
CODING_HEADER = "x-moorage-te"
"""Envoy has taken Transfer-Encoding away when filters see a request; its value is kept here until then."""
NOTED = f"%DYNAMIC_METADATA({WATCH}:reason)%"
"""What the request log gets to know."""
_LUA = "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"
_FORGET = f"""
function envoy_on_request(h)
  h:headers():remove("{CODING_HEADER}")
end
"""
_PROGRAM = f"""
local function noticed(h, headers, coding)
  if h:streamInfo():protocol() == "HTTP/2" then return nil end
  local acceptable = nil
  for name, value in pairs(headers) do
    if name:byte(1) ~= 58 then
      if value == "" then return "EmptyHeader" end
      local letters = name:gsub("%A", "")
      if letters == "transferencoding" and name ~= "transfer-encoding" then return "SuspiciousHeader" end
      if letters == "contentlength" and name ~= "content-length" then return "SuspiciousHeader" end
      if value:find("[^\\t -~]") then acceptable = "NonCompliantHeader" end
    end
  end
  local method = headers:get(":method")
  if method ~= "GET" and method ~= "HEAD" then return acceptable end
  if coding then return "UndefinedTransferEncodingSemantics" end
  local length = headers:get("content-length")
  if length and length ~= "0" then return "UndefinedContentLengthSemantics" end
  return acceptable or (length and "GetHeadZeroContentLength")
end
function envoy_on_request(h)
  local headers = h:headers()
  local coding = headers:get("{CODING_HEADER}")
  if coding then headers:remove("{CODING_HEADER}") end
  local reason = noticed(h, headers, coding)
  if not reason then return end
  h:streamInfo():dynamicMetadata():set("{WATCH}", "reason", reason)
  if not refuses then return end
  h:streamInfo():drainConnectionUponCompletion()
  h:respond({{[":status"] = "400", ["server"] = "awselb/2.0", ["content-type"] = "text/html"}}, page400)
end
"""


def mode_of(load_balancer: LoadBalancer) -> Mode:
    mode = load_balancer.attributes.get(ATTRIBUTE, "defensive")
    return "monitor" if mode == "monitor" else "strictest" if mode == "strictest" else "defensive"


def shared_mode(modes: set[Mode]) -> Mode:
    """Of a door that several load balancers share: it watches if one of them does, and is lenient if all are."""
    if modes <= {"defensive"}:
        return "defensive"
    return "monitor" if modes == {"monitor"} else "strictest"


def filters(mode: Mode) -> list[dict[str, Any]]:
    """The first of a connection manager's filters. A load balancer that only shares the door has nothing noted."""
    if mode == "defensive":
        return []
    forget = {"@type": _LUA, "default_source_code": {"inline_string": _FORGET}, "clear_route_cache": False}
    return [{"name": WATCH, "typed_config": forget}]


def early_mutations(mode: Mode) -> list[dict[str, Any]]:
    if mode == "defensive":
        return []
    header = {"key": CODING_HEADER, "value": "%REQ(TRANSFER-ENCODING)%"}
    return [{"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}}]


def per_route(load_balancer: LoadBalancer) -> dict[str, Any]:
    """The `typed_per_filter_config` of all routes of a load balancer."""
    mode = mode_of(load_balancer)
    if mode == "defensive":
        return {}
    refuses = "true" if mode == "strictest" else "false"
    source = f"local refuses, page400 = {refuses}, {lua_text(page(400))}\n{_PROGRAM}"
    return {WATCH: lua_per_route(source)}
