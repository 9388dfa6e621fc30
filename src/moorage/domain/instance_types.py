"""What a container instance registers of an EC2 instance type: CPU units and MiB (semantics ecs-tasks §15).

A rule instead of EC2's table of a thousand types: sizes double, families differ in the memory per vCPU. What the
operating system and the ECS agent keep for themselves is taken off the memory, as measured on a t3.medium
(4,096 MiB → 3,884).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

DEFAULT = "t3.medium"

# GiB per vCPU by the first letters of the family; the longest that fits counts.
_GIB_PER_VCPU: Mapping[str, float] = {"a1": 2, "c": 2, "m": 4, "r": 8, "x": 16, "z": 8, "i": 8, "d": 8, "inf": 2}
_OTHER_FAMILIES = 4.0
# The burstable family has sizes of its own: (vCPU, GiB).
_BURSTABLE: Mapping[str, tuple[int, float]] = {
    "nano": (2, 0.5),
    "micro": (2, 1),
    "small": (2, 2),
    "medium": (2, 4),
    "large": (2, 8),
    "xlarge": (4, 16),
    "2xlarge": (8, 32),
}
_SIZES: Mapping[str, int] = {"medium": 1, "large": 2, "xlarge": 4, "metal": 96}
_USABLE = 0.9484
_BURSTABLE_FAMILY = re.compile(r"t\d")
_MULTIPLE = re.compile(r"(\d+)xlarge")


def resources_of(instance_type: str) -> tuple[int, int]:
    """(CPU units, MiB) of the machine. A type that cannot be read is taken for a t3.medium.

    t3.medium → (2048, 3884) · c5.large → (2048, 3884) · m5.xlarge → (4096, 15538) · r6g.4xlarge → (16384, 124308)"""
    family, _, size = instance_type.partition(".")
    vcpus, gib = _shape(family, size)
    if not vcpus:
        return resources_of(DEFAULT)
    return vcpus * 1024, int(gib * 1024 * _USABLE)


def _shape(family: str, size: str) -> tuple[int, float]:
    if _BURSTABLE_FAMILY.match(family):
        return _BURSTABLE.get(size, (0, 0.0))
    many = _MULTIPLE.fullmatch(size)
    vcpus = 4 * int(many[1]) if many is not None else _SIZES.get(size.split("-")[0], 0)
    known = (name for name in sorted(_GIB_PER_VCPU, key=len, reverse=True) if family.startswith(name))
    return vcpus, vcpus * _GIB_PER_VCPU.get(next(known, ""), _OTHER_FAMILIES)
