"""The door behind which application load balancers find their Lambda functions: HTTP of Envoy comes in on a unix socket,
the function is invoked, its answer goes back (semantics elbv2 §8, §9). What is said is decided in
`decide/elbv2_function`; who runs functions is behind `Functions`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from pathlib import Path
from typing import Protocol

from aiohttp import web

from moorage.decide import elbv2_function as translate
from moorage.domain.target_group import ProbeResult, Target, TargetGroup
from moorage.proxy.envoy.pages import SERVER, page
from moorage.proxy.envoy.translate_target_group import FUNCTION_GROUP_HEADER
from moorage.store.api import StoreApi
from moorage.store.tables.elbv2 import TARGET_GROUPS, TARGETS

log = logging.getLogger("moorage.functions")
CAUSE_HEADER = "x-moorage-cause"


class CannotInvoke(Exception):
    """The function could not be invoked, or failed. `cause`: AWS's word in the access log's error_reason."""

    def __init__(self, cause: str, sentence: str) -> None:
        super().__init__(sentence)
        self.cause = cause


class Functions(Protocol):
    async def invoke(self, function_arn: str, event: bytes) -> bytes:
        """The payload that the function answers. Raises CannotInvoke."""
        ...


class NoFunctions:
    """Nobody runs functions."""

    async def invoke(self, function_arn: str, event: bytes) -> bytes:
        raise CannotInvoke("LambdaResourceNotFound", f"nobody here can invoke the function {function_arn}")


class FunctionsDoor:
    def __init__(self, store: StoreApi, functions: Functions | None = None) -> None:
        self._store = store
        self.functions: Functions = functions or NoFunctions()
        self._runner: web.ServerRunner | None = None

    async def start(self, socket: Path) -> None:
        """Listens on `socket`, which only this user may reach; one that a killed server left behind is replaced."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(socket)  # noqa: PTH108
        self._runner = web.ServerRunner(web.Server(self._handle, access_log=None))
        await self._runner.setup()
        await web.UnixSite(self._runner, str(socket)).start()

    async def close(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def check(self, target: Target, group: TargetGroup) -> ProbeResult:
        """One health check of a function."""
        several = _several(group)
        event = translate.health_event(group.arn, group.health_check.path, multi_value=several)
        try:
            async with asyncio.timeout(group.health_check.timeout):
                answer = translate.answer_of(await self.functions.invoke(target.id, event), multi_value=several)
        except TimeoutError:
            return ProbeResult("timeout", detail=f"no answer within {group.health_check.timeout} s")
        except (CannotInvoke, translate.InvalidAnswer) as error:
            return ProbeResult("failed", detail=str(error))
        return ProbeResult("answered", answer.status)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        arn = request.headers.get(FUNCTION_GROUP_HEADER, "")
        group = self._store.get(TARGET_GROUPS, arn)
        registered = [t for t in self._store.find(TARGETS, "target_group", arn) if t.deregistered_at is None]
        if group is None or not registered:
            return _own(503)
        if "upgrade" in request.headers.get("connection", "").lower():
            return _own(400)
        body = await _read(request)
        if body is None:
            return _own(413)
        try:
            return await self._invoke(request, body, registered[0], group)
        except (CannotInvoke, translate.InvalidAnswer) as error:
            log.warning("target group %s: %s", group.name, error)
            return _own(502, error.cause)

    async def _invoke(
        self, request: web.BaseRequest, body: bytes, target: Target, group: TargetGroup
    ) -> web.StreamResponse:
        several = _several(group)
        path, _, query = request.raw_path.partition("?")
        headers = tuple((k, v) for k, v in request.headers.items() if k.lower() != FUNCTION_GROUP_HEADER)
        asked = translate.FunctionRequest(request.method, path, query, headers, body)
        event = translate.event_of(asked, group.arn, multi_value=several)
        answer = translate.answer_of(await self.functions.invoke(target.id, event), multi_value=several)
        response = web.Response(status=answer.status, reason=answer.reason or None, body=answer.body)
        if not any(name.lower() == "content-type" for name, _ in answer.headers):
            response.headers.pop("Content-Type", None)
        for name, value in answer.headers:
            if name.lower() == "content-type":
                response.headers[name] = value
            else:
                response.headers.add(name, value)
        return response


def _several(group: TargetGroup) -> bool:
    return group.attributes.get("lambda.multi_value_headers.enabled") == "true"


async def _read(request: web.BaseRequest) -> bytes | None:
    """None: too much."""
    body = bytearray()
    async for chunk in request.content.iter_any():
        body += chunk
        if len(body) > translate.LARGEST:
            return None
    return bytes(body)


def _own(status: int, cause: str = "") -> web.Response:
    """An answer of the load balancer itself."""
    headers = {"Server": SERVER, **({CAUSE_HEADER: cause} if cause else {})}
    return web.Response(status=status, text=page(status), content_type="text/html", headers=headers)
