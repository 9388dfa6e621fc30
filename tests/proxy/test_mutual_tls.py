"""Listeners of a real Envoy that ask their clients for certificates."""

from __future__ import annotations

import ssl
from pathlib import Path
from urllib.parse import unquote

import msgspec
import pytest
from cryptography import x509

from moorage.domain.trust_store import MutualAuthentication
from moorage.proxy.driver import Certificate, TrustAnchors
from proxy.builders import a_config, a_listener, a_load_balancer, to
from proxy.certificates import Root
from proxy.conftest import Balanced
from proxy.servers import Address, Answer, Backend
from proxy.test_https import get

STORE = "arn:aws:elasticloadbalancing:us-east-1:000000000000:truststore/clients/0123456789abcdef"
VERIFY = MutualAuthentication("verify", STORE)


@pytest.fixture(scope="module")
def root() -> Root:
    return Root()


async def serve(
    envoy: Balanced, root: Root, mutual: MutualAuthentication, anchors: TrustAnchors | None = None
) -> Address:
    balancer, server = a_load_balancer(), root.issue("a.example.com")
    plain = a_listener(balancer, to("web"), port=443, protocol="HTTPS")
    listener = msgspec.structs.replace(plain, certificates=(server.arn,), mutual=mutual)
    await envoy.proxy.put_load_balancer(
        msgspec.structs.replace(
            a_config(balancer, listener),
            certificates={server.arn: server},
            trust_stores={STORE: anchors} if anchors is not None else {},
        )
    )
    return (balancer.loopback, envoy.ports(443))


def client(root: Root, directory: Path, shows: Certificate | None) -> ssl.SSLContext:
    context = root.trust()
    if shows is not None:
        chain, key = directory / "chain.pem", directory / "key.pem"
        chain.write_bytes(shows.chain)
        key.write_bytes(shows.key)
        context.load_cert_chain(chain, key)
    return context


async def refused(door: Address, context: ssl.SSLContext) -> bool:
    """TLS 1.3 tells a client that it is not welcome when it reads."""
    try:
        await get(door, "a.example.com", context)
    except (ssl.SSLError, ConnectionError):
        return True
    except IndexError:  # an empty answer
        return True
    return False


async def asked(door: Address, context: ssl.SSLContext) -> dict[str, str]:
    answer: Answer = await get(door, "a.example.com", context)
    assert answer.status == 200
    headers: dict[str, str] = answer.seen["headers"]
    return {name: value for name, value in headers.items() if name.startswith("x-amzn-mtls")}


async def test_a_certificate_of_the_trust_store_is_let_in_and_told(
    envoy: Balanced, web: Backend, root: Root, tmp_path: Path
) -> None:
    clients = Root()
    shown = clients.issue("alice")
    door = await serve(envoy, root, VERIFY, TrustAnchors(STORE, clients.pem))
    headers = await asked(door, client(root, tmp_path, shown))
    assert headers["x-amzn-mtls-clientcert-subject"] == "CN=alice"
    assert headers["x-amzn-mtls-clientcert-issuer"] == "CN=Test Root"
    assert headers["x-amzn-mtls-clientcert-validity"].startswith("NotBefore=2")
    assert unquote(headers["x-amzn-mtls-clientcert-leaf"]).strip() == shown.chain.decode().strip()
    serial = x509.load_pem_x509_certificate(shown.chain).serial_number
    assert headers["x-amzn-mtls-clientcert-serial-number"].lstrip("0") == f"{serial:X}"


async def test_everybody_else_stays_outside(envoy: Balanced, web: Backend, root: Root, tmp_path: Path) -> None:
    clients = Root()
    revoked, late = clients.issue("bob"), clients.issue("late", days=-1)
    anchors = TrustAnchors(STORE, clients.pem, clients.revoke(revoked))
    door = await serve(envoy, root, VERIFY, anchors)
    assert await refused(door, client(root, tmp_path, None))
    assert await refused(door, client(root, tmp_path, Root().issue("mallory")))
    assert await refused(door, client(root, tmp_path, revoked))
    assert await refused(door, client(root, tmp_path, late))
    assert await asked(door, client(root, tmp_path, clients.issue("alice")))


async def test_expiry_can_be_ignored(envoy: Balanced, web: Backend, root: Root, tmp_path: Path) -> None:
    clients = Root()
    door = await serve(
        envoy, root, MutualAuthentication("verify", STORE, ignore_expiry=True), TrustAnchors(STORE, clients.pem)
    )
    assert await asked(door, client(root, tmp_path, clients.issue("late", days=-1)))


async def test_passthrough_lets_everybody_in_and_tells(
    envoy: Balanced, web: Backend, root: Root, tmp_path: Path
) -> None:
    door = await serve(envoy, root, MutualAuthentication("passthrough"))
    authority = Root()
    shown = authority.issue("anybody")
    whole = msgspec.structs.replace(shown, chain=shown.chain + authority.pem)
    headers = await asked(door, client(root, tmp_path, whole))
    assert x509.load_pem_x509_certificates(unquote(headers["x-amzn-mtls-clientcert"]).encode()) == (
        x509.load_pem_x509_certificates(whole.chain)
    )
    assert await asked(door, client(root, tmp_path, None)) == {}


async def test_without_its_trust_store_a_listener_stays_closed(
    envoy: Balanced, web: Backend, root: Root, tmp_path: Path
) -> None:
    door = await serve(envoy, root, VERIFY)
    with pytest.raises(OSError):
        await get(door, "a.example.com", root.trust())
