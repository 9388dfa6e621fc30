"""Explanations of a living control plane, in the simulated world: names are found, times run down, doors answer."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request

from moorage.control.explain_names import find, nearest, within
from moorage.control.explainer import Ambiguous, Explainer, Unknown
from moorage.domain.scope import Scope
from moorage.engine.simulated_container import SimulatedImage
from moorage.people import People
from moorage.settings import Settings
from moorage.simulation.calls import CLUSTER
from moorage.simulation.loop import VirtualTimePolicy
from moorage.simulation.world import SCOPE, World
from moorage.store.tables.ecs import TASKS

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")


@pytest.fixture
def event_loop_policy():
    return VirtualTimePolicy()


@pytest.fixture
async def world(monkeypatch):
    monkeypatch.setattr(logging.getLogger("moorage"), "propagate", False)
    async with World(seed=1, images={"web": SimulatedImage()}) as world:
        await world.create_cluster()
        await world.register("web")
        yield world


def explainer(world: World) -> Explainer:
    assert world.process is not None
    return Explainer(world.store, world.clock, world.process.plane)


@pytest.fixture
async def people(world):
    settings = Settings(data_dir=Path("/nowhere"), account=SCOPE.account, region=SCOPE.region)
    people = People(settings, world.store, world.clock, world.process.plane, proxy=dict, host=None)
    yield people
    await people.close()


async def get(people: People, path: str) -> tuple[int, Any]:
    door = next(door for prefix, door in people.doors() if path.partition("?")[0] == f"/_moorage/{prefix[10:]}")
    response: Any = await door(make_mocked_request("GET", path))
    return response.status, json.loads(response.body)


async def test_the_time_that_is_left_runs_down(world):
    await world.create_service(desired=1)
    await world.until(lambda: bool(world.running()))
    await world.run_for(10)
    (before,) = (await explainer(world).explain("web", None, SCOPE)).section("Tasks")
    await world.run_for(20)
    (after,) = (await explainer(world).explain("web", None, SCOPE)).section("Tasks")
    assert before.endswith("is waiting: counts as healthy in 30 s")
    assert after.endswith("is waiting: counts as healthy in 10 s")


async def test_a_scale_in_drains_and_says_how_long(world):
    front = await world.create_load_balancer(deregistration_delay=60)
    await world.create_service(desired=2, front=front)
    await world.stable()
    await world.update_service("web", desiredCount=1)
    await world.until(lambda: any(t.last_status == "DEACTIVATING" for t in world.tasks(all=True)))
    task = next(t for t in world.tasks(all=True) if t.last_status == "DEACTIVATING")
    await world.run_for(20)
    told = await explainer(world).explain(task.id[:10], "task", SCOPE)
    assert "40 s drain left of target group web" in told.section("Now")
    address = task.interface.ipv4
    target = await explainer(world).explain(f"{address}:80", None, SCOPE)
    assert target.title == f"Target {address}:80 of target group web is draining."


async def test_failures_of_a_deployment_that_was_rolled_back_stay_known(world):
    await world.create_service(desired=1, breaker=True, rollback=True)
    await world.stable()
    world.engine.images["bad"] = SimulatedImage(exits_after=0.3, exit_code=7)
    await world.update_service("web", taskDefinition=await world.register("web", image="bad"))
    await world.until(lambda: any("rolling back" in event for event in world.events()))
    failed = next(e for e in world.events() if "deployment failed" in e).split("(deployment ")[1].split(")")[0]
    await world.stable()
    told = await explainer(world).explain(failed, None, SCOPE)
    assert told.title.startswith(f"Deployment {failed} of service web is over: ROLLBACK_SUCCESSFUL")
    counted = told.section("Failed tasks")
    assert len(counted) == 3
    assert all("counted (it exited before it ever counted as healthy)" in line for line in counted)
    assert all("app: exit code 7" in line for line in counted)


async def test_a_task_that_left_memory_is_told_from_history(world):
    world.engine.images["web"] = SimulatedImage(exits_after=1, exit_code=4)
    await world.ecs("RunTask", cluster="main", taskDefinition="web", launchType="FARGATE", **network(world))
    task = world.standalone()[0]
    await world.run_for(3 * 3600)
    assert world.store.get(TASKS, task.arn) is None
    for words in (task.id, task.arn, task.id[:8]):
        told = await explainer(world).explain(words, None, SCOPE)
        assert told.section("Why it stopped") == ("EssentialContainerExited: Essential container in task exited",)
        assert told.facts["exit_codes"] == {"app": 4}


async def test_what_is_listed_of_those_that_left_memory_can_be_explained(world, people):
    world.engine.images["web"] = SimulatedImage(exits_after=1, exit_code=4)
    for _ in range(3):
        await world.ecs("RunTask", cluster="main", taskDefinition="web", launchType="FARGATE", **network(world))
        await world.run_for(60)
    await world.run_for(7 * 24 * 3600)
    assert world.store.all(TASKS) == ()
    listed = (await get(people, "/_moorage/people/tasks?stopped=1"))[1]["tasks"]
    assert len(listed) == 3
    assert [one["stopped_at"] for one in listed] == sorted((one["stopped_at"] for one in listed), reverse=True)
    for one in listed:
        status, told = await get(people, f"/_moorage/explain?of={one['id'][:8]}")
        assert status == 200
        assert one["id"] in told["title"]
    assert len((await get(people, "/_moorage/people/tasks?stopped=1&limit=2"))[1]["tasks"]) == 2
    assert (await get(people, "/_moorage/people/tasks?stopped=1&limit=many"))[0] == 400


async def test_tasks_of_a_service_that_was_deleted_long_ago(world, people):
    await world.create_service(desired=2)
    await world.stable()
    await world.ecs("DeleteService", cluster="main", service="web", force=True)
    await world.run_for(24 * 3600)
    for words in ("web", "main%2Fweb"):
        listed = (await get(people, f"/_moorage/people/tasks?stopped=1&service={words}"))[1]["tasks"]
        assert [one["service"] for one in listed] == ["web", "web"]
    for words in ("eb", "other%2Fweb", "nothing"):
        assert (await get(people, f"/_moorage/people/tasks?stopped=1&service={words}"))[0] == 404


def network(world: World) -> dict[str, Any]:
    return {"networkConfiguration": {"awsvpcConfiguration": {"subnets": [next(iter(world.networks.by_id))]}}}


async def test_a_name_of_several_things_asks_which(world):
    front = await world.create_load_balancer()
    await world.create_service(desired=0, front=front)
    with pytest.raises(Ambiguous) as refused:
        await explainer(world).explain("web", None, SCOPE)
    assert refused.value.candidates == (
        "moor explain service main/web",
        "moor explain load-balancer web",
        "moor explain target-group web",
    )
    for kind in ("service", "load-balancer", "target-group"):
        assert (await explainer(world).explain("web", kind, SCOPE)).kind == kind


async def test_a_name_that_does_not_exist_tells_what_does(world):
    with pytest.raises(Unknown, match="there are none yet"):
        await explainer(world).explain("nothing", None, SCOPE)
    await world.create_service(desired=0)
    with pytest.raises(Unknown) as refused:
        await explainer(world).explain("nothing", "service", SCOPE)
    assert refused.value.what == f"There is no service 'nothing' in account {SCOPE.account}, {SCOPE.region}"
    assert refused.value.why == "there are services main/web"


async def test_every_way_to_name_things(world):
    front = await world.create_load_balancer()
    await world.create_service(desired=1, front=front)
    await world.stable()
    service, task = world.service(), world.running()[0]
    deployment = service.deployments[0]
    address = task.interface.ipv4
    names = {
        "service": ["main/web", service.arn],
        "task": [task.arn, task.id, task.id[:6]],
        "deployment": [
            deployment.id,
            deployment.id.removeprefix("ecs-svc/"),
            deployment.service_deployment_arn,
            deployment.revision_arn,
        ],
        "load-balancer": [front.load_balancer],
        "target-group": [front.target_group],
        "target": [address, f"{address}:80", f"web/{address}:80"],
    }
    for kind, ways in names.items():
        for words in ways:
            assert [one.kind for one in find(world.store, words)] == [kind], words


async def test_what_is_at_home_comes_first(world):
    await world.create_service(desired=0)
    found = find(world.store, "web")
    assert nearest(found, SCOPE) == found
    assert nearest(found, Scope("999999999999", "eu-west-1")) == found


async def test_a_cluster_narrows_what_a_name_means(world):
    await world.create_load_balancer("web")
    await world.create_service(desired=0)
    found = find(world.store, "web")
    assert [one.kind for one in found] == ["service", "load-balancer", "target-group"]
    assert [one.kind for one in within(found, CLUSTER)] == ["service"]
    assert [one.kind for one in within(found, "other")] == ["load-balancer", "target-group"]


async def test_a_task_that_fails_its_checks_says_what_would_make_it_healthy(world, people):
    world.engine.images["web"] = SimulatedImage(listens_after=None)
    front = await world.create_load_balancer(interval=10, healthy=3, unhealthy=2)
    await world.create_service(desired=1, front=front, grace=300)
    await world.run_for(5)
    (task,) = (await get(people, "/_moorage/people/tasks?service=web"))[1]["tasks"]
    assert "one passed check makes it healthy; without one it is unhealthy in 5 s" in task["said"]
    await world.run_for(20)
    told = (await get(people, f"/_moorage/explain?of={task['id']}"))[1]["sections"][0]["lines"]
    assert told[0].startswith("is waiting: 0 of 1 health checks passed, is unhealthy in target group web")
    assert told[1] == "healthy again after 3 passed checks in a row, 10 s apart (about 30 s)"
    assert told[2] == "4 min 35 s of its health check grace period (5 min) left: it is not replaced before"


async def test_a_service_in_the_list_says_how_long_its_targets_still_drain(world, people):
    front = await world.create_load_balancer(deregistration_delay=60)
    await world.create_service(desired=2, front=front)
    await world.stable()
    (at_rest,) = (await get(people, "/_moorage/people/services"))[1]["services"]
    assert at_rest["drain_left"] is None
    await world.update_service(desiredCount=1)
    await world.run_for(5)
    (draining,) = (await get(people, "/_moorage/people/services"))[1]["services"]
    assert draining["said"].startswith("waits: 1 task still stopping. ")
    assert 54 <= draining["drain_left"] <= 56
    told = (await get(people, "/_moorage/explain?of=web&kind=service"))[1]["sections"][0]["lines"]
    assert told[1] == "55 s until the last of its targets has drained"


async def test_the_doors(world, people):
    await world.create_service(desired=1)
    await world.stable()
    status, listed = await get(people, "/_moorage/people/services")
    assert status == 200
    (service,) = listed["services"]
    assert (service["running"], service["desired"], service["task_definition"]) == (1, 1, "web:1")
    assert (await get(people, "/_moorage/people/services?account=999999999999"))[1]["services"] == []
    assert len((await get(people, "/_moorage/people/services?cluster=main"))[1]["services"]) == 1
    status, refusal = await get(people, "/_moorage/people/services?cluster=nowhere")
    assert (status, refusal["why"]) == (404, "there are main")
    (task,) = (await get(people, "/_moorage/people/tasks?service=web"))[1]["tasks"]
    assert task["said"] == "is healthy: has been running for 40 s"
    assert (await get(people, "/_moorage/people/tasks?stopped=1"))[1]["tasks"] == []
    assert (await get(people, "/_moorage/people/tasks?service=x"))[0] == 404
    status, told = await get(people, "/_moorage/explain?of=web&kind=service")
    assert (status, told["kind"], told["sections"][0]["heading"]) == (200, "service", "Now")
    assert (await get(people, "/_moorage/explain?of=web&kind=boat"))[0] == 400
    assert (await get(people, "/_moorage/explain"))[0] == 400
    assert people.status()["services"][0]["name"] == "web"


async def test_events_are_followed_without_missing_or_repeating_one(world, people):
    _, first = await get(people, "/_moorage/people/events")
    assert first["events"] == []
    await world.create_service(desired=1)
    seen, cursor = [], first["cursor"]
    while len(seen) < len(world.events()) or not world.is_stable():
        _, more = await get(people, f"/_moorage/people/events?after={cursor}&wait=20")
        seen += [event["message"] for event in more["events"]]
        cursor = more["cursor"]
    assert seen == world.events()
    _, latest = await get(people, "/_moorage/people/events?service=web&limit=1")
    assert [event["message"] for event in latest["events"]] == world.events()[-1:]
    assert (await get(people, "/_moorage/people/events?after=nonsense"))[0] == 400


async def test_a_cursor_of_an_earlier_run_reads_on_by_time(world, people):
    _, before = await get(people, "/_moorage/people/events")
    await world.create_service(desired=1)
    await world.stable()
    _, number, at = before["cursor"].split("_")
    _, more = await get(people, f"/_moorage/people/events?after=0.000_{number}_{at}")
    assert [event["message"] for event in more["events"]] == world.events()


async def test_whoever_waits_for_events_is_sent_away_when_the_server_leaves(world, people):
    _, first = await get(people, "/_moorage/people/events")
    waiting = asyncio.create_task(get(people, f"/_moorage/people/events?after={first['cursor']}&wait=20"))
    await asyncio.sleep(1)
    began = world.clock.now()
    await people.close()
    assert (await waiting)[1]["events"] == []
    assert world.clock.now() - began < 1


async def test_a_service_on_instances_that_are_not_there(world):
    await world.ecs(
        "RegisterTaskDefinition",
        family="bridge",
        networkMode="bridge",
        containerDefinitions=[{"name": "app", "image": "web", "memory": 64, "essential": True}],
    )
    await world.ecs(
        "CreateService",
        cluster="main",
        serviceName="web",
        taskDefinition="bridge",
        desiredCount=1,
        launchType="EC2",
    )
    await world.run_for(5)
    told = await explainer(world).explain("web", None, SCOPE)
    first, *events = told.section("Not placed")
    assert first == "the cluster has no container instances"
    assert events[0].endswith(world.events()[-1])
