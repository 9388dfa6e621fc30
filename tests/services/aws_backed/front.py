"""A front door just good enough to reach the embedded AWS by boto3: the client names service and operation in headers."""

from __future__ import annotations

import asyncio
import json
import re
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import boto3
from aiohttp import web
from botocore.config import Config

from moorage.domain.clock import Ids, SystemClock
from moorage.domain.errors import AwsError
from moorage.services.aws_backed.forward import AwsBacked
from moorage.services.base import RequestContext
from moorage.settings import Settings

T = TypeVar("T")


class Front:
    """An event loop on its own thread with an `AwsBacked` behind an HTTP server. `account`: of unnamed credentials."""

    def __init__(self, data_dir: Path) -> None:
        self.settings = Settings(data_dir=data_dir)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.backed: AwsBacked
        self.port: int
        self.run(self._start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    async def _start(self) -> None:
        self.backed = AwsBacked(self.settings, SystemClock(), Ids())
        app = web.Application(client_max_size=1 << 28)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _handle(self, request: web.Request) -> web.Response:
        credential = re.search(r"Credential=([^/]+)/[^/]+/([^/]+)/", request.headers.get("Authorization", ""))
        key, region = credential.groups() if credential else ("test", "us-east-1")
        context = RequestContext(
            account=key if re.fullmatch(r"\d{12}", key) else self.settings.account,
            region=region,
            service=request.headers.get("x-test-service", "s3"),
            operation=request.headers.get("x-test-operation", ""),
            request_id="test",
            access_key_id=key,
            principal_arn="",
        )
        try:
            status, headers, body = await self.backed.forward(
                context.service,
                context,
                request.method,
                request.raw_path,
                request.headers.items(),
                await request.read(),
            )
        except AwsError as error:
            if request.headers.get("x-test-protocol", "").endswith("json"):
                body = json.dumps({"__type": error.code, "message": error.message}).encode()
                return web.Response(status=error.status, body=body, headers={"x-amzn-ErrorType": error.code})
            inner = f"<Code>{error.code}</Code><Message>{error.message}</Message>"
            text = f"<ErrorResponse><Error>{inner}</Error></ErrorResponse>"
            return web.Response(status=error.status, text=text, content_type="text/xml")
        response = web.Response(status=status, body=body)
        for name, value in headers:
            if name.lower() != "content-length" or request.method == "HEAD":
                response.headers[name] = value
        return response

    def client(self, service: str, region: str = "us-east-1", key: str = "test", secret: str = "test") -> Any:
        client = boto3.client(
            service,
            region_name=region,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            endpoint_url=f"http://localhost:{self.port}",
            config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
        )

        def name_it(model: Any, params: dict[str, Any], **_: Any) -> None:
            params["headers"]["x-test-service"] = model.service_model.service_name
            params["headers"]["x-test-operation"] = model.name
            params["headers"]["x-test-protocol"] = model.service_model.metadata["protocol"]

        client.meta.events.register("before-call", name_it)
        return client

    def kill_worker(self) -> None:
        import os
        import signal

        assert self.backed.worker.pid is not None
        os.kill(self.backed.worker.pid, signal.SIGKILL)

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self.run(self.backed.close())
        self.run(self._runner.cleanup())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
