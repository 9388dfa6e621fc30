"""Writes docs/services/ecs-operations.md: every operation of the official ECS model, and how Moorage answers it.

    python scripts/ecs_operations.py

The page is made from the code; a test fails when it is not what the code says.
"""

from __future__ import annotations

from pathlib import Path

from moorage.services.ecs import EcsProvider
from moorage.services.ecs.refused import REFUSED
from moorage.wire import model

PAGE = Path(__file__).parents[1] / "docs/services/ecs-operations.md"

_HEAD = """\
# Every operation of the ECS API

Made from the code by `scripts/ecs_operations.py`. {implemented} of {all} operations are implemented; the others answer an
error that names them and says what to use instead. What an implemented operation leaves out is on the pages of its topic:
[ecs](ecs.md), [deployments](ecs-deployments.md), [container instances](ecs-ec2.md), [Express Mode](ecs-express.md).

| operation | answer |
|---|---|
"""

SPECIAL = {
    "DiscoverPollEndpoint": "implemented; the address is this installation's own, no agent is needed",
    "ExecuteCommand": "refused as by AWS while no agent runs: there is no session protocol yet",
    "SubmitAttachmentStateChanges": "acknowledged; what the container engine says counts",
    "SubmitContainerStateChange": "acknowledged; what the container engine says counts",
    "SubmitTaskStateChange": "acknowledged; what the container engine says counts",
}


def implemented() -> set[str]:
    """Operations with a handler that does more than refuse."""
    marks = (getattr(getattr(EcsProvider, name), "__aws_operation__", None) for name in dir(EcsProvider))
    return {name for name in marks if name is not None}


def page() -> str:
    names = sorted(model.service("ecs").model.operation_names)
    ours = implemented()
    rows = [f"| {name} | {_answer(name, ours)} |" for name in names]
    return _HEAD.format(implemented=len(ours), all=len(names)) + "\n".join(rows) + "\n"


def _answer(name: str, ours: set[str]) -> str:
    if name in ours:
        return SPECIAL.get(name, "implemented")
    return f"refused: {REFUSED.get(name, 'nobody has built it')}"


if __name__ == "__main__":
    PAGE.write_text(page())
