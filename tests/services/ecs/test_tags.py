"""Tags of every kind of resource (semantics ecs-tasks §11)."""

from __future__ import annotations

from typing import Any

import pytest

from .rig import ACCOUNT, BASE, Rig


def tags(**values: str) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


async def test_the_three_operations_on_every_kind(main: Rig) -> None:
    arns = [
        BASE + "cluster/main",
        BASE + "task-definition/web:1",
        (await main.service())["serviceArn"],
        (await main.task())["taskArn"],
    ]
    for arn in arns:
        assert await main.call("TagResource", resourceArn=arn, tags=tags(a="1", b="2")) == {}
        await main.call("TagResource", resourceArn=arn, tags=tags(b="3", c=""))
        assert (await main.call("ListTagsForResource", resourceArn=arn))["tags"] == tags(a="1", b="3", c="")
        await main.call("UntagResource", resourceArn=arn, tagKeys=["a", "none"])
        assert (await main.call("ListTagsForResource", resourceArn=arn))["tags"] == tags(b="3", c="")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (tags(**{"k" * 129: "x"}), f"Tag key '{'k' * 129}' is not valid."),
        (tags(**{"a;b": "x"}), "Tag key 'a;b' is not valid."),
        (tags(**{"a\nb": "x"}), "Tag key 'a\nb' is not valid."),
        (tags(a="v" * 257), f"Tag value '{'v' * 257}' is not valid."),
        (tags(a="<"), "Tag value '<' is not valid."),
        (tags(**{"aws:x": "y"}), "aws: prefixed tag key names are not allowed for external use."),
        (tags(**{"AWS:x": "y"}), "aws: prefixed tag key names are not allowed for external use."),
        ([*tags(a="1"), *tags(a="2")], "Duplicate tag key 'a'."),
        (tags(**{f"k{n}": "" for n in range(51)}), "The maximum number of tags is 50."),
    ],
)
async def test_refusals(main: Rig, given: Any, message: str) -> None:
    for operation, params in (
        ("TagResource", {"resourceArn": BASE + "cluster/main"}),
        ("CreateCluster", {"clusterName": "new"}),
        ("RegisterTaskDefinition", {"family": "x", "containerDefinitions": []}),
    ):
        refusal = await main.refused(operation, tags=given, **params)
        assert (refusal.code, refusal.message) == ("InvalidParameterException", message)


async def test_all_that_aws_allows(main: Rig) -> None:
    allowed = tags(**{"Ключ 1_.:/=+-@": "väl ue", "k" * 128: "v" * 256})
    await main.call("TagResource", resourceArn=BASE + "cluster/main", tags=allowed)
    assert (await main.call("ListTagsForResource", resourceArn=BASE + "cluster/main"))["tags"] == allowed


async def test_fifty_in_all(main: Rig) -> None:
    arn = BASE + "cluster/main"
    await main.call("TagResource", resourceArn=arn, tags=tags(**{f"k{n}": "" for n in range(50)}))
    await main.call("TagResource", resourceArn=arn, tags=tags(k1="again"))
    assert (await main.refused("TagResource", resourceArn=arn, tags=tags(one="more"))).message == (
        "The maximum number of tags is 50."
    )


@pytest.mark.parametrize(
    ("arn", "code"),
    [
        (BASE + "cluster/nowhere", "ClusterNotFoundException"),
        (f"arn:aws:ecs:eu-west-1:{ACCOUNT}:cluster/main", "ClusterNotFoundException"),
        (BASE + "service/main/none", "InvalidParameterException"),
        (BASE + "task/main/none", "InvalidParameterException"),
        (BASE + "task-definition/none:1", "InvalidParameterException"),
        (BASE + "thing/main", "InvalidParameterException"),
        ("arn:aws:s3:::bucket", "InvalidParameterException"),
        ("main", "InvalidParameterException"),
        ("", "InvalidParameterException"),
    ],
)
async def test_unknown_resources(main: Rig, arn: str, code: str) -> None:
    for operation, params in (
        ("TagResource", {"tags": tags(a="1")}),
        ("UntagResource", {"tagKeys": ["a"]}),
        ("ListTagsForResource", {}),
    ):
        assert (await main.refused(operation, resourceArn=arn, **params)).code == code


async def test_what_is_over_takes_no_tags(main: Rig) -> None:
    task, service = await main.task(), await main.service()
    await main.write_task(task["taskArn"], last_status="STOPPED", desired_status="STOPPED")
    await main.write_service(service["serviceArn"], status="INACTIVE")
    tags = [{"key": "a", "value": "b"}]
    refusal = await main.refused("TagResource", resourceArn=task["taskArn"], tags=tags)
    assert refusal.message == "The specified task is stopped. Specify a running task and try again."
    refusal = await main.refused("UntagResource", resourceArn=service["serviceArn"], tagKeys=["a"])
    assert refusal.message == "The specified service is inactive. Specify an active service and try again."
    assert (await main.call("ListTagsForResource", resourceArn=task["taskArn"]))["tags"] == []


async def test_tags_of_aws_stay(main: Rig) -> None:
    task = await main.task(enableECSManagedTags=True)
    refusal = await main.refused("UntagResource", resourceArn=task["taskArn"], tagKeys=["aws:ecs:clusterName"])
    assert refusal.message == "aws: prefixed tag key names are not allowed for external use."
