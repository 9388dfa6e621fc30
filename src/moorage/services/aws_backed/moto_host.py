"""moto without its web server: one request in, one answer out, on one thread.

Imported by the worker only, after `determinism.install()`. It finds moto's handler for a request (directly by the
service, never by guessing from the host name), tells it account and region, and turns what comes back into bytes.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from urllib.parse import unquote_to_bytes

from botocore.exceptions import ClientError
from botocore.model import OperationNotFoundError

from moorage.services.aws_backed import determinism, mend, mend_services
from moorage.services.aws_backed.frames import Answer, Call
from moorage.services.aws_backed.moto_modules import moto_module
from moorage.services.aws_backed.operations import MOTO_SERVICES, known_missing

log = logging.getLogger("moorage.aws_backed")

_BUCKET_HOST = re.compile(r"^(?P<bucket>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9])\.s3(?:[.-][a-z0-9-]+)*\.")

Handler = Callable[..., Any]


class MotoHost:
    """`default_account`: whose resources unknown credentials see. `epoch` and `seed` belong to everything that exists
    before the first request."""

    def __init__(self, default_account: str) -> None:
        moto_module("core.models")
        determinism.install_in_moto()
        mend.core(default_account)
        configuration = moto_module("core.config").default_user_config
        configuration["lambda"] = configuration["batch"] = {"use_docker": False}
        self.moto_version: str = moto_module("").__version__
        self._request = type("ServerRequest", (moto_module("core.request").Request,), {"from_wsgi_server": True})
        self._routes: dict[str, _Routes] = {}

    def begin(self, epoch: float, seed: str) -> None:
        mend.begin(epoch, seed)

    def reset(self) -> None:
        """The empty state again; the code stays loaded."""
        mend.forget_everything()

    def preload(self, *services: str) -> None:
        for service in services:
            self._routes_of(service)

    def answer(self, call: Call, replay: list[bytes] | None = None) -> Answer:
        """Never raises: what moto cannot do is `Answer.refused`."""
        if call.service not in MOTO_SERVICES:
            return _refused(call, 400, "UnsupportedOperation", f"Moorage has no service {call.service}")
        with determinism.moment.at(call.at, call.seed, replay):
            try:
                return self._answer(call)
            except (NotImplementedError, OperationNotFoundError) as error:
                log.info("%s %s: not implemented (%s)", call.service, call.operation, error)
                return _not_implemented(call, str(error))
            except Exception as error:
                log.exception("%s %s failed inside moto", call.service, call.operation)
                reason = f"{type(error).__name__}: {error}"
                sentence = f"The embedded {call.service} failed on {call.operation or call.path}: {reason}"
                return _refused(call, 500, "InternalFailure", sentence)

    def _answer(self, call: Call) -> Answer:
        missing = known_missing(call.service, call.operation)
        if missing is not None:
            sentence = f"{call.service} {call.operation} is not available: {missing}"
            return _refused(call, 400, "UnsupportedOperation", sentence)
        environ = _environ(call)
        routes = self._routes_of(call.service)
        handler = routes.find(environ)
        if handler is None:
            return _not_implemented(call)
        request = self._request(environ)
        try:
            result = handler(request, request.raw_url, dict(request.headers))
        except ClientError as error:
            result = 400, {}, error.response["Error"]["Message"]
        status, headers, content = result if len(result) == 3 else (200, {}, result)
        body = _bytes(content)
        if status == 404 and not body and call.method != "HEAD" and call.service != "s3":
            return _not_implemented(call)
        return Answer(call.id, int(status), _header_list(headers), body, wait=determinism.moment.wait)

    def _routes_of(self, service: str) -> _Routes:
        routes = self._routes.get(service)
        if routes is None:
            routes = self._routes[service] = _Routes(service)
            mend_services.mend_loaded()
        return routes


class _Routes:
    """moto's URL table of one service. Query and json services have one address: `/`."""

    def __init__(self, service: str) -> None:
        from werkzeug.routing import Map, Rule

        convert_regex_to_flask_path = moto_module("core.utils").convert_regex_to_flask_path
        paths = _url_paths(service)
        self._handlers = list(paths.values())
        self._only: Handler | None = self._handlers[0] if len(paths) == 1 and next(iter(paths)) in ("/", "") else None
        self._map = Map(merge_slashes=False)
        self._map.converters["regex"] = _regex_converter()
        for index, path in enumerate(paths):
            rule = convert_regex_to_flask_path(path)
            if rule:
                self._map.add(Rule(rule, endpoint=index, strict_slashes=False))

    def find(self, environ: dict[str, Any]) -> Handler | None:
        from werkzeug.exceptions import HTTPException

        if self._only is not None:
            return self._only
        try:
            endpoint, _ = self._map.bind_to_environ(environ).match()
        except HTTPException:
            return None
        found: Handler = self._handlers[endpoint]
        return found


