"""The real gateway with the embedded AWS behind it, on a thread of its own, so that boto3 can call it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import boto3
from botocore.config import Config

from moorage.domain.clock import Ids, SystemClock
from moorage.gateway.server import Gateway
from moorage.services.aws_backed.codedeploy import CodeDeployProvider
from moorage.services.aws_backed.ec2 import Ec2Provider
from moorage.services.aws_backed.forward import AwsBacked
from moorage.settings import Settings
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables.codedeploy import TABLES as CODEDEPLOY
from moorage.store.tables.ecs import TABLES as ECS
from moorage.store.tables.elbv2 import TABLES as ELBV2
from moorage.store.tables.network import TABLES as NETWORK

T = TypeVar("T")


class Front:
    """`store` is empty but for what tests put there."""

    def __init__(self, data_dir: Path) -> None:
        self.settings = Settings(data_dir=data_dir)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.backed: AwsBacked
        self.store: Store
        self.port: int
        self.run(self._start())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(120)

    async def _start(self) -> None:
        clock, ids = SystemClock(), Ids()
        self.store = await Store.open(MemoryLog(), (*ECS, *CODEDEPLOY, *ELBV2, *NETWORK))
        self.backed = AwsBacked(self.settings, clock, ids)
        self.gateway = Gateway(self.settings, clock, ids)
        self.gateway.add_provider(Ec2Provider(self.backed, self.store))
        self.gateway.add_provider(CodeDeployProvider(self.backed, self.store, clock, ids))
        mixed = frozenset({"codedeploy", "ec2"})
        self.gateway.add_fallback(self.backed.forward, services=self.backed.services, mixed=mixed)
        self.gateway.set_session_lookup(self.backed.sessions)
        self.port = await self.gateway.start(port=0)

    def client(self, service: str, region: str = "us-east-1", key: str = "test", secret: str = "test") -> Any:
        return boto3.client(
            service,
            region_name=region,
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            endpoint_url=f"http://localhost:{self.port}",
            config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def kill_worker(self) -> None:
        assert self.backed.worker.pid is not None
        os.kill(self.backed.worker.pid, signal.SIGKILL)

    def close(self) -> None:
        if self._loop.is_closed():
            return
        self.run(self.gateway.close())
        self.run(self.backed.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
