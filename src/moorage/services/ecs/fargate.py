"""The CPU and memory pairs that Fargate offers (semantics ecs-tasks §14)."""

from __future__ import annotations

from collections.abc import Mapping

_GIB = 1024

MEMORY: Mapping[int, tuple[int, ...]] = {
    256: (512, 1024, 2048),
    512: tuple(range(1 * _GIB, 4 * _GIB + 1, _GIB)),
    1024: tuple(range(2 * _GIB, 8 * _GIB + 1, _GIB)),
    2048: tuple(range(4 * _GIB, 16 * _GIB + 1, _GIB)),
    4096: tuple(range(8 * _GIB, 30 * _GIB + 1, _GIB)),
    8192: tuple(range(16 * _GIB, 60 * _GIB + 1, 4 * _GIB)),
    16384: tuple(range(32 * _GIB, 120 * _GIB + 1, 8 * _GIB)),
}


def is_offered(cpu: int, memory: int) -> bool:
    """`cpu` in CPU units, `memory` in MiB."""
    return memory in MEMORY.get(cpu, ())
