"""Who sends this request? The authentication actions of listeners: users log in at an OpenID Connect provider, or requests
carry a signed token. Source: semantics elbv2 §6.

The proxy asks `check` for every request of a rule that authenticates, and for the door to which a provider sends users
back. A session lives in an encrypted cookie of its user, so that nothing is kept here and a restart ends no session.
What can be said without keys and network is in `decide/elbv2_auth`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

import msgspec
from joserfc import jwe, jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, KeySet, OctKey

from moorage.decide import elbv2_auth as auth
from moorage.domain.clock import Clock, Ids
from moorage.domain.load_balancer import (
    AuthAction,
    AuthenticateOidc,
    ValidateJwt,
    auth_of,
    listener_of,
    load_balancer_of,
)
from moorage.proxy.driver import AuthAnswer, AuthRequest
from moorage.store.api import StoreApi
from moorage.store.tables.elbv2 import LISTENERS, RULES

log = logging.getLogger("moorage.authentication")

KEYS_KEPT = 300.0
"""Seconds that the keys of an issuer are believed without asking again."""
ASK_AGAIN = 10.0
"""Seconds between two looks for a key that an issuer did not have."""
MOST_KEYS, LONGEST_KEYS = 10, 150 * 1024
DATA_LIFE = 120.0
"""Seconds that the claims in `x-amzn-oidc-data` are valid."""


class ProviderFailed(Exception):
    """The provider did not answer as OpenID Connect asks; the text says how. `reached` False: it did not answer at all."""

    def __init__(self, text: str, *, reached: bool = True) -> None:
        super().__init__(text)
        self.reached = reached


class ProviderClient(Protocol):
    """HTTPS to providers. Raises `ProviderFailed`."""

    async def post_form(self, url: str, form: Mapping[str, str]) -> dict[str, Any]: ...

    async def get(self, url: str, token: str | None = None) -> bytes: ...


class Keys(msgspec.Struct, frozen=True):
    """Of this installation: `session` encrypts cookies, `signer` signs what targets are told."""

    session: OctKey
    signer: ECKey


class Session(msgspec.Struct, frozen=True):
    """What the cookie holds. `began` and `expires` (of the access token) in epoch seconds."""

    issuer: str
    client_id: str
    began: float
    expires: float
    access_token: str
    claims: dict[str, Any]
    refresh_token: str | None = None


class _Login(msgspec.Struct, frozen=True):
    """What travels with a user to the provider and back."""

    rule: str
    url: str
    nonce: str
    at: float


class Authenticator:
    def __init__(self, store: StoreApi, clock: Clock, ids: Ids, keys: Keys, provider: ProviderClient) -> None:
        self._store = store
        self._clock = clock
        self._ids = ids
        self._keys = keys
        self._provider = provider
        self._jwks: dict[str, tuple[float, KeySet]] = {}
        self.on_refused: Callable[[AuthRequest, str], None] = lambda request, why: None
        """Gets a request that is not let through, and why."""

    async def check(self, request: AuthRequest) -> AuthAnswer:
        """Never raises for anything that a client or a provider does."""
        try:
            answer = await self._answer(request)
        except ProviderFailed as failure:
            answer = _page(561 if failure.reached else 500, str(failure))
        if answer.why:
            path = request.path.partition("?")[0]
            log.info("%s %s%s was answered %s: %s", request.method, request.host, path, answer.status, answer.why)
            self.on_refused(request, answer.why)
        return answer

    async def _answer(self, request: AuthRequest) -> AuthAnswer:
        if not request.rule:
            return await self._returned(request)
        action = self._action(request.rule)
        if isinstance(action, AuthenticateOidc):
            return await self._oidc(request, action)
        if isinstance(action, ValidateJwt):
            return await self._jwt(request, action)
        return AuthAnswer()  # the rule was changed meanwhile and asks nothing any more

    def public_key(self) -> tuple[str, bytes]:
        """The id and the PEM of the key that signs `x-amzn-oidc-data`."""
        return self._key_id(), bytes(self._keys.signer.as_pem(private=False))

    def _action(self, rule_arn: str) -> AuthAction | None:
        rule = self._store.get(RULES, rule_arn)
        if rule is not None:
            return auth_of(rule.actions)
        listener = self._store.get(LISTENERS, listener_of(rule_arn))
        return auth_of(listener.default_actions) if listener is not None else None

    # --- OpenID Connect ------------------------------------------------------------------------------------------------
    async def _oidc(self, request: AuthRequest, config: AuthenticateOidc) -> AuthAnswer:
        now = self._clock.now()
        session = self._session(request, config)
        if session is None:
            return self._unauthenticated(request, config, now)
        changed: tuple[tuple[str, str], ...] = ()
        if session.expires <= now and session.refresh_token:
            try:
                session = await self._begin(
                    config, {"grant_type": "refresh_token", "refresh_token": session.refresh_token}, session
                )
            except ProviderFailed:
                return self._unauthenticated(request, config, now)
            changed = self._cookies(config, session)
        return AuthAnswer(add=self._told(request, config, session), remove=auth.TOKEN_HEADERS, answer_headers=changed)

    def _unauthenticated(self, request: AuthRequest, config: AuthenticateOidc, now: float) -> AuthAnswer:
        if config.on_unauthenticated == "allow":
            return AuthAnswer(remove=auth.TOKEN_HEADERS)
        if config.on_unauthenticated == "deny":
            return _page(401, "a session is missing")
        nonce = self._ids.url_safe(32)
        login = _Login(request.rule, f"https://{request.host}{request.path}", nonce, now)
        state = self._seal(login)
        return AuthAnswer(
            status=302,
            answer_headers=(
                ("location", auth.authorize_url(config, request.host, state)),
                ("set-cookie", auth.set_nonce(nonce)),
                ("cache-control", "no-store"),
            ),
        )

    async def _returned(self, request: AuthRequest) -> AuthAnswer:
        """A user comes back from the provider, with a code or with an error."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        login = self._open(asked.get("state", ""), _Login)
        config = self._action(login.rule) if login is not None else None
        if login is None or not isinstance(config, AuthenticateOidc):
            return _page(401, "nobody was sent to log in with this state")
        if listener_of(login.rule) != request.listener:
            return _page(401, "this login began at another listener")
        if self._clock.now() - login.at > auth.LOGIN_TIMEOUT:
            return _page(401, "the login took too long")
        if auth.cookies_of(request.headers).get(auth.NONCE_COOKIE) != login.nonce:
            return _page(401, "another browser began this login")
        if asked.get("error", "access_denied") != "access_denied":
            return _page(561, f"the provider answered {asked['error']}")
        if "code" not in asked:
            return _page(401, f"the provider answered {asked.get('error', 'without a code')}")
        session = await self._begin(
            config,
            {
                "grant_type": "authorization_code",
                "code": asked["code"],
                "redirect_uri": auth.redirect_uri(request.host),
            },
        )
        cookies = self._cookies(config, session)
        if not cookies:
            return _page(500, "the claims are larger than 11 KB")
        return AuthAnswer(status=302, answer_headers=(("location", login.url), *cookies, ("cache-control", "no-store")))

    async def _begin(
        self, config: AuthenticateOidc, grant: Mapping[str, str], before: Session | None = None
    ) -> Session:
        """A session from a grant; `before`: the one that is refreshed."""
        now = self._clock.now()
        answer = await self._provider.post_form(
            config.token_endpoint,
            {**grant, "client_id": config.client_id, "client_secret": config.client_secret},
        )
        token, id_token = answer.get("access_token"), answer.get("id_token")
        if not isinstance(token, str) or (before is None and not isinstance(id_token, str)):
            raise ProviderFailed(f"{config.token_endpoint} gave no access token and ID token")
        try:
            claims = msgspec.json.decode(
                await self._provider.get(config.user_info_endpoint, token), type=dict[str, Any]
            )
        except msgspec.DecodeError as error:
            raise ProviderFailed(f"{config.user_info_endpoint} answered with something else than claims") from error
        lifetime = answer.get("expires_in", 3600)
        refresh = answer.get("refresh_token") or (before.refresh_token if before is not None else None)
        return Session(
            issuer=config.issuer,
            client_id=config.client_id,
            began=before.began if before is not None else now,
            expires=now + (float(lifetime) if isinstance(lifetime, int | float) else 3600.0),
            access_token=token,
            claims=claims,
            refresh_token=refresh if isinstance(refresh, str) else None,
        )

    def _session(self, request: AuthRequest, config: AuthenticateOidc) -> Session | None:
        sealed = auth.joined(auth.cookies_of(request.headers), config.session_cookie_name)
        session = self._open(sealed, Session)
        if session is None or (session.issuer, session.client_id) != (config.issuer, config.client_id):
            return None
        return session if session.began + config.session_timeout > self._clock.now() else None

    def _cookies(self, config: AuthenticateOidc, session: Session) -> tuple[tuple[str, str], ...]:
        sealed = self._seal(session)
        if len(msgspec.json.encode([session.claims, session.access_token])) > auth.LONGEST_CLAIMS:
            return ()
        if len(sealed) > auth.SHARD * auth.MOST_SHARDS:
            return ()
        return tuple(("set-cookie", one) for one in auth.set_session(config.session_cookie_name, sealed))

    def _told(self, request: AuthRequest, config: AuthenticateOidc, session: Session) -> dict[str, str]:
        """The headers for the target. AWS pads the base64 of `x-amzn-oidc-data`."""
        header = {
            "typ": "JWT",
            "kid": self._key_id(),
            "alg": "ES256",
            "iss": config.issuer,
            "client": config.client_id,
            "signer": load_balancer_of(request.listener),
            "exp": int(self._clock.now() + DATA_LIFE),
        }
        registry = jws.JWSRegistry(algorithms=["ES256"], strict_check_header=False)
        payload = msgspec.json.encode({**session.claims, "exp": header["exp"], "iss": config.issuer})
        signed = jws.serialize_compact(header, payload, self._keys.signer, registry=registry)
        return {
            "x-amzn-oidc-accesstoken": session.access_token,
            "x-amzn-oidc-identity": str(session.claims.get("sub", "")),
            "x-amzn-oidc-data": ".".join(part + "=" * (-len(part) % 4) for part in signed.split(".")),
        }

    def _key_id(self) -> str:
        return str(self._keys.signer.thumbprint())

    def _seal(self, value: msgspec.Struct) -> str:
        header = {"alg": "dir", "enc": "A256GCM", "zip": "DEF"}
        return str(jwe.encrypt_compact(header, msgspec.json.encode(value), self._keys.session))

    def _open(self, sealed: str, kind: type[msgspec.Struct]) -> Any:
        if not sealed:
            return None
        try:
            return msgspec.json.decode(jwe.decrypt_compact(sealed, self._keys.session).plaintext or b"", type=kind)
        except (JoseError, ValueError):
            return None

    # --- signed tokens ---------------------------------------------------------------------------------------------------
    async def _jwt(self, request: AuthRequest, config: ValidateJwt) -> AuthAnswer:
        token = auth.bearer_of(request.headers)
        if token is None:
            return _page(401, "there is no bearer token")
        try:
            header = jws.extract_compact(token.encode()).headers()
            if header.get("alg") != "RS256":
                return _page(401, "the token is not signed with RS256")
            keys = await self._issuer_keys(config.jwks_endpoint, str(header.get("kid", "")))
            claims = jwt.decode(token, keys, algorithms=["RS256"]).claims
        except (JoseError, ValueError):
            return _page(401, "the signature of the token is not good")
        except ProviderFailed as failure:
            return _page(401, f"there are no keys to verify the token with: {failure}")
        why = auth.why_invalid(claims, config, self._clock.now())
        return _page(401, f"the token is not accepted: {why}") if why is not None else AuthAnswer()

    async def _issuer_keys(self, url: str, key_id: str) -> KeySet:
        """From memory while it is fresh; asked again, not too often, for a key that was not there."""
        now = self._clock.now()
        known = self._jwks.get(url)
        if known is not None:
            age = now - known[0]
            there = not key_id or any(key.kid == key_id for key in known[1].keys)
            if age < (KEYS_KEPT if there else ASK_AGAIN):
                return known[1]
        content = await self._provider.get(url)
        if len(content) > LONGEST_KEYS:
            raise ProviderFailed(f"{url} is larger than 150 KB")
        try:
            found = KeySet.import_key_set(msgspec.json.decode(content))
        except (JoseError, ValueError, KeyError, TypeError) as error:
            raise ProviderFailed(f"{url} is not a JSON Web Key Set") from error
        if len(found.keys) > MOST_KEYS:
            raise ProviderFailed(f"{url} has more than {MOST_KEYS} keys")
        self._jwks[url] = (now, found)
        return found


def _page(status: int, why: str) -> AuthAnswer:
    """The load balancer's own answer. Clients see the status; the reason is for people."""
    return AuthAnswer(status=status, why=why)
