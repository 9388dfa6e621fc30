"""What the official models leave out and clients still need, as data.

SQS moved from query to JSON, and its model lost the names that query clients use (old SDKs still send them) as well as the
query codes of its errors, which JSON clients get in `x-amzn-query-error`. Source: the service's own query API reference.
"""

from __future__ import annotations

from typing import Any

_SQS = "AWS.SimpleQueueService."
_SQS_ERROR_CODES = {
    "BatchEntryIdsNotDistinct": _SQS + "BatchEntryIdsNotDistinct",
    "BatchRequestTooLong": _SQS + "BatchRequestTooLong",
    "EmptyBatchRequest": _SQS + "EmptyBatchRequest",
    "InvalidBatchEntryId": _SQS + "InvalidBatchEntryId",
    "MessageNotInflight": _SQS + "MessageNotInflight",
    "PurgeQueueInProgress": _SQS + "PurgeQueueInProgress",
    "QueueDeletedRecently": _SQS + "QueueDeletedRecently",
    "QueueDoesNotExist": _SQS + "NonExistentQueue",
    "QueueNameExists": "QueueAlreadyExists",
    "TooManyEntriesInBatchRequest": _SQS + "TooManyEntriesInBatchRequest",
    "UnsupportedOperation": _SQS + "UnsupportedOperation",
}
# Flattened lists: the name of one element.
_SQS_ELEMENTS = {
    "AWSAccountIdList": "AWSAccountId",
    "ActionNameList": "ActionName",
    "AttributeNameList": "AttributeName",
    "BatchResultErrorEntryList": "BatchResultErrorEntry",
    "ChangeMessageVisibilityBatchRequestEntryList": "ChangeMessageVisibilityBatchRequestEntry",
    "ChangeMessageVisibilityBatchResultEntryList": "ChangeMessageVisibilityBatchResultEntry",
    "DeleteMessageBatchRequestEntryList": "DeleteMessageBatchRequestEntry",
    "DeleteMessageBatchResultEntryList": "DeleteMessageBatchResultEntry",
    "ListMessageMoveTasksResultEntryList": "ListMessageMoveTasksResultEntry",
    "MessageAttributeNameList": "MessageAttributeName",
    "MessageList": "Message",
    "MessageSystemAttributeList": "MessageSystemAttributeName",
    "QueueUrlList": "QueueUrl",
    "SendMessageBatchRequestEntryList": "SendMessageBatchRequestEntry",
    "SendMessageBatchResultEntryList": "SendMessageBatchResultEntry",
    "TagKeyList": "TagKey",
}
# Flattened maps: (the name of one entry, of its key, of its value).
_SQS_ENTRIES = {
    "MessageBodyAttributeMap": ("MessageAttribute", "Name", "Value"),
    "MessageBodySystemAttributeMap": ("MessageSystemAttribute", "Name", "Value"),
    "MessageSystemAttributeMap": ("Attribute", "Name", "Value"),
    "QueueAttributeMap": ("Attribute", "Name", "Value"),
    "TagMap": ("Tag", "Key", "Value"),
}


def fix(name: str, description: dict[str, Any]) -> dict[str, Any]:
    """Changes a freshly loaded description in place and returns it."""
    if name == "sqs":
        _fix_sqs(description["shapes"])
    return description


def _fix_sqs(shapes: dict[str, Any]) -> None:
    for shape_name, code in _SQS_ERROR_CODES.items():
        if shape_name in shapes:
            shapes[shape_name].setdefault("error", {})["code"] = code
    for shape_name, element in _SQS_ELEMENTS.items():
        if shape_name in shapes:
            shapes[shape_name]["member"].setdefault("locationName", element)
    for shape_name, (_, key, value) in _SQS_ENTRIES.items():
        if shape_name in shapes:
            shapes[shape_name]["key"].setdefault("locationName", key)
            shapes[shape_name]["value"].setdefault("locationName", value)
    for shape in shapes.values():
        for member in shape.get("members", {}).values():
            if member["shape"] in _SQS_ENTRIES:
                member["queryName"] = _SQS_ENTRIES[member["shape"]][0]
