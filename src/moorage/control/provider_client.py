"""HTTPS to OpenID Connect providers and issuers of tokens: forms sent, JSON read, certificates verified."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from moorage.control.authentication import ProviderFailed

PATIENCE = aiohttp.ClientTimeout(total=5)
"""As long as AWS waits for a provider."""
LARGEST = 1024 * 1024


class HttpsProviderClient:
    """`root`: a certificate authority that is believed beside those of the system, once the file is there."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._session: aiohttp.ClientSession | None = None
        self._trusted_root: bytes | None = None

    async def post_form(self, url: str, form: Mapping[str, str]) -> dict[str, Any]:
        body = await self._ask("POST", url, data=dict(form), headers={"Accept": "application/json"})
        try:
            return msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError as error:
            raise ProviderFailed(f"{url} answered with something else than JSON") from error

    async def get(self, url: str, token: str | None = None) -> bytes:
        headers = {"Accept": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        return await self._ask("GET", url, headers=headers)

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _ask(self, method: str, url: str, **how: Any) -> bytes:
        session = await self._open()
        try:
            async with session.request(method, url, allow_redirects=False, timeout=PATIENCE, **how) as answer:
                body = await answer.content.read(LARGEST)
                if answer.status >= 300:
                    raise ProviderFailed(f"{url} answered {answer.status}")
                return body
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
            raise ProviderFailed(f"{url} cannot be asked: {why}", reached=False) from error

    async def _open(self) -> aiohttp.ClientSession:
        root = await asyncio.to_thread(self._read_root)
        if self._session is not None and root == self._trusted_root:
            return self._session
        await self.close()
        context = ssl.create_default_context()
        if root:
            context.load_verify_locations(cadata=root.decode())
        self._trusted_root = root
        self._session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context))
        return self._session

    def _read_root(self) -> bytes:
        return self._root.read_bytes() if self._root.exists() else b""
