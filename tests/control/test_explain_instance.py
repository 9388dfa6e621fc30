"""Explanations of container instances and of Express services; what a look at one service costs."""

from __future__ import annotations

import logging

import pytest

from moorage.control.explain_express import explain_unmade, express_lines
from moorage.control.explain_names import find
from moorage.control.explainer import Explainer
from moorage.domain.express import ExpressConfiguration, ExpressService
from moorage.engine.simulated_container import SimulatedImage
from moorage.simulation.loop import VirtualTimePolicy
from moorage.simulation.world import SCOPE, World
from moorage.store.tables.ecs import CLUSTERS, CONTAINER_INSTANCES, EXPRESS_SERVICES

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")

FEW = ("capacity_providers", EXPRESS_SERVICES.name, "load_balancers", "target_groups")
"""Tables that are walked through for a name: there are few of these."""


@pytest.fixture
def event_loop_policy():
    return VirtualTimePolicy()


@pytest.fixture
async def world(monkeypatch):
    monkeypatch.setattr(logging.getLogger("moorage"), "propagate", False)
    async with World(seed=1, images={"web": SimulatedImage()}) as world:
        await world.create_cluster()
        yield world


def explainer(world: World) -> Explainer:
    assert world.process is not None
    return Explainer(world.store, world.clock, world.process.plane)


async def an_instance(world: World, cpu: int = 512) -> str:
    answer = await world.ecs(
        "RegisterContainerInstance",
        cluster="main",
        totalResources=[
            {"name": "CPU", "type": "INTEGER", "integerValue": cpu},
            {"name": "MEMORY", "type": "INTEGER", "integerValue": 512},
        ],
        attributes=[{"name": "stack", "value": "blue"}],
    )
    return str(answer["containerInstance"]["ec2InstanceId"])


async def a_service(world: World, name: str, desired: int, cpu: int) -> None:
    container = {"name": "app", "image": "web", "cpu": cpu, "memory": 64, "essential": True}
    await world.ecs("RegisterTaskDefinition", family=name, containerDefinitions=[container])
    await world.ecs(
        "CreateService", cluster="main", serviceName=name, taskDefinition=name, desiredCount=desired, launchType="EC2"
    )


async def test_what_is_left_of_an_instance_and_whom_it_refuses(world):
    ec2 = await an_instance(world)
    await a_service(world, "web", 1, cpu=200)
    await world.until(lambda: bool(world.running()), within=60)
    await a_service(world, "big", 1, cpu=400)
    await world.run_for(5)
    told = await explainer(world).explain(ec2, None, SCOPE)
    assert "in cluster main is ACTIVE: 1 task, 312 of 512 CPU units and 448 of 512 MiB free." in told.title
    (task,) = told.section("Tasks")
    assert task.endswith("service:web RUNNING: 200 CPU units, 64 MiB")
    (waiting,) = told.section("Waiting for a place, and not here")
    assert waiting.startswith("big: RESOURCE:CPU, wants 400 CPU units, 312 are free")
    assert any("stack=blue" in line for line in told.section("Instance"))
    (instance,) = world.store.all(CONTAINER_INSTANCES)
    assert (await explainer(world).explain(instance.id[:6], "instance", SCOPE)).arn == instance.arn
    waits = await explainer(world).explain("big", None, SCOPE)
    assert any("no container instance has a place" in line for line in waits.section("Now"))


async def test_an_instance_that_is_drained(world):
    ec2 = await an_instance(world)
    (instance,) = world.store.all(CONTAINER_INSTANCES)
    await world.ecs(
        "UpdateContainerInstancesState", cluster="main", containerInstances=[instance.arn], status="DRAINING"
    )
    told = await explainer(world).explain(ec2, None, SCOPE)
    assert told.section("Now") == (
        "it is being drained: it takes no tasks; 0 service tasks left to be replaced elsewhere",
    )


def an_express_service(**changes: object) -> ExpressService:
    fields: dict[str, object] = {
        "arn": SCOPE.arn("ecs", "service/main/shop"),
        "account": SCOPE.account,
        "region": SCOPE.region,
        "cluster_arn": SCOPE.arn("ecs", "cluster/main"),
        "name": "shop",
        "infrastructure_role_arn": "r",
        "host": "h.localhost",
        "access_type": "PUBLIC",
        "vpc_id": "vpc-1",
        "balancer_name": "alb",
        "created_at": 0.0,
        "updated_at": 0.0,
        "wanted": ExpressConfiguration(subnets=("subnet-a",)),
    }
    return ExpressService(**(fields | changes))


def test_express_mode_tells_where_it_answers_and_what_it_lacks() -> None:
    assert list(express_lines(None, "", 443)) == []
    record = an_express_service(problem="TooManyLoadBalancers: no", generation=1)
    first, second, third, *_ = express_lines(record, "TooManyLoadBalancers: no (attempt 2, next in 1 s)", 8443)
    assert first == "answers at https://h.localhost:8443"
    assert second == "not finished: TooManyLoadBalancers: no"
    assert third == "now: TooManyLoadBalancers: no (attempt 2, next in 1 s)"
    assert "its ECS service is not made yet" in explain_unmade(record, "", 443).title


async def test_an_express_service_is_found_before_its_ecs_service_exists(world):
    record = an_express_service()
    await world.store.update(lambda tx: tx.put(EXPRESS_SERVICES, record))
    told = await explainer(world).explain("main/shop", None, SCOPE)
    assert told.kind == "service"
    assert told.section("Express Mode")[0] == "answers at https://h.localhost"


async def test_explaining_one_service_looks_at_no_other_services_things(world, monkeypatch):
    """What there are many of (tasks, targets, revisions, services) is never walked through for a service's name."""
    await world.register("web")
    await world.create_service("web", desired=1)
    await world.until(lambda: bool(world.running()))
    walked, found = set(), []
    store, all_of, find_in = world.store, world.store.all, world.store.find

    def noted_all(table):
        walked.add(table.name)
        return all_of(table)

    def noted_find(table, index, value):
        answer = find_in(table, index, value)
        found.append((table.name, index))
        return answer

    monkeypatch.setattr(store, "all", noted_all)
    monkeypatch.setattr(store, "find", noted_find)
    await explainer(world).explain("web", None, SCOPE)
    assert walked <= {*FEW, CLUSTERS.name}
    assert not {("tasks", "live"), ("services", "scope")} & set(found)


def test_words_that_are_no_id_are_not_looked_for_among_ids() -> None:
    class Nothing:
        def get(self, table, key):
            return None

        def find(self, table, index, value):
            return ()

        def all(self, table):
            assert table.name in FEW, table.name
            return ()

    for words in ("web", "c1/web", "my-service", "arn:aws:ecs:us-east-1:0:service/c/web"):
        assert find(Nothing(), words) == ()
