"""Express services: one record becomes everything that a web service needs, and goes again, whenever the control plane is
killed on the way (semantics ecs-services §14)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from moorage.domain.errors import AwsError
from moorage.store.tables.ecs import EXPRESS_SERVICES, SERVICES, TASK_DEFINITIONS
from moorage.store.tables.elbv2 import LISTENERS, LOAD_BALANCERS, RULES, TARGET_GROUPS

from .express_world import ExpressWorld


@pytest.fixture
async def world() -> AsyncIterator[ExpressWorld]:
    made = await ExpressWorld.make()
    made.start()
    yield made
    await made.kill()


def front(world: ExpressWorld) -> dict[str, int]:
    tables = (LOAD_BALANCERS, LISTENERS, RULES, TARGET_GROUPS)
    return {table.name: len(world.store.all(table)) for table in tables}


EVERYTHING = {"load_balancers": 1, "listeners": 2, "rules": 1, "target_groups": 2}
NOTHING = dict.fromkeys(EVERYTHING, 0)


async def test_one_call_makes_everything(world: ExpressWorld) -> None:
    made = await world.create()
    assert made["status"] == {"statusCode": "ACTIVE"}
    [configuration] = made["activeConfigurations"]
    assert configuration["serviceRevisionArn"].startswith(
        "arn:aws:ecs:us-east-1:000000000000:service-revision/default/web/"
    )
    assert configuration["healthCheckPath"] == "/ping"
    assert configuration["scalingTarget"]["autoScalingTargetValue"] == 60
    [path] = configuration["ingressPaths"]
    assert path["accessType"] == "PUBLIC"
    assert path["endpoint"] == f"https://{world.record().host}"
    assert front(world) == EVERYTHING
    [balancer] = world.store.all(LOAD_BALANCERS)
    assert balancer.name.startswith("ecs-express-gateway-alb-")
    assert balancer.tags == {"AmazonECSManaged": "true"}
    service = world.store.get(SERVICES, made["serviceArn"])
    assert service is not None
    assert service.deployment_configuration.strategy == "CANARY"
    assert service.created_by == "arn:aws:sts::000000000000:assumed-role/ecsInfrastructure/ECSGateway"
    described = (await world.call("DescribeServices", services=["web"]))["services"][0]
    assert described["resourceManagementType"] == "ECS"
    assert world.neighbours.targets == {"service/default/web": (1, 20)}


async def test_what_is_there_changes_nothing(world: ExpressWorld) -> None:
    await world.create()
    before = len(world.calls.made)
    await world.create()
    assert len(world.calls.made) == before
    with pytest.raises(AwsError, match="not idempotent"):
        await world.create(cpu="512", memory="1024")


async def test_services_share_a_load_balancer_until_it_is_full(world: ExpressWorld) -> None:
    for number in range(26):
        await world.create(f"web-{number}")
    names = [world.record(f"web-{number}").balancer_name for number in range(26)]
    assert len(set(names[:25])) == 1
    assert names[25] != names[0]
    assert len(world.store.all(LOAD_BALANCERS)) == 2
    assert sorted(rule.priority for rule in world.store.all(RULES)) == sorted([*range(1, 26), 1])


async def test_an_update_is_a_new_revision_and_keeps_what_is_not_named(world: ExpressWorld) -> None:
    made = await world.create(primaryContainer={"image": "web:1", "containerPort": 8000})
    answer = await world.call(
        "UpdateExpressGatewayService",
        serviceArn=made["serviceArn"],
        primaryContainer={"image": "web:2"},
        healthCheckPath="/health",
        scalingTarget={"minTaskCount": 3},
    )
    target = answer["service"]["targetConfiguration"]
    assert target["primaryContainer"]["image"] == "web:2"
    assert target["primaryContainer"]["containerPort"] == 8000
    assert target["healthCheckPath"] == "/health"
    assert target["serviceRevisionArn"] != made["activeConfigurations"][0]["serviceRevisionArn"]
    described = await world.call("DescribeExpressGatewayService", serviceArn=made["serviceArn"])
    images = [one["primaryContainer"]["image"] for one in described["service"]["activeConfigurations"]]
    assert images == ["web:2", "web:1"], "both live while the deployment runs"
    assert {group.health_check.path for group in world.store.all(TARGET_GROUPS)} == {"/health"}
    service = world.store.get(SERVICES, made["serviceArn"])
    assert service is not None
    assert service.desired_count == 3
    before = len(world.calls.made)
    await world.call("UpdateExpressGatewayService", serviceArn=made["serviceArn"], healthCheckPath="/health")
    assert len(world.calls.made) == before, "nothing new was asked for"


async def test_delete_removes_what_was_made(world: ExpressWorld) -> None:
    made = await world.create()
    deleted = await world.call("DeleteExpressGatewayService", serviceArn=made["serviceArn"])
    assert deleted["service"]["status"]["statusCode"] == "DRAINING"
    assert front(world) == EVERYTHING, "requests that are under way are finished first"
    with pytest.raises(AwsError, match="still Draining"):
        await world.create()
    await world.drained()
    await world.quiet()
    assert world.record().status == "INACTIVE"
    assert front(world) == NOTHING
    assert world.neighbours.left() == []
    assert [d.status for d in world.store.all(TASK_DEFINITIONS)] == ["INACTIVE"]
    described = await world.call("DescribeExpressGatewayService", serviceArn=made["serviceArn"])
    assert described["service"]["status"]["statusCode"] == "INACTIVE"
    with pytest.raises(AwsError, match="ServiceNotActiveException"):
        await world.call("UpdateExpressGatewayService", serviceArn=made["serviceArn"], cpu="512")
    assert (await world.create())["status"]["statusCode"] == "ACTIVE", "the name is free again"


async def test_the_others_on_the_load_balancer_stay(world: ExpressWorld) -> None:
    first, second = await world.create("first"), await world.create("second")
    [https] = [one for one in world.store.all(LISTENERS) if one.port == 443]
    assert len(https.certificates) == 2
    await world.call("DeleteExpressGatewayService", serviceArn=first["serviceArn"])
    await world.drained("first")
    await world.quiet()
    assert front(world) == EVERYTHING
    [https] = [one for one in world.store.all(LISTENERS) if one.port == 443]
    assert https.certificates == (world.record("second").made.certificate,), "it serves the one that is left"
    await world.call("DeleteExpressGatewayService", serviceArn=second["serviceArn"])
    await world.drained("second")
    await world.quiet()
    assert front(world) == NOTHING
    assert world.neighbours.left() == []


async def test_deleting_the_ecs_service_takes_the_rest_along(world: ExpressWorld) -> None:
    await world.create()
    await world.call("DeleteService", service="web", force=True)
    await world.drained()
    await world.quiet()
    assert world.record().status == "INACTIVE"
    assert world.neighbours.left() == []


async def test_a_refusal_is_told_and_tried_again(world: ExpressWorld) -> None:
    world.calls.refuses["CreateLoadBalancer"] = AwsError("TooManyLoadBalancers", "The maximum has been reached")
    made = await world.create()
    assert made["status"] == {
        "statusCode": "ACTIVE",
        "statusReason": "TooManyLoadBalancers: The maximum has been reached",
    }
    assert "serviceRevisionArn" not in made["activeConfigurations"][0]
    world.calls.refuses.clear()
    assert world.controller is not None
    await world.controller.settle(made["serviceArn"])
    described = await world.call("DescribeExpressGatewayService", serviceArn=made["serviceArn"])
    assert described["service"]["status"] == {"statusCode": "ACTIVE"}
    assert front(world) == EVERYTHING


async def test_the_record_goes_with_the_history_of_the_service(world: ExpressWorld) -> None:
    made = await world.create()
    await world.call("DeleteExpressGatewayService", serviceArn=made["serviceArn"])
    await world.drained()
    await world.quiet()
    await world.store.update(lambda tx: tx.delete(SERVICES, made["serviceArn"]))
    await world.quiet()
    assert world.store.get(EXPRESS_SERVICES, made["serviceArn"]) is None


async def test_tags_are_those_of_the_ecs_service(world: ExpressWorld) -> None:
    made = await world.create(tags=[{"key": "team", "value": "a"}])
    await world.call("TagResource", resourceArn=made["serviceArn"], tags=[{"key": "stage", "value": "b"}])
    described = await world.call("DescribeExpressGatewayService", serviceArn=made["serviceArn"], include=["TAGS"])
    assert described["service"]["tags"] == [{"key": "team", "value": "a"}, {"key": "stage", "value": "b"}]


async def test_everything_is_emptied_while_it_works(world: ExpressWorld) -> None:
    world.calls.dies_at = 6  # it waits in its third call
    creating = asyncio.ensure_future(world.create())
    await world.calls.died.wait()
    await world.store.reset()
    world.calls.died.clear()
    world.calls.revived.set()
    await creating
    await world.quiet()
    assert not world.store.all(EXPRESS_SERVICES)
    assert (await world.create())["status"] == {"statusCode": "ACTIVE"}


@pytest.mark.parametrize("story", ["create", "update", "delete"])
async def test_killed_at_any_call_it_ends_the_same(story: str) -> None:
    """Every call of the story, killed just before it and just after it: one life later everything is as it would be."""
    expected, calls = await _lived_through(story, dies_at=None)
    for dies_at in range(2, 2 * calls + 2):
        ended, _ = await _lived_through(story, dies_at=dies_at)
        assert ended == expected, f"killed at {dies_at / 2}"


async def _lived_through(story: str, *, dies_at: int | None) -> tuple[object, int]:
    world = await ExpressWorld.make()
    if story == "create":
        await world.create()  # only written down: there is no controller yet
    else:
        world.start()
        made = await world.create()
        await world.kill()
        arn = made["serviceArn"]
        if story == "update":
            await world.call(
                "UpdateExpressGatewayService", serviceArn=arn, cpu="512", memory="1024", healthCheckPath="/"
            )
        else:
            await world.call("DeleteService", service="web", force=True)
            await world.drained()
    world.calls.made.clear()
    world.calls.dies_at = dies_at
    world.start()
    await world.quiet()
    calls = len(world.calls.made)
    await world.kill()
    world.calls.dies_at = None
    world.calls.died.clear()
    world.start()
    await world.quiet()
    record, service = world.record(), world.store.get(SERVICES, world.record().arn)
    active = [d for d in world.store.all(TASK_DEFINITIONS) if d.status == "ACTIVE"]
    state = (
        record.status,
        record.applied,
        record.problem,
        len(record.revisions),
        front(world),
        sorted(world.neighbours.left()),
        {group.health_check.path for group in world.store.all(TARGET_GROUPS)},
        service.status if service is not None else None,
        len(service.deployments) if service is not None else 0,
        len(active) if story == "delete" else bool(active),
    )
    await world.kill()
    return state, calls
