"""Whatever is sent, load balancing answers with a result or with AWS's refusal; what it accepted can be described and
told to the proxy."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from moorage.domain.clock import Ids
from moorage.gateway import chain
from moorage.gateway.exchange import Exchange
from moorage.gateway.server import Gateway
from moorage.proxy.driver import Certificate, Endpoint, LoadBalancerConfig, TargetGroupConfig, TrustAnchors
from moorage.proxy.envoy.encode import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SCOPE, encode
from moorage.proxy.envoy.translate import load_balancer_resources, traits_of
from moorage.proxy.envoy.translate_target_group import assignment, cluster
from moorage.services.elbv2.provider import ElbV2Provider
from moorage.settings import Settings
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCERS, RULES, TARGET_GROUPS, TARGETS, TRUST_STORES
from moorage.wire.messages import WireRequest

from .rig import MODEL, REGION, Rig, certificate, fixed, forward, path
from .test_auth_actions import OIDC
from .test_trust_stores import Downloads, Objects, create

SCOPE_OF_KEY = f"test/20260101/{REGION}/elasticloadbalancing/aws4_request"
SIGNED = {
    "Authorization": f"AWS4-HMAC-SHA256 Credential={SCOPE_OF_KEY}, SignedHeaders=host, Signature=0",
    "Content-Type": "application/x-www-form-urlencoded",
}
TAGS = [{"Key": "a", "Value": "b"}]
CONTENT = {"S3Bucket": "b", "S3Key": "crl.pem", "RevocationType": "CRL"}
BUNDLE = {"CaCertificatesBundleS3Bucket": "b", "CaCertificatesBundleS3Key": "ca.pem"}
JWT = {
    "JwksEndpoint": "https://idp.example.com/jwks",
    "Issuer": "https://idp.example.com",
    "AdditionalClaims": [{"Format": "string-array", "Name": "scope", "Values": ["read"]}],
}
HEALTH = {
    "HealthCheckProtocol": "HTTP",
    "HealthCheckPort": "8080",
    "HealthCheckEnabled": True,
    "HealthCheckPath": "/health",
    "HealthCheckIntervalSeconds": 10,
    "HealthCheckTimeoutSeconds": 5,
    "HealthyThresholdCount": 2,
    "UnhealthyThresholdCount": 2,
    "Matcher": {"HttpCode": "200,300-302"},
}
CONDITIONS = [
    path("/a*"),
    {"Field": "host-header", "HostHeaderConfig": {"Values": ["*.example.com"]}},
    {"Field": "http-header", "HttpHeaderConfig": {"HttpHeaderName": "X-A", "RegexValues": ["^a+$"]}},
    {"Field": "query-string", "QueryStringConfig": {"Values": [{"Key": "a", "Value": "b?"}]}},
    {"Field": "source-ip", "SourceIpConfig": {"Values": ["10.0.0.0/8"]}},
]
REDIRECT = {
    "Type": "redirect",
    "Order": 1,
    "RedirectConfig": {
        "Protocol": "HTTPS", "Port": "443", "Host": "new.#{host}", "Path": "/x/#{path}", "Query": "a=b&#{query}",
        "StatusCode": "HTTP_301",
    },
}  # fmt: skip
ANSWER = {
    "Type": "fixed-response",
    "FixedResponseConfig": {"StatusCode": "200", "ContentType": "text/plain", "MessageBody": "hi"},
}
TRANSFORMS = [
    {"Type": "url-rewrite", "UrlRewriteConfig": {"Rewrites": [{"Regex": "^/(.*)$", "Replace": "/v1/$1"}]}},
    {"Type": "host-header-rewrite", "HostHeaderRewriteConfig": {"Rewrites": [{"Regex": "a", "Replace": "b"}]}},
]


class World:
    """One of everything. `seeds`: a good request for every operation that takes something."""

    def __init__(self, rig: Rig, gateway: Gateway) -> None:
        self.rig = rig
        self.gateway = gateway
        self.seeds: dict[str, dict[str, Any]] = {}


async def world() -> World:
    rig = await Rig.make()
    rig.provider.objects, rig.provider.downloads = Objects(), Downloads()
    gateway = Gateway(Settings(port=0, data_dir=Path("/nonexistent")), rig.clock, Ids(seed=1))
    gateway.add_provider(rig.provider)
    made = World(rig, gateway)
    balancer = (await rig.load_balancer())["LoadBalancerArn"]
    network = (await rig.load_balancer("net", Type="network"))["LoadBalancerArn"]
    groups = [(await rig.target_group(name))["TargetGroupArn"] for name in ("one", "two")]
    free = (await rig.target_group("free"))["TargetGroupArn"]
    tcp = (await rig.target_group("tcp", Protocol="TCP"))["TargetGroupArn"]
    store = (await create(rig))["TrustStoreArn"]
    unused = (await create(rig, "unused"))["TrustStoreArn"]
    await rig.call("AddTrustStoreRevocations", TrustStoreArn=store, RevocationContents=[CONTENT])
    http = (await rig.listener(balancer, *groups))["ListenerArn"]
    secure = {"Certificates": [{"CertificateArn": certificate("one")}], "SslPolicy": "ELBSecurityPolicy-2016-08"}
    mutual = {"Mode": "verify", "TrustStoreArn": store, "IgnoreClientCertificateExpiry": True}
    https = await rig.call(
        "CreateListener", LoadBalancerArn=balancer, Protocol="HTTPS", Port=443, DefaultActions=[fixed()], **secure
    )
    https_arn = https["Listeners"][0]["ListenerArn"]
    await rig.call("CreateListener", LoadBalancerArn=network, Protocol="TCP", Port=81, DefaultActions=[forward(tcp)])
    rule = (await rig.rule(http, 1))["RuleArn"]
    await rig.call("RegisterTargets", TargetGroupArn=groups[0], Targets=[{"Id": "10.0.0.1"}])
    weighted = {
        "Type": "forward",
        "Order": 2,
        "ForwardConfig": {
            "TargetGroups": [{"TargetGroupArn": groups[0], "Weight": 3}, {"TargetGroupArn": groups[1], "Weight": 0}],
            "TargetGroupStickinessConfig": {"Enabled": True, "DurationSeconds": 60},
        },
    }
    login = {"Type": "authenticate-oidc", "Order": 1, "AuthenticateOidcConfig": OIDC | {"ClientSecret": "hush"}}
    token = {"Type": "jwt-validation", "Order": 1, "JwtValidationConfig": JWT}
    attribute = lambda key, value: {"Attributes": [{"Key": key, "Value": value}, {"Key": "", "Value": "²"}][:1]}  # noqa: E731
    owner, tg = {"LoadBalancerArn": balancer}, {"TargetGroupArn": groups[0]}
    made.seeds = {
        "CreateLoadBalancer": {
            "Name": "new", "Subnets": ["subnet-a", "subnet-b"], "SecurityGroups": ["sg-1"], "Scheme": "internal",
            "Tags": TAGS, "Type": "application", "IpAddressType": "ipv4",
        },
        "CreateLoadBalancer/network": {
            "Name": "new", "Type": "network", "Scheme": "internal", "Tags": TAGS,
            "SubnetMappings": [{"SubnetId": "subnet-a", "PrivateIPv4Address": "10.0.0.9"}],
        },
        "DescribeLoadBalancers": {"Names": ["web"], "PageSize": 1, "Marker": "d2Vi"},
        "ModifyLoadBalancerAttributes": owner | attribute("idle_timeout.timeout_seconds", "30"),
        "SetSubnets": owner | {"Subnets": ["subnet-a", "subnet-b2"], "IpAddressType": "ipv4"},
        "SetSecurityGroups": owner | {"SecurityGroups": ["sg-1", "sg-2"]},
        "SetIpAddressType": owner | {"IpAddressType": "ipv4"},
        "ModifyCapacityReservation": owner | {"MinimumLoadBalancerCapacity": {"CapacityUnits": 1}},
        "ModifyIpPools": owner | {"RemoveIpamPools": ["ipv4"]},
        "DescribeLoadBalancerAttributes": owner,
        "DescribeCapacityReservation": owner,
        "DeleteLoadBalancer": owner,
        "CreateTargetGroup": {
            "Name": "new", "Protocol": "HTTP", "ProtocolVersion": "HTTP1", "Port": 80, "VpcId": "vpc-1",
            "TargetType": "ip", "IpAddressType": "ipv4", "Tags": TAGS, **HEALTH,
        },
        "CreateTargetGroup/network": {
            "Name": "new", "Protocol": "TCP_UDP", "Port": 80, "VpcId": "vpc-1", "TargetType": "ip", **HEALTH,
        },
        "ModifyTargetGroup": tg | HEALTH,
        "ModifyTargetGroupAttributes": tg | attribute("slow_start.duration_seconds", "30"),
        "ModifyTargetGroupAttributes/network": {
            "TargetGroupArn": tcp, **attribute("deregistration_delay.timeout_seconds", "30"),
        },
        "DescribeTargetGroups": {"LoadBalancerArn": balancer, "PageSize": 1},
        "DescribeTargetGroupAttributes": tg,
        "DeleteTargetGroup": {"TargetGroupArn": free},
        "RegisterTargets": tg | {"Targets": [{"Id": "10.0.0.2", "Port": 81, "AvailabilityZone": "us-east-1a"}]},
        "DeregisterTargets": tg | {"Targets": [{"Id": "10.0.0.1", "Port": 80}]},
        "DescribeTargetHealth": tg | {"Targets": [{"Id": "10.0.0.1", "Port": 80}], "Include": ["All"]},
        "CreateListener": owner | {
            "Protocol": "HTTPS", "Port": 8443, "DefaultActions": [login, weighted], "Tags": TAGS,
            "MutualAuthentication": mutual, **secure,
        },
        "CreateListener/network": {
            "LoadBalancerArn": network, "Protocol": "TLS", "Port": 8443, "DefaultActions": [forward(tcp)],
            "AlpnPolicy": ["HTTP2Only"], **secure,
        },
        "ModifyListener": {
            "ListenerArn": https_arn, "Port": 8444, "Protocol": "HTTPS", "DefaultActions": [token, weighted],
            "MutualAuthentication": mutual, **secure,
        },
        "ModifyListener/plain": {"ListenerArn": http, "Port": 82, "DefaultActions": [REDIRECT]},
        "ModifyListenerAttributes": {
            "ListenerArn": https_arn, **attribute("routing.http.response.x_frame_options.header_value", "DENY"),
        },
        "ModifyListenerAttributes/name": {
            "ListenerArn": https_arn, **attribute("routing.http.request.x_amzn_tls_version.header_name", "tls"),
        },
        "DescribeListenerAttributes": {"ListenerArn": https_arn},
        "DescribeListenerCertificates": {"ListenerArn": https_arn, "PageSize": 1, "Marker": "MDAwMDA="},
        "DeleteListener": {"ListenerArn": http},
        "DescribeListeners": {"ListenerArns": [http], "PageSize": 1},
        "AddListenerCertificates": {"ListenerArn": https_arn, "Certificates": [{"CertificateArn": certificate("two")}]},
        "RemoveListenerCertificates": {
            "ListenerArn": https_arn, "Certificates": [{"CertificateArn": certificate("two")}],
        },
        "CreateRule": {
            "ListenerArn": http, "Priority": 7, "Conditions": CONDITIONS, "Actions": [weighted], "Tags": TAGS,
            "Transforms": TRANSFORMS,
        },
        "CreateRule/login": {
            "ListenerArn": https_arn, "Priority": 7, "Conditions": CONDITIONS[:1], "Actions": [login, weighted],
        },
        "CreateRule/token": {
            "ListenerArn": https_arn, "Priority": 7, "Conditions": CONDITIONS[:1], "Actions": [token, weighted],
        },
        "CreateRule/redirect": {"ListenerArn": http, "Priority": 8, "Conditions": CONDITIONS[:1], "Actions": [REDIRECT]},
        "CreateRule/answer": {"ListenerArn": http, "Priority": 9, "Conditions": CONDITIONS[1:2], "Actions": [ANSWER]},
        "ModifyRule": {"RuleArn": rule, "Conditions": CONDITIONS[2:], "Actions": [weighted], "Transforms": TRANSFORMS},
        "SetRulePriorities": {"RulePriorities": [{"RuleArn": rule, "Priority": 5}]},
        "DescribeRules": {"RuleArns": [rule], "PageSize": 1},
        "DeleteRule": {"RuleArn": rule},
        "AddTags": {"ResourceArns": [balancer, groups[0], http, rule, store], "Tags": TAGS},
        "RemoveTags": {"ResourceArns": [balancer], "TagKeys": ["a"]},
        "DescribeTags": {"ResourceArns": [balancer, rule]},
        "DescribeSSLPolicies": {"Names": ["ELBSecurityPolicy-2016-08"], "LoadBalancerType": "network", "PageSize": 1},
        "DescribeAccountLimits": {"PageSize": 2, "Marker": "YQ=="},
        "CreateTrustStore": {"Name": "new", "Tags": TAGS, **BUNDLE},
        "ModifyTrustStore": {"TrustStoreArn": store, "CaCertificatesBundleS3ObjectVersion": "2", **BUNDLE},
        "DeleteTrustStore": {"TrustStoreArn": unused},
        "DescribeTrustStores": {"Names": ["clients"], "PageSize": 1},
        "AddTrustStoreRevocations": {"TrustStoreArn": store, "RevocationContents": [CONTENT]},
        "DescribeTrustStoreRevocations": {"TrustStoreArn": store, "RevocationIds": [1], "PageSize": 1},
        "RemoveTrustStoreRevocations": {"TrustStoreArn": store, "RevocationIds": [1]},
        "GetTrustStoreRevocationContent": {"TrustStoreArn": store, "RevocationId": 1},
        "GetTrustStoreCaCertificatesBundle": {"TrustStoreArn": store},
        "DescribeTrustStoreAssociations": {"TrustStoreArn": store, "PageSize": 1},
        "DeleteSharedTrustStoreAssociation": {"TrustStoreArn": store, "ResourceArn": balancer},
        "GetResourcePolicy": {"ResourceArn": store},
    }  # fmt: skip
    return made


OPERATIONS = sorted(asyncio.run(world()).seeds)
REFUSED_SEEDS = {"DeleteSharedTrustStoreAssociation"}


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if at:
        yield at
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from places(inner, (*at, name))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from places(inner, (*at, index))


ODD = [
    True, False, 0, -1, 1, 99, 65536, 2**31, 2**63, -(2**40), 1.5, "", " ", "0", "-1", "²", "٣", "1e3", "x" * 300, "ü\n",
    "a:b", "/", "//", "*", "?*", "\\", "\\*", "a b", "\x00", "\x7f", '"', "'", "]]", "%", "%s", "$1", "${x}", "#{path}",
    "#{host}", "#{port}", "/#{path}#{path}", "(", "(a", "[", "a{1000}", "(?=a)", "\\1", "^", "0.0.0.0/0", "::/0",
    "10.0.0.1/99", "127.0.0.1", "8.8.8.8", "10.0.0.0/8", "fe80::1", "host", "Host", ":path", "x-forwarded-for",
    "AWSALB", "traffic-port",
    "TCP", "UDP", "TLS", "HTTP", "HTTPS", "QUIC", "GENEVE", "GRPC", "HTTP2", "lambda", "alb", "instance", "network",
    "gateway", "200-", "-", ",", "999", "200,,201", "off", "verify", "passthrough",
    "all", "stickiness.enabled", "stickiness.type",
    "source_ip", "app_cookie", "access_logs.s3.enabled", "load_balancing.cross_zone.enabled", "arn:", "https://",
    "http://a/b", "https://[", "https://a:99999/", "https://a b/",
    "arn:aws:elasticloadbalancing:us-east-1:000000000000:loadbalancer/app/a/0",
    [], {}, ["a", "a"], [{}], {"x": 1},
]  # fmt: skip
odd = st.sampled_from(ODD) | st.text(max_size=20) | st.integers()
changes = st.lists(
    st.tuples(st.floats(0, 0.999), st.sampled_from(["set", "remove", "repeat"]), odd), min_size=1, max_size=3
)


def mutated(seed: dict[str, Any], mutations: list[tuple[float, str, Any]]) -> dict[str, Any]:
    request = copy.deepcopy(seed)
    for where, how, value in mutations:
        found = list(places(request))
        if not found:
            continue
        *way, last = found[int(where * len(found))]
        parent: Any = request
        for step in way:
            parent = parent[step]
        if how == "set":
            parent[last] = copy.deepcopy(value)
        elif how == "remove":
            del parent[last]
        elif isinstance(parent, list):
            parent.append(copy.deepcopy(parent[last]))
    return request


def form(value: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from form(inner, f"{prefix}.{name}" if prefix else name)
    elif isinstance(value, list):
        for number, inner in enumerate(value, 1):
            yield from form(inner, f"{prefix}.member.{number}")
    else:
        yield prefix, str(value).lower() if isinstance(value, bool) else str(value)


async def sent(gateway: Gateway, operation: str, request: dict[str, Any]) -> bool:
    pairs = [("Action", operation), ("Version", "2015-12-01"), *form(request)]
    body = urlencode(pairs, errors="surrogatepass").encode()
    answer = await chain.answer(gateway, Exchange(WireRequest("POST", "/", "", CIMultiDict(SIGNED), body), "id", "::1"))
    assert answer.status in (200, 400), (operation, request, answer.status, answer.body)
    return answer.status == 200


def told_to_the_proxy(rig: Rig) -> None:
    """Everything that Envoy would be told."""
    store = rig.store
    groups = list(store.all(TARGET_GROUPS))
    traits = {group.arn: found for group in groups if (found := traits_of(group)) is not None}
    for balancer in store.all(LOAD_BALANCERS):
        listeners = tuple(store.find(LISTENERS, "load_balancer", balancer.arn))
        config = LoadBalancerConfig(
            balancer,
            listeners,
            {one.arn: tuple(store.find(RULES, "listener", one.arn)) for one in listeners},
            {arn: Certificate(arn, b"c", b"k") for one in listeners for arn in one.certificates},
            {one.arn: TrustAnchors(one.arn, one.bundle) for one in store.all(TRUST_STORES)},
        )
        made = load_balancer_resources(config, lambda port: port, traits)
        for kind, resources in ((LISTENER, made.listeners), (ROUTES, made.routes), (SCOPE, made.scopes)):
            for resource in resources.values():
                encode(kind, resource)
    for group in groups:
        found = store.find(TARGETS, "target_group", group.arn)
        config_of = TargetGroupConfig(group, tuple(Endpoint(one.id, one.port) for one in found if one.port))
        encode(CLUSTER, cluster(config_of))
        encode(ENDPOINTS, assignment(config_of, lambda port: port, "/functions"))


async def play(name: str, mutations: list[tuple[float, str, Any]]) -> bool:
    made = await world()
    operation = name.partition("/")[0]
    accepted = await sent(made.gateway, operation, mutated(made.seeds[name], mutations))
    store = made.rig.store
    assert await sent(made.gateway, "DescribeLoadBalancers", {})
    assert await sent(made.gateway, "DescribeTargetGroups", {})
    assert await sent(made.gateway, "DescribeTrustStores", {})
    for balancer in store.all(LOAD_BALANCERS):
        assert await sent(made.gateway, "DescribeListeners", {"LoadBalancerArn": balancer.arn})
        assert await sent(made.gateway, "DescribeLoadBalancerAttributes", {"LoadBalancerArn": balancer.arn})
    for listener in store.all(LISTENERS):
        assert await sent(made.gateway, "DescribeRules", {"ListenerArn": listener.arn})
        assert await sent(made.gateway, "DescribeListenerAttributes", {"ListenerArn": listener.arn})
    for group in store.all(TARGET_GROUPS):
        assert await sent(made.gateway, "DescribeTargetHealth", {"TargetGroupArn": group.arn, "Include": ["All"]})
        assert await sent(made.gateway, "DescribeTargetGroupAttributes", {"TargetGroupArn": group.arn})
    told_to_the_proxy(made.rig)
    return accepted


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_seed_itself_is_answered(name: str) -> None:
    assert asyncio.run(play(name, [])) == (name not in REFUSED_SEEDS)


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(name=st.sampled_from(OPERATIONS), mutations=changes)
def test_mutations(name: str, mutations: list[tuple[float, str, Any]]) -> None:
    asyncio.run(play(name, mutations))


ODD_TEXTS = ("", " ", "²", "٣", "-1", "1e9", "9" * 40, "true", "maybe", "\x00", '"', "ü", "a: b", "x" * 2000, "AWSALB")


@pytest.mark.parametrize(
    "operation", ["ModifyLoadBalancerAttributes", "ModifyTargetGroupAttributes", "ModifyListenerAttributes"]
)
async def test_odd_values_of_every_attribute(operation: str) -> None:
    made = await world()
    seeds = {name: seed for name, seed in made.seeds.items() if name.partition("/")[0] == operation}
    for seed in seeds.values():
        named = {key: value for key, value in seed.items() if key != "Attributes"}
        shown = await made.rig.call(operation.replace("Modify", "Describe"), **named)
        for entry in shown["Attributes"]:
            for value in ODD_TEXTS:
                await sent(made.gateway, operation, named | {"Attributes": [{"Key": entry["Key"], "Value": value}]})
            told_to_the_proxy(made.rig)


def test_every_operation_is_implemented_and_played_with() -> None:
    """All 51 of the model; a new one of a later model is noticed here."""
    known = set(MODEL.operation_names)
    assert len(known) == 51
    assert known == set(ElbV2Provider.handlers(object.__new__(ElbV2Provider)))
    assert known == {name.partition("/")[0] for name in OPERATIONS}
