"""What the load balancer itself says: AWS's small HTML pages and the mapping of Envoy's own failures to AWS's status
codes (semantics elbv2 §8).

Envoy marks every answer that it makes itself with response flags; the mappers turn those, and only those, into AWS's
codes and pages. An answer of a target, and a fixed response of a rule, carry no such flag and pass untouched.
"""

from __future__ import annotations

from typing import Any

SERVER = "awselb/2.0"
TITLES = {
    301: "301 Moved Permanently",
    302: "302 Found",
    400: "400 Bad Request",
    401: "401 Authorization Required",
    403: "403 Forbidden",
    404: "404 Not Found",
    405: "405 Method Not Allowed",
    408: "408 Request Time-out",
    413: "413 Request Entity Too Large",
    414: "414 Request-URI Too Large",
    463: "463",
    464: "464",
    500: "500 Internal Server Error",
    501: "501 Not Implemented",
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
    504: "504 Gateway Time-out",
    505: "505 HTTP Version Not Supported",
    507: "507 Insufficient Storage",
    561: "561",
}
UNKNOWN_HOST = (
    "No load balancer has this DNS name: %REQ(:AUTHORITY)%\n"
    "`moor status` lists the load balancers and their DNS names.\n"
)
LONGEST_LOCATION = 8192
"""Bytes of a redirect's target (semantics elbv2 §6)."""
_CEL = "type.googleapis.com/envoy.extensions.access_loggers.filters.cel.v3.ExpressionFilter"


def server_header(value: str = SERVER) -> dict[str, Any]:
    return {"header": {"key": "server", "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def page(status: int) -> str:
    """The HTML body of an answer made by the load balancer itself."""
    title = TITLES[status]
    return (
        f"<html>\r\n<head><title>{title}</title></head>\r\n"
        f"<body>\r\n<center><h1>{title}</h1></center>\r\n</body>\r\n</html>\r\n"
    )


def plain_on_https() -> str:
    """The HTML body for a client that speaks HTTP where TLS is expected; always with 400."""
    title = "The plain HTTP request was sent to HTTPS port"
    return (
        f"<html>\r\n<head><title>400 {title}</title></head>\r\n"
        f"<body>\r\n<center><h1>{TITLES[400]}</h1></center>\r\n<center>{title}</center>\r\n</body>\r\n</html>\r\n"
    )


def local_replies(*, unknown_host: bool, server: str = SERVER) -> dict[str, Any]:
    """Envoy's `local_reply_config`. First match wins. `unknown_host`: the listener is shared by several load balancers,
    so "no route" means that no load balancer has the Host's name. `server`: value of the Server header, an Envoy format;
    nothing: none."""
    no_route = _flags("NR"), 404, UNKNOWN_HOST if unknown_host else page(404), not unknown_host
    rows = [
        (_both(_flags("NR"), _expression("request.method == 'CONNECT'")), 400),  # no route can be for it
        (_details("absolute_path_rejected"), 400),  # `OPTIONS *`
        (_both(_redirects(), _leads_too_far()), 507),
        (_both(_flags("UF"), _details("timeout")), 504),  # no connection within the connect timeout
        (_flags("UT"), 504),
        (_both(_flags("SI"), _status(408)), 408),  # the client did not finish its request
        (_flags("SI", "DT"), 504),  # the target said nothing for the idle timeout
        (_flags("UF", "UC", "UR", "UPE", "LR"), 502),
        (_flags("UH", "NC", "UO", "URX", "NFCF"), 503),
        (_flags("DPE"), 400),
        (_both(_status(431), _not_of_a_rule()), 400),
        *((_both(_status(status), _not_of_a_rule()), status) for status in (400, 403, 501, 505)),
        (_status(301), 301),
        (_status(302), 302),
    ]
    of_status = [(when, status, page(status), True) for when, status in rows]
    # CONNECT before all that have no route
    return {"mappers": [_mapper(*row, server=server) for row in (of_status[0], no_route, *of_status[1:])]}


def _mapper(when: dict[str, Any], status: int, body: str, html: bool, *, server: str) -> dict[str, Any]:
    return {
        "filter": when,
        "status_code": status,
        "headers_to_add": [server_header(server)] if server else [],
        "body_format_override": {
            "text_format_source": {"inline_string": body},
            "content_type": "text/html" if html else "text/plain",
        },
    }


def _flags(*flags: str) -> dict[str, Any]:
    return {"response_flag_filter": {"flags": list(flags)}}


def _status(status: int) -> dict[str, Any]:
    value = {"default_value": status, "runtime_key": "moorage.never_set"}
    return {"status_code_filter": {"comparison": {"op": "EQ", "value": value}}}


def _leads_too_far() -> dict[str, Any]:
    """A redirect whose URL is longer than an ALB writes."""
    return _expression(f"size(response.headers['location']) > {LONGEST_LOCATION}")


def _redirects() -> dict[str, Any]:
    return {"or_filter": {"filters": [_status(301), _status(302)]}}


def _details(part: str) -> dict[str, Any]:
    return _expression(f"response.code_details.contains('{part}')")


def _not_of_a_rule() -> dict[str, Any]:
    """Not a fixed response, which may have any status."""
    return _expression("response.code_details != 'direct_response'")


def _expression(expression: str) -> dict[str, Any]:
    """A condition in CEL; only looked at for answers that Envoy makes itself."""
    return {
        "extension_filter": {
            "name": "envoy.access_loggers.extension_filters.cel",
            "typed_config": {"@type": _CEL, "expression": expression},
        }
    }


def _both(*filters: dict[str, Any]) -> dict[str, Any]:
    return {"and_filter": {"filters": list(filters)}}
