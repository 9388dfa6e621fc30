"""Records in CloudWatch Logs' shapes."""

from __future__ import annotations

from typing import Any

from moorage.domain.logs import LogEvent, LogGroup, LogStream
from moorage.store.log_events_sql import StreamStats


def group(record: LogGroup, stored_bytes: int) -> dict[str, Any]:
    shape: dict[str, Any] = {
        "logGroupName": record.name,
        "creationTime": record.created_at,
        "metricFilterCount": 0,
        "arn": f"{record.arn}:*",
        "storedBytes": stored_bytes,
        "logGroupClass": record.group_class,
        "logGroupArn": record.arn,
        "deletionProtectionEnabled": record.deletion_protected,
    }
    if record.retention_days is not None:
        shape["retentionInDays"] = record.retention_days
    if record.kms_key_id is not None:
        shape["kmsKeyId"] = record.kms_key_id
    return shape


def stream(record: LogStream, stats: StreamStats) -> dict[str, Any]:
    """`storedBytes` is 0 for streams, as AWS has answered since 2019."""
    shape: dict[str, Any] = {
        "logStreamName": record.name,
        "creationTime": record.created_at,
        "arn": record.arn,
        "storedBytes": 0,
    }
    if stats.ingested_at:
        shape["firstEventTimestamp"] = stats.first
        shape["lastEventTimestamp"] = stats.last
        shape["lastIngestionTime"] = stats.ingested_at
        shape["uploadSequenceToken"] = sequence_token(stats.ingested_at)
    return shape


def sequence_token(ingested_at: int) -> str:
    """AWS ignores it but still answers one: 56 digits."""
    return f"49{ingested_at:054d}"


def output_event(event: LogEvent) -> dict[str, Any]:
    return {"timestamp": event.timestamp, "message": event.message, "ingestionTime": event.ingested_at}


def filtered_event(event: LogEvent, stream_name: str) -> dict[str, Any]:
    return {
        "logStreamName": stream_name,
        "timestamp": event.timestamp,
        "message": event.message,
        "ingestionTime": event.ingested_at,
        "eventId": event.event_id,
    }