def _url_paths(service: str) -> dict[str, Handler]:
    """{path pattern: handler} of a service, from moto's `urls` module."""
    paths: dict[str, Handler] = moto_module(f"{MOTO_SERVICES[service]}.urls").url_paths
    return {path.format(""): handler for path, handler in paths.items()}


@cache
def _regex_converter() -> type:
    from werkzeug.routing import BaseConverter

    class RegexConverter(BaseConverter):
        """moto's own pattern for a part of the path."""

        part_isolating = False

        def __init__(self, url_map: Any, *items: Any) -> None:
            super().__init__(url_map)
            self.regex = items[0]

    return RegexConverter


def _environ(call: Call) -> dict[str, Any]:
    names = moto_module("core.request")

    path, _, query = call.path.partition("?")
    headers = call.headers
    if call.service == "s3":
        path, headers = _path_style(path, headers)
    raw = f"{path}?{query}" if query else path
    environ: dict[str, Any] = {
        "REQUEST_METHOD": call.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
        "QUERY_STRING": query,
        "RAW_URI": raw,
        "REQUEST_URI": raw,
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "4566",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "http",
        "wsgi.input": io.BytesIO(call.body),
        "wsgi.errors": io.StringIO(),
        "wsgi.multithread": False,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
        "CONTENT_LENGTH": str(len(call.body)),
    }
    preserved: dict[str, str] = {}
    for name, value in headers:
        key = names.environ_key_for_header(name)
        if key == "CONTENT_LENGTH":
            continue
        environ[key] = f"{environ[key]},{value}" if key in environ else value
        if names.should_preserve_original_header_name(name):
            preserved[key] = name
    day = "20000101"
    environ["HTTP_AUTHORIZATION"] = (
        f"AWS4-HMAC-SHA256 Credential={call.access_key}/{day}/{call.region}/{call.service}/aws4_request, "
        "SignedHeaders=host, Signature=0"
    )
    environ["HTTP_X_MOTO_ACCOUNT_ID"] = call.account
    environ[names.PRESERVED_HEADER_NAMES_ENVIRON_KEY] = preserved
    return environ


def _path_style(path: str, headers: list[tuple[str, str]]) -> tuple[str, list[tuple[str, str]]]:
    """The bucket of a virtual-host style request goes to where moto finds it whatever the host is called."""
    host = next((value for name, value in headers if name.lower() == "host"), "")
    found = _BUCKET_HOST.match(host.lower())
    if found is not None:
        path = f"/{found['bucket']}{path}"
    port = host.rpartition(":")[2]
    others = [(name, value) for name, value in headers if name.lower() != "host"]
    return path, [*others, ("Host", f"localhost:{port}" if port.isdigit() else "localhost")]


def _bytes(content: Any) -> bytes:
    if isinstance(content, bytes):
        return content
    if isinstance(content, str):
        return content.encode()
    if content is None:
        return b""
    return b"".join(part if isinstance(part, bytes) else str(part).encode() for part in content)


def _header_list(headers: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [
        (str(name), str(value))
        for name, value in headers.items()
        if name.lower() not in ("status", "transfer-encoding", "connection", "server")
    ]


def _refused(call: Call, status: int, code: str, sentence: str) -> Answer:
    return Answer(call.id, status, [], b"", (code, sentence))


def _not_implemented(call: Call, reason: str = "") -> Answer:
    what = f"{call.service} {call.operation or f'{call.method} {call.path}'}"
    if "filter" in reason.lower():
        return _refused(
            call, 400, "UnsupportedOperation", f"{what}: {reason.rstrip('.')}, in the embedded AWS services"
        )
    sentence = f"{what} is not implemented by the embedded AWS services"
    return _refused(call, 400, "UnsupportedOperation", sentence)
