"""Account and region: the walls between tenants. Every record lives inside exactly one scope."""

from __future__ import annotations

import msgspec


class Scope(msgspec.Struct, frozen=True, order=True):
    """`account`: 12 digits. `region`: an AWS region name ("us-east-1")."""

    account: str
    region: str

    def arn(self, service: str, resource: str) -> str:
        """`arn:aws:<service>:<region>:<account>:<resource>`"""
        return f"arn:aws:{service}:{self.region}:{self.account}:{resource}"


def scope_of(arn: str) -> Scope:
    """The scope named by a regional ARN (`arn:aws:<service>:<region>:<account>:…`)."""
    parts = arn.split(":", 5)
    return Scope(account=parts[4], region=parts[3])
