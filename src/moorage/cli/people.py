"""Asks the doors for people; what they refuse becomes one sentence with what exists instead."""

from __future__ import annotations

import argparse
import urllib.parse
from typing import Any

from moorage.cli.client import call
from moorage.cli.instance import Instance
from moorage.domain.errors import Permanent


def add_scope(parser: argparse.ArgumentParser) -> None:
    """The options that name an account and a region."""
    parser.add_argument("--account", metavar="ID", help="only this account (12 digits)")
    parser.add_argument("--region", metavar="NAME", help="only this region")


def add_cluster(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--cluster", metavar="NAME", help="only of this cluster")


def sentence(text: str) -> str:
    """With a capital letter, since it stands after a full stop."""
    return text[:1].upper() + text[1:]


def ask_people(instance: Instance, path: str, *, timeout: float = 10, **query: str | None) -> dict[str, Any]:
    """The answer of `/_moorage/<path>`; parameters that are None are left out."""
    words = urllib.parse.urlencode({name: value for name, value in query.items() if value is not None})
    status, answer = call(instance, "GET", f"/_moorage/{path}" + (f"?{words}" if words else ""), timeout=timeout)
    if status < 400:
        return answer
    what = str(answer.get("message") or f"HTTP {status}")
    if candidates := answer.get("candidates"):
        listed = "\n  ".join(str(one) for one in candidates)
        raise Permanent(f"{what}; say which:\n  {listed}")
    raise Permanent(what, sentence(str(answer.get("why") or "")), str(answer.get("next") or "Its log: moor logs"))
