"""Runs the server in this process: `moor up` in the foreground, or (as `python -m moorage.cli.server SETTINGS`) the
process that `moor up --detach` leaves behind. It owns what surrounds the server: pid file, log file, and telling when
the server is ready. What the server does is `moorage.app`'s.
"""

from __future__ import annotations

import gc
import importlib
import logging
import logging.handlers
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import cast

import msgspec

from moorage.cli.client import healthy
from moorage.cli.exports import exports
from moorage.cli.instance import LOG_FILE, Instance, hold
from moorage.domain.errors import MoorageError
from moorage.settings import Settings

LOG_BYTES = 10_000_000
LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def instance_of(settings: Settings) -> Instance:
    """How this process describes itself as the server."""
    return Instance(os.getpid(), settings.host, settings.port, settings.account, settings.region, time.time())


def run(settings: Settings, *, announce: bool) -> None:
    """Serves until the server ends. `announce`: print the exports and `Ready.` when it answers."""
    settings.data_dir.mkdir(parents=True, exist_ok=True)
    instance = instance_of(settings)
    with hold(settings.data_dir, instance):
        _log_to_file(settings, also_warn=announce)
        log = logging.getLogger("moorage")
        log.info("starting: endpoint %s, data directory %s", instance.endpoint, settings.data_dir)
        if announce:
            threading.Thread(target=_announce, args=[instance], daemon=True).start()
        # gRPC warns at every subprocess that it leaves forks alone; nothing of it is used on the other side of a fork.
        os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
        # A start is mostly imports, and none of what they make is garbage: the server collects again when it serves.
        gc.disable()
        # Named at run time on purpose: the layers forbid `cli` to import the server, and commands stay light.
        serve = cast("Callable[[Settings], None]", importlib.import_module("moorage.app").serve)
        try:
            serve(settings)
        except MoorageError as error:
            log.error("%s", error)
            raise
        except Exception:
            log.exception("the server ended with an error")
            raise
        log.info("stopped")


def _announce(instance: Instance) -> None:
    while not healthy(instance):
        time.sleep(0.02)
    sys.stdout.write(exports(instance) + "Ready.\n")
    sys.stdout.flush()


def _log_to_file(settings: Settings, *, also_warn: bool) -> None:
    handlers: list[logging.Handler] = [
        logging.handlers.RotatingFileHandler(settings.data_dir / LOG_FILE, maxBytes=LOG_BYTES, backupCount=3)
    ]
    if also_warn:
        handlers.append(logging.StreamHandler())
        handlers[-1].setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, handlers=handlers, force=True)


def main() -> int:
    settings = msgspec.json.decode(sys.argv[1], type=Settings, dec_hook=lambda wanted, value: wanted(value))
    try:
        run(settings, announce=False)
    except MoorageError:
        return 1  # it stands in the log, where `moor up --detach` reads it
    return 0


if __name__ == "__main__":
    sys.exit(main())
