"""A real Envoy per test, on ports of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from moorage.domain.load_balancer import Action, LoadBalancer, Rule
from moorage.proxy.driver import Endpoint, TargetGroupConfig
from moorage.proxy.envoy.proxy import EnvoyProxy
from moorage.settings import Settings
from proxy.builders import a_config, a_listener, a_load_balancer, targets
from proxy.servers import Address, Backend, backend, free_port


class Ports:
    """Any port of the API → a free port of this machine, the same one each time."""

    def __init__(self) -> None:
        self.known: dict[int, int] = {}

    def __call__(self, port: int) -> int:
        if port not in self.known:
            self.known[port] = free_port()
        return self.known[port]


class Balanced:
    """The proxy and where its doors are."""

    def __init__(self, proxy: EnvoyProxy, ports: Ports) -> None:
        self.proxy = proxy
        self.ports = ports

    def edge(self, port: int = 80, address: str = "127.0.0.1") -> Address:
        return (address, self.ports(port))

    async def serve(
        self, *actions: Action, rules: tuple[Rule, ...] = (), port: int = 80, balancer: LoadBalancer | None = None
    ) -> Address:
        """One load balancer with one listener; the address of its own door."""
        balancer = balancer or a_load_balancer()
        listener = a_listener(balancer, *actions, port=port)
        await self.proxy.put_load_balancer(a_config(balancer, listener, rules={port: rules}))
        return (balancer.loopback, self.ports(port))

    async def group(self, name: str, *members: Backend | Endpoint, **attributes: str) -> TargetGroupConfig:
        endpoints = [m.endpoint if isinstance(m, Backend) else m for m in members]
        config = targets(name, *endpoints, **attributes)
        await self.proxy.put_target_group(config)
        return config


@pytest.fixture
def ports() -> Ports:
    return Ports()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path)


@pytest.fixture
async def envoy(settings: Settings, ports: Ports) -> AsyncIterator[Balanced]:
    proxy = EnvoyProxy(settings, port_of=ports, workers=1)
    await proxy.start()
    try:
        yield Balanced(proxy, ports)
    finally:
        await proxy.stop()


@pytest.fixture
async def web(envoy: Balanced) -> AsyncIterator[Backend]:
    """A backend in target group "web"."""
    async with backend("web") as made:
        await envoy.group("web", made)
        yield made
