"""Whether a repository policy lets another account in. Pure; the owner's own account needs no policy.

Only what decides between accounts is looked at: effect, principal (an account, an ARN of it, or everybody) and action.
Conditions are not evaluated: a statement that has one grants nothing, and a Deny with one denies.
"""

from __future__ import annotations

import fnmatch
import json
from typing import Any


def grants(policy_text: str | None, account: str, action: str) -> bool:
    """`action`: "ecr:BatchGetImage". No policy, or one that cannot be read, grants nothing."""
    try:
        document = json.loads(policy_text or "{}")
    except ValueError:
        return False
    statements = document.get("Statement", []) if isinstance(document, dict) else []
    allowed = False
    for statement in statements if isinstance(statements, list) else [statements]:
        if not isinstance(statement, dict) or not _concerns(statement, account, action):
            continue
        if statement.get("Effect") == "Deny":
            return False
        allowed = allowed or (statement.get("Effect") == "Allow" and not statement.get("Condition"))
    return allowed


def _concerns(statement: dict[str, Any], account: str, action: str) -> bool:
    actions = _texts(statement.get("Action"))
    if not any(fnmatch.fnmatchcase(action.lower(), pattern.lower()) for pattern in actions):
        return False
    principal = statement.get("Principal")
    who = _texts(principal.get("AWS")) if isinstance(principal, dict) else _texts(principal)
    return any(name in ("*", account) or name.startswith(f"arn:aws:iam::{account}:") for name in who)


def _texts(value: Any) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [text for text in values if isinstance(text, str)]
