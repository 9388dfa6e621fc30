"""Rules that ask who sends a request: a real Envoy, a real OpenID Connect provider, browsers with cookies."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import aiohttp
import msgspec
import pytest
import werkzeug.serving
from aiohttp.abc import AbstractResolver
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, RSAKey
from joserfc.jws import JWSRegistry
from oidc_provider_mock import app as oidc_provider

from moorage.control.authentication import Authenticator, Keys
from moorage.control.provider_client import HttpsProviderClient
from moorage.domain.clock import Ids, SystemClock
from moorage.domain.load_balancer import AuthAction, AuthenticateOidc, FixedResponse, Forward, JwtClaim, ValidateJwt
from moorage.store.elbv2_queries import put_listener, put_rule
from moorage.store.log_memory import MemoryLog
from moorage.store.memory import Store
from moorage.store.tables.elbv2 import TABLES
from proxy.builders import a_config, a_listener, a_load_balancer, a_rule, path, to
from proxy.certificates import Root
from proxy.conftest import Balanced
from proxy.servers import Backend, free_port

HOST = "shop.example.com"
# the provider is built on a library that announces its next version
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def root() -> Root:
    return Root()


@pytest.fixture(scope="module")
def provider(root: Root, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an OpenID Connect provider that lets anybody in."""
    directory, certificate = tmp_path_factory.mktemp("provider"), root.issue("localhost")
    chain, key = directory / "chain.pem", directory / "key.pem"
    chain.write_bytes(certificate.chain)
    key.write_bytes(certificate.key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    server = werkzeug.serving.make_server("localhost", 0, oidc_provider(), threaded=True, ssl_context=context)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://localhost:{server.server_port}"
    server.shutdown()
    thread.join()


class Everywhere(AbstractResolver):
    """Every name but localhost is the load balancer."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[Any]:
        ip = "127.0.0.1" if host == "localhost" else self._address
        return [{"hostname": host, "host": ip, "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None:
        pass


class House:
    """A load balancer whose rules ask, and a browser."""

    def __init__(self, envoy: Balanced, root: Root, directory: Path) -> None:
        self.envoy = envoy
        self.root = root
        file = directory / "root.pem"
        file.write_bytes(root.pem)
        self.client = HttpsProviderClient(file)
        self.signer = ECKey.generate_key("P-256")
        self.authenticator: Authenticator
        self.browser: aiohttp.ClientSession
        self.url = ""

    async def serve(self, action: AuthAction, *, last: Forward | FixedResponse | None = None) -> None:
        """`/private/*` asks; everything else is open."""
        store = await Store.open(MemoryLog(), TABLES)
        keys = Keys(OctKey.generate_key(256), self.signer)
        authenticator = Authenticator(store, SystemClock(), Ids(), keys, self.client)
        self.authenticator = authenticator
        self.envoy.proxy.authorize_with(authenticator.check)
        balancer, certificate = a_load_balancer(), self.root.issue(HOST)
        listener = msgspec.structs.replace(
            a_listener(balancer, to("web"), port=443, protocol="HTTPS"), certificates=(certificate.arn,)
        )
        arn = f"{listener.arn.replace(':listener/', ':listener-rule/')}/0000000000000001"
        rule = msgspec.structs.replace(
            a_rule(1, path("/private/*"), action=to("web")),
            arn=arn,
            listener_arn=listener.arn,
            actions=(action, last or to("web")),
        )

        def write(tx: Any) -> None:
            put_listener(tx, listener)
            put_rule(tx, rule)

        await store.update(write)
        config = a_config(balancer, listener, rules={443: (rule,)})
        await self.envoy.proxy.put_load_balancer(
            msgspec.structs.replace(config, certificates={certificate.arn: certificate})
        )
        self.url = f"https://{HOST}:{self.envoy.ports(443)}"
        self.browser = self.a_browser(balancer.loopback)

    def a_browser(self, address: str) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(ssl=self.root.trust(), resolver=Everywhere(address), use_dns_cache=False)
        return aiohttp.ClientSession(connector=connector)

    async def get(self, where: str, **how: Any) -> tuple[aiohttp.ClientResponse, bytes]:
        url = where if where.startswith("http") else self.url + where
        async with self.browser.get(url, allow_redirects=False, **how) as answer:
            return answer, await answer.read()

    async def log_in(self, where: str, user: str = "alice") -> aiohttp.ClientResponse:
        """As a browser: to the provider, and back to where the user wanted to go."""
        asked, _ = await self.get(where)
        assert asked.status == 302
        form = {"sub": user}
        async with self.browser.post(asked.headers["location"], data=form, allow_redirects=False) as granted:
            back = granted.headers["location"]
        returned, _ = await self.get(back)
        return returned


@pytest.fixture
async def house(envoy: Balanced, web: Backend, root: Root, tmp_path: Path) -> AsyncIterator[House]:
    made = House(envoy, root, tmp_path)
    yield made
    await made.browser.close()
    await made.client.close()


def oidc(provider: str, **how: Any) -> AuthenticateOidc:
    return AuthenticateOidc(
        issuer=provider,
        authorization_endpoint=f"{provider}/oauth2/authorize",
        token_endpoint=f"{provider}/oauth2/token",
        user_info_endpoint=f"{provider}/userinfo",
        client_id="shop",
        client_secret="secret",
        **how,
    )


async def test_a_user_logs_in_and_the_target_knows(house: House, provider: str) -> None:
    await house.serve(oidc(provider, extra_params={"prompt": "login"}))
    asked, _ = await house.get("/private/cart?item=1")
    location = urlsplit(asked.headers["location"])
    query = {name: values[0] for name, values in parse_qs(location.query).items()}
    assert f"{location.scheme}://{location.netloc}{location.path}" == f"{provider}/oauth2/authorize"
    assert (query["client_id"], query["scope"], query["response_type"]) == ("shop", "openid", "code")
    assert query["redirect_uri"] == f"{house.url}/oauth2/idpresponse"
    assert query["prompt"] == "login"

    returned = await house.log_in("/private/cart?item=1")
    assert (returned.status, returned.headers["location"]) == (302, f"{house.url}/private/cart?item=1")
    answer, body = await house.get("/private/cart?item=1", headers={"x-amzn-oidc-identity": "root"})
    assert answer.status == 200
    headers = json.loads(body)["headers"]
    assert headers["x-amzn-oidc-identity"] == "alice"
    assert headers["x-amzn-oidc-accesstoken"]
    head, payload, signature = headers["x-amzn-oidc-data"].split(".")
    assert all(len(part) % 4 == 0 for part in (head, payload, signature)), "AWS pads it"
    assert json.loads(base64.urlsafe_b64decode(payload))["sub"] == "alice"
    assert json.loads(base64.urlsafe_b64decode(head))["client"] == "shop"
    plain = ".".join(part.rstrip("=") for part in (head, payload, signature))
    lenient = JWSRegistry(algorithms=["ES256"], strict_check_header=False)
    assert jwt.decode(plain, house.signer, registry=lenient).claims["iss"] == provider
    open_to_all, _ = await house.get("/public")
    assert open_to_all.status == 200


async def test_sessions_are_not_forged_and_end(house: House, provider: str) -> None:
    await house.serve(oidc(provider))
    forged = {"AWSELBAuthSessionCookie-0": "eyJhbGciOiJkaXIiLCJlbmMiOiJBMjU2R0NNIn0..AAAA.BBBB.CCCC"}
    answer, _ = await house.get("/private/x", cookies=forged)
    assert answer.status == 302
    await house.log_in("/private/x")
    assert (await house.get("/private/x"))[0].status == 200
    house.browser.cookie_jar.clear()
    assert (await house.get("/private/x"))[0].status == 302


async def test_a_login_belongs_to_the_browser_that_began_it(house: House, provider: str) -> None:
    await house.serve(oidc(provider))
    asked, _ = await house.get("/private/x")
    async with house.browser.post(asked.headers["location"], data={"sub": "mallory"}, allow_redirects=False) as granted:
        back = granted.headers["location"]
    house.browser.cookie_jar.clear()
    assert (await house.get(back))[0].status == 401
    assert (await house.get("/oauth2/idpresponse?code=x&state=nonsense"))[0].status == 401


@pytest.mark.parametrize(("what", "status"), [("deny", 401), ("allow", 200)])
async def test_who_is_not_logged_in(house: House, provider: str, what: Any, status: int) -> None:
    await house.serve(oidc(provider, on_unauthenticated=what))
    answer, body = await house.get("/private/x", headers={"x-amzn-oidc-identity": "root"})
    assert answer.status == status
    if status == 200:
        assert "x-amzn-oidc-identity" not in json.loads(body)["headers"]


async def test_a_provider_that_fails_is_561(house: House, provider: str) -> None:
    await house.serve(msgspec.structs.replace(oidc(provider), token_endpoint=f"{provider}/nowhere"))
    assert (await house.log_in("/private/x")).status == 561


async def test_a_provider_that_is_down_is_500(house: House, provider: str) -> None:
    nobody = f"https://127.0.0.1:{free_port()}"
    await house.serve(msgspec.structs.replace(oidc(provider), token_endpoint=f"{nobody}/token"))
    assert (await house.log_in("/private/x")).status == 500


@pytest.mark.parametrize(("error", "status"), [("access_denied", 401), ("server_error", 561)])
async def test_a_provider_that_says_no(house: House, provider: str, error: str, status: int) -> None:
    await house.serve(oidc(provider))
    asked, _ = await house.get("/private/x")
    state = parse_qs(urlsplit(asked.headers["location"]).query)["state"][0]
    answer, _ = await house.get(f"/oauth2/idpresponse?error={error}&state={quote(state)}")
    assert answer.status == status


async def test_fixed_responses_ask_too(house: House, provider: str) -> None:
    await house.serve(oidc(provider), last=FixedResponse("200", "text/plain", "secret"))
    assert (await house.get("/private/x"))[0].status == 302
    await house.log_in("/private/x")
    answer, body = await house.get("/private/x")
    assert (answer.status, body) == (200, b"secret")


class Issuer:
    """Serves its public keys and signs tokens."""

    def __init__(self) -> None:
        self.key = RSAKey.generate_key(2048, {"kid": "one"}, private=True)

    def token(self, **claims: Any) -> str:
        given = {"iss": "https://issuer", "exp": 4102444800, **claims}
        return str(
            jwt.encode({"alg": "RS256", "kid": "one"}, {k: v for k, v in given.items() if v is not None}, self.key)
        )

    async def serve(self, root: Root, directory: Path) -> tuple[asyncio.Server, str]:
        from aiohttp import web

        certificate = root.issue("localhost")
        chain, key = directory / "issuer.pem", directory / "issuer.key"
        chain.write_bytes(certificate.chain)
        key.write_bytes(certificate.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chain, key)

        async def keys(_: web.BaseRequest) -> web.Response:
            return web.json_response(KeySet([self.key]).as_dict(private=False))

        server = await asyncio.get_running_loop().create_server(web.Server(keys), "127.0.0.1", 0, ssl=context)
        return server, f"https://localhost:{server.sockets[0].getsockname()[1]}/keys"


async def test_signed_tokens(house: House, root: Root, tmp_path: Path) -> None:
    issuer = Issuer()
    server, url = await issuer.serve(root, tmp_path)
    claims = (JwtClaim("space-separated-values", "scope", ("orders",)), JwtClaim("string-array", "roles", ("a", "b")))
    await house.serve(ValidateJwt(url, "https://issuer", claims))

    async def status(token: str | None) -> int:
        headers = {"authorization": f"Bearer {token}"} if token is not None else {}
        return (await house.get("/private/x", headers=headers))[0].status

    good = {"scope": "orders profile", "roles": ["b"]}
    assert await status(issuer.token(**good)) == 200
    assert await status(None) == 401
    assert await status("nonsense") == 401
    assert await status(Issuer().token(**good)) == 401, "somebody else's signature"
    assert await status(issuer.token(**good, iss="https://other")) == 401
    assert await status(issuer.token(**{**good, "exp": 1})) == 401
    assert await status(issuer.token(**{**good, "exp": None})) == 401
    assert await status(issuer.token(**good, nbf=4102444800)) == 401
    assert await status(issuer.token(scope="profile", roles=["a"])) == 401
    assert await status(issuer.token(scope="orders", roles="a")) == 401
    server.close()
    await house.serve(ValidateJwt(f"https://127.0.0.1:{free_port()}/keys", "https://issuer"))
    assert await status(issuer.token(**good)) == 401, "nobody has the keys"


async def test_nobody_to_ask_is_closed(house: House, provider: str) -> None:
    await house.serve(oidc(provider))
    house.envoy.proxy.authorize_with(None)
    assert (await house.get("/private/x"))[0].status == 503
    assert (await house.get("/public"))[0].status == 200
