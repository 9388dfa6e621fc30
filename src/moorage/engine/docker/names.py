"""What our things are called in Docker, and back: the name is the one thing of a container that can change later.

A sandbox of the warm pool cannot know its task (labels are fixed at creation), so claiming one is renaming it, and the
name of a sandbox spells out the task's ARN. Pure functions; nothing here talks to Docker.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from moorage.engine.driver import LABEL_POOL, LABEL_SANDBOX, LABEL_TASK

_TASK_ARN = re.compile(r"arn:aws:ecs:([a-z0-9-]+):(\d{12}):task/([A-Za-z0-9_-]+)/([0-9a-f]{32})")
_SANDBOX = re.compile(r"moorage-[0-9a-z]+\.([a-z0-9-]+)\.(\d{12})\.([A-Za-z0-9_-]+)\.([0-9a-f]{32})\.pause")


def sandbox_name(installation: str, task_arn: str) -> str:
    """ "moorage-3f2a….us-east-1.000000000000.default.0123….pause"; a hash for anything that is not an ECS task ARN."""
    match = _TASK_ARN.fullmatch(task_arn)
    if match is None:
        return f"moorage-{installation}.{hashlib.sha256(task_arn.encode()).hexdigest()[:32]}.pause"
    return f"moorage-{installation}.{'.'.join(match.groups())}.pause"


def named_task(container_name: str) -> str | None:
    """The task ARN that a sandbox's name spells, None for other names."""
    match = _SANDBOX.fullmatch(container_name.lstrip("/"))
    if match is None:
        return None
    region, account, cluster, task_id = match.groups()
    return f"arn:aws:ecs:{region}:{account}:task/{cluster}/{task_id}"


def pool_name(installation: str, network: str, ipv4: str) -> str:
    return f"moorage-{installation}.pool.{network}.{ipv4}"


def observed_labels(container_name: str, labels: Mapping[str, str]) -> dict[str, str]:
    """The labels as the control plane should see them: a claimed sandbox of the pool belongs to the task its name
    says and is no longer of the pool."""
    found = dict(labels)
    if LABEL_SANDBOX in found and LABEL_POOL in found:
        task = named_task(container_name)
        if task is not None:
            del found[LABEL_POOL]
            found[LABEL_TASK] = task
    return found


def bridge_prefix(installation: str) -> str:
    """What the Linux interfaces of an installation's networks start with."""
    return f"mrg{installation[:5]}"


def bridge_name(installation: str, network: str) -> str:
    """A Linux interface name (at most 15 characters) for a Docker network."""
    return bridge_prefix(installation) + hashlib.sha256(network.encode()).hexdigest()[:7]


def mac_address(ipv4: str) -> str:
    """02:42:<address>: a reused address keeps its MAC, so that neighbours' ARP caches never go stale."""
    return "02:42:" + ":".join(f"{int(part):02x}" for part in ipv4.split("."))
