"""Talks to the server's own doors (`/_moorage/…`) in plain HTTP with JSON; nothing of AWS is needed here."""

from __future__ import annotations

import http.client
import json
from typing import Any

from moorage.cli.instance import Instance
from moorage.domain.errors import Permanent, Retryable


def call(
    instance: Instance, method: str, path: str, body: object = None, *, timeout: float = 10
) -> tuple[int, dict[str, Any]]:
    """The status and the JSON object of one call. `Retryable` when nobody answers."""
    connection = http.client.HTTPConnection(instance.address, instance.port, timeout=timeout)
    try:
        content = None if body is None else json.dumps(body).encode()
        connection.request(method, path, content, {"Content-Type": "application/json"} if content else {})
        response = connection.getresponse()
        answer = _parsed(response.status, response.read())
    except (OSError, http.client.HTTPException) as error:
        raise Retryable(
            f"Moorage (pid {instance.pid}) does not answer at {instance.endpoint}",
            str(error) or type(error).__name__,
            "Its log: moor logs",
        ) from error
    finally:
        connection.close()
    return response.status, answer if isinstance(answer, dict) else {}


def _parsed(status: int, body: bytes) -> Any:
    """A door that fails answers no JSON: then it is told as a refusal."""
    try:
        return json.loads(body or b"{}")
    except ValueError:
        if status < 500:
            raise http.client.HTTPException(f"it answered HTTP {status} without JSON") from None
        return {"message": f"Moorage failed to answer (HTTP {status}); this is a bug in Moorage"}


def ask(instance: Instance, method: str, path: str, body: object = None, *, timeout: float = 10) -> dict[str, Any]:
    """The answer of a call that has to succeed."""
    status, answer = call(instance, method, path, body, timeout=timeout)
    if status >= 400:
        why = str(answer.get("message") or answer.get("error") or f"HTTP {status}")
        raise Permanent(f"Moorage refused {method} {path}", why, "Its log: moor logs")
    return answer


def healthy(instance: Instance) -> bool:
    try:
        status, _ = call(instance, "GET", "/_moorage/health", timeout=2)
    except Retryable:
        return False
    return status == 200
