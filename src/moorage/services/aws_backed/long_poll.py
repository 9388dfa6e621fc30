"""SQS ReceiveMessage without its waiting, in both protocols that clients speak.

The waiting time can also come from the queue's own attribute; asking with an explicit 0 overrides that, so a queue with
`ReceiveMessageWaitTimeSeconds` only waits when the request says so.
"""

from __future__ import annotations

import json
from urllib.parse import parse_qsl, urlencode

import msgspec

from moorage.services.aws_backed.frames import Answer, Call

RECEIVE = ("sqs", "ReceiveMessage")
FIRST_PAUSE = 0.05
LONGEST_PAUSE = 0.4
LONGEST_WAIT = 20


def without_wait(call: Call) -> tuple[float, Call]:
    """The seconds to wait and the call with `WaitTimeSeconds` 0. Bad values stay for moto to refuse."""
    if _is_json(call):
        try:
            body = json.loads(call.body or b"{}")
        except ValueError:
            return 0.0, call
        wait = body.get("WaitTimeSeconds", 0) if isinstance(body, dict) else 0
        if not _is_wait(wait):
            return 0.0, call
        body["WaitTimeSeconds"] = 0
        return float(wait), msgspec.structs.replace(call, body=json.dumps(body).encode())
    pairs = parse_qsl(call.body.decode("utf-8", "replace"), keep_blank_values=True)
    given = dict(pairs).get("WaitTimeSeconds", "0")
    if not given.isdigit() or not _is_wait(int(given)):
        return 0.0, call
    pairs = [pair for pair in pairs if pair[0] != "WaitTimeSeconds"] + [("WaitTimeSeconds", "0")]
    return float(given), msgspec.structs.replace(call, body=urlencode(pairs).encode())


def again(call: Call, call_id: str, at: float, seed: str) -> Call:
    return msgspec.structs.replace(call, id=call_id, at=at, seed=seed)


def has_messages(answer: Answer) -> bool:
    return b'"Messages"' in answer.body or b"<Message>" in answer.body


def _is_wait(value: object) -> bool:
    return isinstance(value, int) and 0 <= value <= LONGEST_WAIT


def _is_json(call: Call) -> bool:
    return any(name.lower() == "content-type" and "json" in value for name, value in call.headers)
