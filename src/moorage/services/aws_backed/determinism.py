"""Makes moto a function of (state, request, time, seed), so that a journal of requests brings the same state back.

Installed before moto is imported, because its modules bind `datetime`, `uuid4` and friends when they are loaded:

* time: inside `Moment.at(…)` every clock reads the request's own time; each reading is a microsecond later than the one
  before and `sleep` moves it on instead of sleeping;
* chance: moto's random source, `random`, `uuid` and `os.urandom` all draw from the request's seed;
* code that is loaded while a request runs draws aside: the request does not notice;
* private keys come from OpenSSL, which takes no seed: they are recorded when made and played back (`made`).
"""

from __future__ import annotations

import datetime as datetime_module
import importlib
import os
import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.machinery import SourceFileLoader
from typing import Any

_real_time, _real_sleep = time.time, time.sleep
_real_chance = random.SystemRandom()
_real_datetime = datetime_module.datetime


class Moment:
    """The one current request: its time, its chance, its keys. moto's mends leave notes here: `wait` for the answer of
    that name, `changed` when they know better than the operation's name whether anything changed."""

    def __init__(self) -> None:
        self.now: float | None = None
        self._thread = threading.get_ident()
        self.chance = random.Random()
        self.made: list[bytes] = []
        self.replay: list[bytes] | None = None
        self.wait = 0.0
        self.changed: bool | None = None

    @property
    def mine(self) -> bool:
        """Whether a request runs, and on this thread: what moto does on others is not part of it."""
        return self.now is not None and threading.get_ident() == self._thread

    def read(self) -> float:
        if not self.mine or self.now is None:
            return _real_time()
        self.now += 1e-6
        return self.now

    def sleep(self, seconds: float) -> None:
        if self.mine and self.now is not None:
            self.now += max(0.0, seconds)
        else:
            _real_sleep(seconds)

    def bits(self, count: int) -> int:
        return self.chance.getrandbits(count) if self.mine else _real_chance.getrandbits(count)

    @contextmanager
    def at(self, now: float, seed: str, replay: list[bytes] | None = None) -> Iterator[None]:
        """Nested moments (a backend that is created while a request runs) leave the outer one as it was."""
        outer_now, outer_state = self.now, self.chance.getstate()
        outer_random = random.getstate()
        self.now = now
        self.chance.seed(seed)
        random.seed(seed)
        if outer_now is None:
            self.made, self.replay = [], list(replay) if replay is not None else None
            self.wait, self.changed = 0.0, None
        try:
            yield
        finally:
            self.now = outer_now
            self.chance.setstate(outer_state)
            random.setstate(outer_random)


moment = Moment()


class _DatetimeType(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _real_datetime)

    def __subclasscheck__(cls, subclass: type) -> bool:
        return issubclass(subclass, _real_datetime)


class PinnedDatetime(_real_datetime, metaclass=_DatetimeType):
    @classmethod
    def now(cls, tz: datetime_module.tzinfo | None = None) -> PinnedDatetime:
        return cls.fromtimestamp(moment.read(), tz)

    @classmethod
    def utcnow(cls) -> PinnedDatetime:
        return cls.fromtimestamp(moment.read(), datetime_module.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> PinnedDatetime:
        return cls.now()


def install() -> None:
    """Replaces the process's clocks and chance. Only ever called by the worker, before it imports moto."""
    time.time = moment.read
    time.time_ns = lambda: int(moment.read() * 1e9)
    time.sleep = moment.sleep  # type: ignore[assignment]
    datetime_module.datetime = PinnedDatetime  # type: ignore[misc]
    uuid.uuid4 = lambda: uuid.UUID(int=moment.bits(128), version=4)
    uuid.uuid1 = lambda node=None, clock_seq=None: uuid.UUID(int=moment.bits(128), version=1)
    os.urandom = lambda size: moment.bits(8 * size).to_bytes(size, "little") if size else b""
    loader: Any = SourceFileLoader
    loader.exec_module = aside(loader.exec_module)


def aside(load: Callable[[Any, Any], None]) -> Callable[[Any, Any], None]:
    """Modules are loaded by whatever request needs them first, even by a read, which no journal keeps: what they draw
    while they load must not be missing from, or be added to, what that request draws."""

    def exec_module(self: Any, module: Any) -> None:
        if not moment.mine or moment.now is None:
            return load(self, module)
        with moment.at(moment.now, f"code/{module.__name__}"):
            return load(self, module)

    return exec_module


def install_in_moto() -> None:
    """The second half, once moto's core is there: its own random source becomes the request's, keys are kept."""
    rsa: Any = importlib.import_module("cryptography.hazmat.primitives.asymmetric.rsa")
    ec: Any = importlib.import_module("cryptography.hazmat.primitives.asymmetric.ec")
    moment.chance = importlib.import_module("moto.moto_api._internal").mock_random
    rsa.generate_private_key = kept_key(rsa.generate_private_key)
    ec.generate_private_key = kept_key(ec.generate_private_key)


def kept_key(make: Callable[..., Any]) -> Callable[..., Any]:
    """`make` with its result recorded, or played back while the journal is replayed."""
    from cryptography.hazmat.primitives import serialization

    def generate(*args: Any, **kwargs: Any) -> Any:
        if moment.replay:
            return serialization.load_der_private_key(moment.replay.pop(0), None, unsafe_skip_rsa_key_validation=True)
        key = make(*args, **kwargs)
        moment.made.append(
            key.private_bytes(
                serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return key

    return generate
