"""The image registry's front door: one aiohttp handler, mounted by the gateway at `/v2/`.

It decides who is asking (authorization token), and which registry is meant (Host header or token); `distribution` gives
the answers. Source: semantics around §1.2.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from pathlib import Path
from urllib.parse import urlencode

from aiohttp import web

from moorage.domain.clock import Clock, Ids
from moorage.domain.ecr import EXPIRED_SENTENCE, Repository, repository_arn
from moorage.domain.errors import AwsError, Retryable
from moorage.domain.scope import Scope
from moorage.registry.blobs import BlobStore
from moorage.registry.distribution import Call, Distribution
from moorage.registry.errors import RegistryError, from_aws
from moorage.registry.names import scope_of_host
from moorage.registry.sweep import sweep
from moorage.registry.tokens import LIFETIME, USERNAME, TokenSigner, basic_credentials
from moorage.store.api import StoreApi

log = logging.getLogger("moorage.registry")

SWEEP_EVERY = 3600.0
DOWNLOAD_LIFETIME = 3600.0
_CHALLENGE = 'Basic realm="http://{host}/",service="ecr.amazonaws.com"'


class Registry:
    """`data_dir`: the installation's data directory. `port`: where the gateway listens."""

    def __init__(self, data_dir: Path, store: StoreApi, clock: Clock, ids: Ids, *, port: int = 4566) -> None:
        directory = data_dir / "registry"
        self.port = port
        self.host = f"localhost:{port}"
        self.blobs = BlobStore(directory, clock, ids)
        self._distribution = Distribution(store, clock, self.blobs)
        self._signer = TokenSigner(directory / "token.key")
        self._store = store
        self._clock = clock
        self._sweeper: asyncio.Task[None] | None = None

    # -- for the rest of Moorage -------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Begins the hourly sweep of unreferenced blobs."""
        self._sweeper = asyncio.create_task(self._sweep_forever(), name="registry sweep")

    async def close(self) -> None:
        if self._sweeper is not None:
            self._sweeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._sweeper
        await self._distribution.close()

    async def sweep(self, grace: float = SWEEP_EVERY) -> int:
        """Removes what nothing refers to and nobody has wanted for `grace` seconds; returns the number of blobs."""
        return await sweep(self._store, self.blobs, self._clock.now(), grace)

    def token(self, scope: Scope) -> str:
        """A password for user `AWS`, valid for 12 hours."""
        return self._signer.issue(scope, self.token_expiry())

    def token_expiry(self) -> float:
        return self._clock.now() + LIFETIME

    def download_url(self, repository: Repository, digest: str) -> str:
        """An address that serves one blob to whoever holds it, for an hour and without further credentials."""
        expires = int(self._clock.now() + DOWNLOAD_LIFETIME)
        signature = self._signer.sign(_download_claim(repository.arn, digest, expires))
        scope = f"{repository.account}.{repository.region}"
        query = urlencode({"Scope": scope, "Expires": expires, "Signature": signature})
        return f"http://{self.host}/v2/{repository.name}/blobs/{digest}?{query}"

    async def add_layer(self, arn: str, digest: str, size: int) -> None:
        """Lets a repository serve a blob that is on disk (durable when this returns)."""
        await self._distribution.add_layer(arn, digest, size)

    def repository_uri(self, name: str) -> str:
        return f"{self.host}/{name}"

    # -- the front door ----------------------------------------------------------------------------------------------

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            response = await self._answer(request)
        except AwsError as error:
            response = from_aws(error).response()
        except RegistryError as error:
            response = error.response()
        except Retryable as error:
            response = RegistryError(503, "UNAVAILABLE", str(error)).response()
        except ConnectionError:
            raise  # the client is gone; nobody is left to answer
        except OSError as error:
            log.error("%s %s failed: %s", request.method, request.path, error)
            why = f"The registry's disk refused: {error.strerror or error}"
            response = RegistryError(500, "UNKNOWN", why).response()
        if not response.prepared:
            response.headers["Docker-Distribution-Api-Version"] = "registry/2.0"
        return response

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        if "Signature" in request.query and request.method in ("GET", "HEAD"):
            return await self._signed_download(request)
        scope, caller = self._authenticate(request)
        if request.path.rstrip("/") == "/v2":
            return web.json_response({})
        handler, name, rest = self._distribution.route(request.method, request.path)
        return await handler(Call(request, scope, caller, name, rest))

    async def _signed_download(self, request: web.BaseRequest) -> web.StreamResponse:
        """A blob by an address of `download_url`."""
        handler, name, digest = self._distribution.route(request.method, request.path)
        account, _, region = request.query.get("Scope", "").partition(".")
        scope = Scope(account, region)
        expires = request.query.get("Expires", "")
        if not expires.isdigit() or not request.path.endswith(f"/blobs/{digest}"):
            raise RegistryError(403, "DENIED", "Access Denied")
        claim = _download_claim(repository_arn(scope, name), digest, int(expires))
        if not self._signer.verify(claim, request.query["Signature"]):
            raise RegistryError(403, "DENIED", "The request signature we calculated does not match.")
        if int(expires) <= self._clock.now():
            raise RegistryError(403, "DENIED", "Request has expired")
        return await handler(Call(request, scope, account, name, digest))

    def _authenticate(self, request: web.BaseRequest) -> tuple[Scope, str]:
        """The scope in which names are looked up (the Host header's when it names one, else the token's), and the
        account that asks."""
        challenge = _CHALLENGE.format(host=request.host)
        credentials = basic_credentials(request.headers.get("Authorization"))
        if credentials is None:
            raise RegistryError(401, "UNAUTHORIZED", "authentication required", WWW_Authenticate=challenge)
        user, password = credentials
        token = self._signer.read(password) if user == USERNAME else None
        if token is None:
            raise RegistryError(
                401,
                "UNAUTHORIZED",
                "The user name must be AWS and the password a token of `aws ecr get-login-password`.",
                WWW_Authenticate=challenge,
            )
        if token.expires_at <= self._clock.now():
            raise RegistryError(403, "DENIED", EXPIRED_SENTENCE)
        return scope_of_host(request.host) or token.scope, token.scope.account

    async def _sweep_forever(self) -> None:
        while True:
            try:
                removed = await self.sweep()
                if removed:
                    log.info("removed %d blobs that no image refers to", removed)
            except (OSError, Retryable) as error:
                log.warning("the sweep of unreferenced blobs failed, it runs again in an hour: %s", error)
            await asyncio.sleep(SWEEP_EVERY)


def _download_claim(arn: str, digest: str, expires: int) -> str:
    return f"download {arn} {digest} {expires}"
