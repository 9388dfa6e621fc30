"""What the API accepts, a real Envoy takes: it would refuse a whole load balancer because of one odd value."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec

from moorage.domain.ssl_policies import SSL_POLICIES
from moorage.proxy.driver import Certificate, LoadBalancerConfig, ProxyRefused, TargetGroupConfig, TrustAnchors
from moorage.proxy.envoy.proxy import EnvoyProxy
from moorage.settings import Settings
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCERS, RULES, TARGET_GROUPS, TRUST_STORES
from proxy.servers import free_port

from .rig import Rig, certificate, fixed
from .test_fuzz import ODD, mutated, sent, world
from .test_trust_stores import ROOT

TRIES = 60
SEED = 7
TRANSLATED = (
    "CreateListener", "CreateListener/network", "CreateRule", "CreateRule/answer", "CreateRule/login",
    "CreateRule/redirect", "CreateRule/token", "ModifyListener", "ModifyListener/plain", "ModifyListenerAttributes",
    "ModifyListenerAttributes/name",
    "ModifyLoadBalancerAttributes", "ModifyRule", "ModifyTargetGroupAttributes", "ModifyTargetGroupAttributes/network",
)  # fmt: skip


async def told(rig: Rig, proxy: EnvoyProxy) -> None:
    issued = ROOT.issue("*.example.com")
    for group in rig.store.all(TARGET_GROUPS):
        await proxy.put_target_group(TargetGroupConfig(group, ()))
    for balancer in rig.store.all(LOAD_BALANCERS):
        listeners = tuple(rig.store.find(LISTENERS, "load_balancer", balancer.arn))
        await proxy.put_load_balancer(
            LoadBalancerConfig(
                balancer,
                listeners,
                {one.arn: tuple(rig.store.find(RULES, "listener", one.arn)) for one in listeners},
                {arn: Certificate(arn, issued.chain, issued.key) for one in listeners for arn in one.certificates},
                {one.arn: TrustAnchors(one.arn, one.bundle) for one in rig.store.all(TRUST_STORES)},
            )
        )


async def test_envoy_takes_what_the_api_accepts(tmp_path: Path) -> None:
    ports: dict[int, int] = {}

    def port_of(port: int) -> int:
        if port not in ports:
            ports[port] = free_port()
        return ports[port]

    dice = random.Random(SEED)
    proxy = EnvoyProxy(Settings(data_dir=tmp_path), port_of=port_of, workers=1)
    await proxy.start()
    accepted = 0
    try:
        for _ in range(TRIES):
            made = await world()
            name = dice.choice(TRANSLATED)
            changes = [(dice.random(), "set", dice.choice(ODD)) for _ in range(dice.choice((1, 1, 2)))]
            request = mutated(made.seeds[name], changes)
            if not await sent(made.gateway, name.partition("/")[0], request):
                continue
            accepted += 1
            try:
                await told(made.rig, proxy)
            except ProxyRefused as refusal:
                raise AssertionError((name, request)) from refusal
    finally:
        await proxy.stop()
    assert accepted > TRIES / 8


async def test_envoy_takes_every_security_policy(elb: Rig, tmp_path: Path) -> None:
    owner = (await elb.load_balancer())["LoadBalancerArn"]
    given = {"Certificates": [{"CertificateArn": certificate("a")}], "DefaultActions": [fixed()]}
    await elb.call("CreateListener", LoadBalancerArn=owner, Protocol="HTTPS", Port=443, **given)
    (balancer,), (listener,) = elb.store.all(LOAD_BALANCERS), elb.store.all(LISTENERS)
    listeners = tuple(
        msgspec.structs.replace(listener, arn=f"{listener.arn}{number:02d}", port=free_port(), ssl_policy=policy)
        for number, policy in enumerate(SSL_POLICIES)
    )
    issued = ROOT.issue("*.example.com")
    served = {certificate("a"): Certificate(certificate("a"), issued.chain, issued.key)}
    proxy = EnvoyProxy(Settings(data_dir=tmp_path), workers=1)
    await proxy.start()
    try:
        await proxy.put_load_balancer(LoadBalancerConfig(balancer, listeners, {}, served, {}))
    finally:
        await proxy.stop()
