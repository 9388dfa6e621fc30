"""A `Proxy` without a proxy: it remembers what it was told, takes its time, and can be away.

It lives on when the control plane crashes, as Envoy does. `choose` says where a request would go, by the rules of an
application load balancer as far as the simulated world needs them (paths, hosts, weights, only healthy targets unless
there is none); what an answer means is not its business.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Sequence
from fnmatch import fnmatchcase

from moorage.domain.clock import Clock
from moorage.domain.load_balancer import Action, FixedResponse, Forward, Listener, Redirect, Rule
from moorage.proxy.driver import Endpoint, LoadBalancerConfig, ProxyUnavailable, TargetGroupConfig


class SimulatedProxy:
    """`latency`: mean seconds until a change is in use."""

    def __init__(self, clock: Clock, *, seed: int = 0, latency: float = 0.02) -> None:
        self.load_balancers: dict[str, LoadBalancerConfig] = {}
        self.target_groups: dict[str, TargetGroupConfig] = {}
        self.latency = latency
        self.counts: Counter[str] = Counter()
        self.cuts: list[tuple[str, int]] = []
        """Every address whose connections were ended, in order."""
        self._clock = clock
        self._random = random.Random(seed)
        self._available = True
        self._turn = 0

    # === the Proxy Protocol ==========================================================================================
    async def put_load_balancer(self, config: LoadBalancerConfig) -> None:
        await self._take_in("put_load_balancer")
        self.load_balancers[config.load_balancer.arn] = config

    async def remove_load_balancer(self, arn: str) -> None:
        await self._take_in("remove_load_balancer")
        self.load_balancers.pop(arn, None)

    async def put_target_group(self, config: TargetGroupConfig) -> None:
        await self._take_in("put_target_group")
        self.target_groups[config.target_group.arn] = config

    async def remove_target_group(self, arn: str) -> None:
        await self._take_in("remove_target_group")
        self.target_groups.pop(arn, None)

    async def cut(self, places: Sequence[tuple[str, int]]) -> int:
        await self._take_in("cut")
        self.cuts += places
        return len(places)

    async def retain(self, load_balancers: Sequence[str], target_groups: Sequence[str]) -> None:
        # What is put while this call is under way is not what it means.
        balancers = {arn: config for arn, config in self.load_balancers.items() if arn not in load_balancers}
        groups = {arn: config for arn, config in self.target_groups.items() if arn not in target_groups}
        await self._take_in("retain")
        for arn, config in balancers.items():
            if self.load_balancers.get(arn) is config:
                del self.load_balancers[arn]
        for arn, group in groups.items():
            if self.target_groups.get(arn) is group:
                del self.target_groups[arn]

    # === faults and questions ========================================================================================
    async def outage(self, seconds: float) -> None:
        """Takes no changes for a while; what it knows goes on serving."""
        self._available = False
        await asyncio.sleep(seconds)
        self._available = True

    def endpoints(self, target_group_arn: str) -> tuple[Endpoint, ...]:
        config = self.target_groups.get(target_group_arn)
        return config.endpoints if config is not None else ()

    def choose(
        self, load_balancer_arn: str, port: int = 80, path: str = "/", host: str = "", *, avoid: Sequence[Endpoint] = ()
    ) -> Endpoint | int:
        """Where a request goes, or the status that the load balancer answers by itself. `avoid`: endpoints that have
        just refused the connection."""
        config = self.load_balancers.get(load_balancer_arn)
        listener = next((one for one in config.listeners if one.port == port), None) if config is not None else None
        if config is None or listener is None:
            return 503
        action = _final(self._actions(listener, config.rules.get(listener.arn, ()), path, host))
        if isinstance(action, FixedResponse):
            return int(action.status_code)
        if isinstance(action, Redirect):
            return int(action.status_code.removeprefix("HTTP_"))
        if not isinstance(action, Forward):  # nobody logs in here
            return 401
        weights = [group.weight for group in action.target_groups]
        if not any(weights):
            return 503
        group = self._random.choices(action.target_groups, weights)[0]
        return self._endpoint(group.arn, avoid)

    def _endpoint(self, target_group_arn: str, avoid: Sequence[Endpoint]) -> Endpoint | int:
        known = self.endpoints(target_group_arn)
        healthy = [one for one in known if one.healthy] or list(known)  # fail-open
        left = [one for one in healthy if one not in avoid]
        if not left:
            return 502 if healthy else 503
        self._turn += 1
        return left[self._turn % len(left)]

    @staticmethod
    def _actions(listener: Listener, rules: Sequence[Rule], path: str, host: str) -> tuple[Action, ...]:
        for rule in sorted(rules, key=lambda one: one.priority):
            asked = {"path-pattern": path, "host-header": host}
            if all(
                any(fnmatchcase(asked[c.field], value) for value in c.values)
                for c in rule.conditions
                if c.field in asked
            ):
                return rule.actions
        return listener.default_actions

    async def _take_in(self, verb: str) -> None:
        self.counts[verb] += 1
        self._check_available()
        await asyncio.sleep(self.latency * self._random.uniform(0.5, 1.5))
        self._check_available()

    def _check_available(self) -> None:
        if not self._available:
            raise ProxyUnavailable("The load balancer's proxy does not answer", "It is restarting", "Wait a moment")


def _final(actions: Sequence[Action]) -> Action:
    """The routing action: the last one, the others only authenticate."""
    action = actions[-1]
    assert isinstance(action, Forward | Redirect | FixedResponse)
    return action
