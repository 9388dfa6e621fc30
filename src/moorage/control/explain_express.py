"""What Express Mode made for a service, and what it waits for. Pure: a record and a sentence in, lines out."""

from __future__ import annotations

from collections.abc import Iterator

from moorage.control.explain_words import Explanation, name_of, sections
from moorage.domain.express import ExpressService


def express_lines(record: ExpressService | None, said: str, port: int) -> Iterator[str]:
    """Beside the ECS service. `said`: the last sentence of its controller. `port`: of this machine, for HTTPS."""
    if record is None:
        return
    yield f"answers at https://{record.host}" + ("" if port == 443 else f":{port}")
    if record.problem is not None:
        yield f"not finished: {record.problem}"
    if record.generation != record.applied or record.status != "ACTIVE":
        yield f"now: {said or 'its turn comes'}"
    made = record.made
    if made.load_balancer is not None:
        yield f"load balancer {record.balancer_name}, target groups {', '.join(map(name_of, made.target_groups)) or 'none'}"
    scaling = record.wanted.scaling
    yield (
        f"scaling of {scaling.min_task_count} to {scaling.max_task_count} tasks by {scaling.auto_scaling_metric} is "
        "registered; nothing acts on it yet"
    )


def explain_unmade(record: ExpressService, said: str, port: int) -> Explanation:
    """There is no ECS service yet."""
    return Explanation(
        kind="service",
        arn=record.arn,
        title=f"Express service {record.name} in cluster {name_of(record.cluster_arn)} is {record.status}, and its ECS "
        "service is not made yet.",
        sections=sections(("Express Mode", express_lines(record, said, port))),
        facts={"status": record.status, "problem": record.problem},
        next="moor logs",
    )
