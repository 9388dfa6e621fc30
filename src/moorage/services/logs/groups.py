"""Log groups and streams: make, describe, delete, retention, tags."""

from __future__ import annotations

from typing import Any

import msgspec

from moorage.domain.errors import AwsError
from moorage.domain.logs import GROUP_EXISTS, STREAM_EXISTS, LogGroup, LogStream, group_arn, stream_arn
from moorage.services.base import RequestContext, operation
from moorage.services.logs import present, validate
from moorage.services.logs.common import Answer, LogsOperations, Params, find_group, invalid, page
from moorage.store.api import Transaction
from moorage.store.tables.logs import LOG_GROUPS, LOG_STREAMS, create_group, create_stream


class GroupOperations(LogsOperations):
    # -- groups ------------------------------------------------------------------------------------------------------

    @operation("CreateLogGroup")
    async def create_log_group(self, context: RequestContext, params: Params) -> Answer:
        name = validate.group_name(params["logGroupName"])
        tags = validate.tags(params.get("tags") or {}, {})
        identity, now = self._ids.hex(32), self._now()

        def create(tx: Transaction) -> None:
            if tx.get(LOG_GROUPS, group_arn(context.scope, name)) is not None:
                raise AwsError("ResourceAlreadyExistsException", GROUP_EXISTS)
            group = create_group(tx, context.scope, name, identity, now, tags)
            tx.put(
                LOG_GROUPS,
                msgspec.structs.replace(
                    group,
                    kms_key_id=params.get("kmsKeyId"),
                    group_class=params.get("logGroupClass", "STANDARD"),
                    deletion_protected=bool(params.get("deletionProtectionEnabled", False)),
                ),
            )

        await self._store.update(create)
        return {}

    @operation("DeleteLogGroup")
    async def delete_log_group(self, context: RequestContext, params: Params) -> Answer:
        def delete(tx: Transaction) -> list[LogStream]:
            group = find_group(tx, context.scope, params["logGroupName"])
            if group.deletion_protected:
                raise AwsError(
                    "ValidationException", "The log group cannot be deleted because deletion protection is enabled."
                )
            streams = list(tx.find(LOG_STREAMS, "group", group.arn))
            for stream in streams:
                tx.delete(LOG_STREAMS, stream.arn)
            tx.delete(LOG_GROUPS, group.arn)
            return streams

        for stream in await self._store.update(delete):
            await self._events.delete_stream(stream.id)
        return {}

    @operation("DescribeLogGroups")
    async def describe_log_groups(self, context: RequestContext, params: Params) -> Answer:
        prefix, pattern = params.get("logGroupNamePrefix"), params.get("logGroupNamePattern")
        if prefix is not None and pattern is not None:
            raise invalid("LogGroup name prefix and LogGroup name pattern are mutually exclusive parameters.")
        identifiers = params.get("logGroupIdentifiers")
        if identifiers:
            groups = [find_group(self._store, context.scope, identifier) for identifier in identifiers]
        else:
            groups = [group for group in self._groups(context) if _is_named(group.name, prefix, pattern)]
        wanted_class = params.get("logGroupClass")
        groups = [group for group in groups if wanted_class in (None, group.group_class)]
        shown, token = page(groups, lambda group: group.arn, params)
        return {"logGroups": [present.group(group, self._stored_bytes(group)) for group in shown], **token}

    @operation("ListLogGroups")
    async def list_log_groups(self, context: RequestContext, params: Params) -> Answer:
        pattern = params.get("logGroupNamePattern")
        wanted_class = params.get("logGroupClass")
        groups = [
            group
            for group in self._groups(context)
            if _is_named(group.name, None, pattern.lstrip("^") if pattern else None)
            and wanted_class in (None, group.group_class)
        ]
        shown, token = page(groups, lambda group: group.arn, params)
        entries = [
            {"logGroupName": group.name, "logGroupArn": group.arn, "logGroupClass": group.group_class}
            for group in shown
        ]
        return {"logGroups": entries, **token}

    @operation("PutRetentionPolicy")
    async def put_retention_policy(self, context: RequestContext, params: Params) -> Answer:
        return await self._change(context, params, retention_days=validate.retention(params["retentionInDays"]))

    @operation("DeleteRetentionPolicy")
    async def delete_retention_policy(self, context: RequestContext, params: Params) -> Answer:
        return await self._change(context, params, retention_days=None)

    @operation("PutLogGroupDeletionProtection")
    async def put_log_group_deletion_protection(self, context: RequestContext, params: Params) -> Answer:
        return await self._change(context, params, deletion_protected=params["deletionProtectionEnabled"])

    @operation("AssociateKmsKey")
    async def associate_kms_key(self, context: RequestContext, params: Params) -> Answer:
        """Kept and shown; events are not encrypted by it."""
        return await self._change(context, params, kms_key_id=params["kmsKeyId"])

    @operation("DisassociateKmsKey")
    async def disassociate_kms_key(self, context: RequestContext, params: Params) -> Answer:
        return await self._change(context, params, kms_key_id=None)

    # -- tags --------------------------------------------------------------------------------------------------------

    @operation("TagResource")
    async def tag_resource(self, context: RequestContext, params: Params) -> Answer:
        return await self._tag(context, params["resourceArn"], params["tags"])

    @operation("UntagResource")
    async def untag_resource(self, context: RequestContext, params: Params) -> Answer:
        return await self._untag(context, params["resourceArn"], params["tagKeys"])

    @operation("ListTagsForResource")
    async def list_tags_for_resource(self, context: RequestContext, params: Params) -> Answer:
        return {"tags": dict(find_group(self._store, context.scope, params["resourceArn"]).tags)}

    @operation("TagLogGroup")
    async def tag_log_group(self, context: RequestContext, params: Params) -> Answer:
        return await self._tag(context, params["logGroupName"], params["tags"])

    @operation("UntagLogGroup")
    async def untag_log_group(self, context: RequestContext, params: Params) -> Answer:
        return await self._untag(context, params["logGroupName"], params["tags"])

    @operation("ListTagsLogGroup")
    async def list_tags_log_group(self, context: RequestContext, params: Params) -> Answer:
        return {"tags": dict(find_group(self._store, context.scope, params["logGroupName"]).tags)}

    # -- streams -----------------------------------------------------------------------------------------------------

    @operation("CreateLogStream")
    async def create_log_stream(self, context: RequestContext, params: Params) -> Answer:
        name = validate.stream_name(params["logStreamName"])
        identity, now = self._ids.hex(32), self._now()

        def create(tx: Transaction) -> None:
            group = find_group(tx, context.scope, params["logGroupName"])
            if tx.get(LOG_STREAMS, stream_arn(group.arn, name)) is not None:
                raise AwsError("ResourceAlreadyExistsException", STREAM_EXISTS)
            create_stream(tx, group, name, identity, now)

        await self._store.update(create)
        return {}

    @operation("DeleteLogStream")
    async def delete_log_stream(self, context: RequestContext, params: Params) -> Answer:
        def delete(tx: Transaction) -> LogStream:
            group = find_group(tx, context.scope, params["logGroupName"])
            stream = self._stream(tx, group, params["logStreamName"])
            tx.delete(LOG_STREAMS, stream.arn)
            return stream

        stream = await self._store.update(delete)
        await self._events.delete_stream(stream.id)
        return {}

    @operation("DescribeLogStreams")
    async def describe_log_streams(self, context: RequestContext, params: Params) -> Answer:
        group = self._group(self._store, context, params)
        prefix = params.get("logStreamNamePrefix")
        by_time = params.get("orderBy") == "LastEventTime"
        if by_time and prefix is not None:
            raise invalid("Cannot order by LastEventTime with a logStreamNamePrefix.")
        streams = [
            stream
            for stream in self._store.find(LOG_STREAMS, "group", group.arn)
            if prefix is None or stream.name.startswith(prefix)
        ]
        streams.sort(
            key=lambda stream: (self._events.stats(stream.id).last if by_time else 0, stream.name),
            reverse=bool(params.get("descending", False)),
        )
        shown, token = page(streams, lambda stream: stream.name, params)
        return {"logStreams": [present.stream(s, self._events.stats(s.id)) for s in shown], **token}

    # -- helpers -----------------------------------------------------------------------------------------------------

    def _groups(self, context: RequestContext) -> list[LogGroup]:
        found = self._store.find(LOG_GROUPS, "scope", (context.account, context.region))
        return sorted(found, key=lambda group: group.name)

    def _stored_bytes(self, group: LogGroup) -> int:
        streams = self._store.find(LOG_STREAMS, "group", group.arn)
        return sum(self._events.stats(stream.id).bytes for stream in streams)

    async def _change(self, context: RequestContext, params: Params, **changes: Any) -> Answer:
        def change(tx: Transaction) -> None:
            identifier = (
                params.get("logGroupName") or params.get("logGroupIdentifier") or params.get("resourceIdentifier")
            )
            group = find_group(tx, context.scope, identifier or "")
            tx.put(LOG_GROUPS, msgspec.structs.replace(group, **changes))

        await self._store.update(change)
        return {}

    async def _tag(self, context: RequestContext, identifier: str, tags: dict[str, str]) -> Answer:
        def tag(tx: Transaction) -> None:
            group = find_group(tx, context.scope, identifier)
            tx.put(LOG_GROUPS, msgspec.structs.replace(group, tags=validate.tags(tags, group.tags)))

        await self._store.update(tag)
        return {}

    async def _untag(self, context: RequestContext, identifier: str, keys: list[str]) -> Answer:
        def untag(tx: Transaction) -> None:
            group = find_group(tx, context.scope, identifier)
            tx.put(LOG_GROUPS, msgspec.structs.replace(group, tags=validate.without(group.tags, keys)))

        await self._store.update(untag)
        return {}


def _is_named(name: str, prefix: str | None, pattern: str | None) -> bool:
    """`pattern` is a part of the name, upper and lower case alike (DescribeLogGroups)."""
    if prefix is not None:
        return name.startswith(prefix)
    return pattern is None or pattern.lower() in name.lower()
