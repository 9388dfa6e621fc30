"""Errors, sorted by who must act.

    Exception
    ├── AwsError          the caller's fault (or an AWS-shaped refusal): answered with AWS's code and text
    └── MoorageError      ours: says what, why and the next command
        ├── Retryable     the cause may go by itself (Docker stopped, disk full): try again after `delay`
        └── Permanent     trying again changes nothing

Nothing here knows HTTP beyond the status that AWS uses, and nothing here knows a protocol.
"""

from __future__ import annotations

from typing import Any


class AwsError(Exception):
    """A refusal as AWS words it. `code` is the error code of the service model ("ClusterNotFoundException"),
    `message` the sentence, `status` the HTTP status, `fields` further members of the modelled error shape
    (e.g. `resourceIds` of ConflictException). `sender` tells query protocols whose fault it was."""

    def __init__(self, code: str, message: str, *, status: int = 400, sender: bool = True, **fields: Any) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.status = status
        self.sender = sender
        self.fields = fields


class MoorageError(Exception):
    """Our own failure: `what` happened, `why`, and the `next` command that mends or explains it."""

    def __init__(self, what: str, why: str = "", next: str = "") -> None:
        super().__init__(". ".join(part for part in (what, why, next) if part))
        self.what = what
        self.why = why
        self.next = next


class Retryable(MoorageError):
    """May succeed later; a control loop tries again after `delay` seconds (with its own back-off if None)."""

    def __init__(self, what: str, why: str = "", next: str = "", delay: float | None = None) -> None:
        super().__init__(what, why, next)
        self.delay = delay


class Permanent(MoorageError):
    """Trying again changes nothing until somebody changes something."""
