"""Writing service events: newest kept, repeated ones suppressed (semantics ecs-services §1, §4)."""

from __future__ import annotations

import uuid

from msgspec.structs import replace

from moorage.domain.service import ServiceEvent
from moorage.store.api import Transaction
from moorage.store.tables.ecs import SERVICE_EVENTS, SERVICES

# DescribeServices shows the newest hundred.
KEPT = 100
# An identical consecutive message is suppressed for six hours.
SUPPRESSED_FOR = 6 * 3600.0
# Messages about different things that happen to be worded alike are never suppressed.
_ALWAYS = (") registered ", ") deregistered ", " has started ", " has stopped ")


def add_event(tx: Transaction, service_arn: str, message: str, now: float) -> None:
    """Appends one event as part of the caller's transaction; the service may be deleted already (then nothing)."""
    service = tx.get(SERVICES, service_arn)
    if service is None:
        return
    repeated = service.last_event == message and now - (service.last_event_at or 0.0) < SUPPRESSED_FOR
    if repeated and not any(mark in message for mark in _ALWAYS):
        return
    sequence = service.event_count
    event = ServiceEvent(
        id=f"{service_arn}#{sequence}",
        # Names are hashed rather than drawn, so that writing an event needs no source of randomness.
        uuid=str(uuid.uuid5(uuid.NAMESPACE_URL, f"{service_arn}#{sequence}#{now}")),
        service_arn=service_arn,
        created_at=now,
        sequence=sequence,
        message=message,
    )
    tx.put(SERVICE_EVENTS, event)
    tx.delete(SERVICE_EVENTS, f"{service_arn}#{sequence - KEPT}")
    tx.put(SERVICES, replace(service, last_event=message, last_event_at=now, event_count=sequence + 1))
