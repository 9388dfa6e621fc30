"""Load balancer authentication as the application holds it: its keys, its way to providers, and the door where targets
fetch the public key, `GET /_moorage/public-keys/<key id>` (AWS: `public-keys.auth.elb.<region>.amazonaws.com`).

The keys are made at first use and kept in the data directory, readable by their owner only. Nothing is loaded before the
first request that needs it: most installations never have one.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from moorage.domain.clock import Clock, Ids
from moorage.proxy.driver import AuthAnswer, AuthRequest
from moorage.services.aws_backed.private_files import write_private
from moorage.store.api import StoreApi

if TYPE_CHECKING:
    from moorage.control.authentication import Authenticator, Keys
    from moorage.control.provider_client import HttpsProviderClient

SESSION_FILE, SIGNER_FILE = "session.key", "signer.pem"


class Authentication:
    """`directory`: of its own, below the data directory. `root`: file of the local certificate authority, which providers
    behind this installation's own load balancers are believed with."""

    path = "/_moorage/public-keys/"

    def __init__(self, store: StoreApi, clock: Clock, ids: Ids, directory: Path, root: Path) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._directory = directory
        self._root = root
        self._client: HttpsProviderClient | None = None
        self._made: Authenticator | None = None
        self.on_refused: Callable[[AuthRequest, str], None] = lambda request, why: None
        """Gets a request that is not let through, and why; set before the first one."""

    async def check(self, request: AuthRequest) -> AuthAnswer:
        return await self._authenticator().check(request)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        key_id, pem = self._authenticator().public_key()
        if request.path.removeprefix(self.path) != key_id:
            return web.json_response({"message": "There is no key with this id."}, status=404)
        return web.Response(body=pem, content_type="application/x-pem-file")

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()

    def _authenticator(self) -> Authenticator:
        if self._made is None:
            from moorage.control.authentication import Authenticator
            from moorage.control.provider_client import HttpsProviderClient

            self._client = HttpsProviderClient(self._root)
            self._made = Authenticator(self._store, self._clock, self._ids, load_keys(self._directory), self._client)
            self._made.on_refused = self.on_refused
        return self._made


def load_keys(directory: Path) -> Keys:
    from joserfc.jwk import ECKey, OctKey

    from moorage.control.authentication import Keys

    session, signer = directory / SESSION_FILE, directory / SIGNER_FILE
    if not session.exists():
        write_private(session, OctKey.generate_key(256).raw_value)
    if not signer.exists():
        write_private(signer, ECKey.generate_key("P-256").as_pem(private=True))
    return Keys(OctKey.import_key(session.read_bytes()), ECKey.import_key(signer.read_bytes()))
