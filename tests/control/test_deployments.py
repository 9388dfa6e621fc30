"""Blue/green, linear and canary deployments told in the simulated world, with users who notice everything."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import pytest

from control.deployments_world import FUNCTION, ROLE, Functions, Street
from moorage.decide.rollout.hooks import HookAnswer
from moorage.domain.errors import AwsError
from moorage.engine.simulated_container import SimulatedImage
from moorage.simulation.loop import VirtualTimePolicy
from moorage.simulation.world import World

pytestmark = pytest.mark.filterwarnings("ignore:Overriding the .event_loop_policy. fixture")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("moorage"), "propagate", False)


@pytest.fixture
def event_loop_policy() -> VirtualTimePolicy:
    return VirtualTimePolicy()


@pytest.fixture
async def street() -> AsyncIterator[Street]:
    async with World(seed=1, images={"web": SimulatedImage()}) as world:
        yield await Street.make(world)


async def test_a_first_deployment_has_nothing_to_shift(street: Street) -> None:
    await street.create()
    assert street.target_group_of() == street.blue
    assert street.share() == (1, 0)
    assert await street.world.users.get(street.front.load_balancer) == 200
    shown = await street.describe((await street.world.describe_service())["currentServiceDeployment"])
    assert (shown["status"], shown["lifecycleStage"]) == ("SUCCESSFUL", "CLEAN_UP")
    await street.world.settled()


async def test_blue_green_shifts_everything_at_once_and_keeps_blue_for_the_bake_time(street: Street) -> None:
    world = street.world
    await street.create()
    users = world.users.traffic(street.front.load_balancer, rate=20)
    blue = {t.arn for t in world.running()}
    arn = await street.deploy()
    await street.stage("TEST_TRAFFIC_SHIFT")
    assert street.share() == (1, 0)
    testing = (await street.describe(arn))["updatedAt"]
    await street.stage("BAKE_TIME")
    assert street.share() == (0, 100)
    assert len(world.running()) == 4
    baking = world.clock.now()
    assert (await street.describe(arn))["updatedAt"] > testing, "every stage is an update of the service deployment"
    await street.ends(arn, "SUCCESSFUL")
    assert world.clock.now() - baking >= 300
    assert len(world.running(revision=2)) == 2
    assert not blue & {t.arn for t in world.running()}
    assert street.target_group_of() == street.green
    assert await users.stop() == []
    await world.settled()


async def test_the_target_groups_swap_with_every_deployment(street: Street) -> None:
    await street.create(bakeTimeInMinutes=0)
    for expected in (street.green, street.blue, street.green):
        users = street.world.users.traffic(street.front.load_balancer)
        await street.ends(await street.deploy(), "SUCCESSFUL")
        assert street.target_group_of() == expected
        assert await users.stop() == []
    await street.world.settled()


async def test_linear_goes_step_by_step(street: Street) -> None:
    world = street.world
    await street.create("LINEAR", linearConfiguration={"stepPercent": 30, "stepBakeTimeInMinutes": 2})
    users = world.users.traffic(street.front.load_balancer)
    arn = await street.deploy()
    seen: list[tuple[int, int]] = []

    def watch() -> bool:
        if street.share() not in seen:
            seen.append(street.share())
        return bool(street.record(arn).status == "SUCCESSFUL")

    took = await world.until(watch, within=2000)
    assert seen == [(1, 0), (70, 30), (40, 60), (10, 90), (0, 100)]
    assert took > 3 * 120 + 300
    assert await users.stop() == []
    await world.settled()


async def test_canary_sends_a_few_first(street: Street) -> None:
    world = street.world
    await street.create("CANARY", canaryConfiguration={"canaryPercent": 2.5, "canaryBakeTimeInMinutes": 3})
    users = world.users.traffic(street.front.load_balancer)
    arn = await street.deploy()
    await street.stage("PRODUCTION_TRAFFIC_SHIFT")
    assert street.share() == (975, 25)
    described = await street.describe(arn)
    assert described["lifecycleStage"] == "PRODUCTION_TRAFFIC_SHIFT"
    assert described["targetServiceRevision"]["requestedProductionTrafficWeight"] == 2.5
    assert described["sourceServiceRevisions"][0]["requestedProductionTrafficWeight"] == 97.5
    await world.run_for(170)
    assert street.share() == (975, 25)
    await street.stage("BAKE_TIME")
    await street.ends(arn, "SUCCESSFUL")
    assert await users.stop() == []
    await world.settled()


@pytest.mark.parametrize("strategy", ["BLUE_GREEN", "LINEAR", "CANARY"])
@pytest.mark.parametrize(
    "broken", [SimulatedImage(status=500), SimulatedImage(exits_after=2, exit_code=1)], ids=["sick", "exits"]
)
async def test_a_green_that_never_gets_healthy_is_rolled_back(
    street: Street, strategy: str, broken: SimulatedImage
) -> None:
    world = street.world
    await street.create(strategy, deploymentCircuitBreaker={"enable": True, "rollback": True})
    users = world.users.traffic(street.front.load_balancer)
    blue = {t.arn for t in world.running()}
    arn = await street.deploy(broken)
    await street.ends(arn, "ROLLBACK_SUCCESSFUL")
    assert {t.arn for t in world.running()} == blue, "blue was never touched"
    assert await users.stop() == []
    described = await street.describe(arn)
    assert described["statusReason"].endswith("because the circuit breaker threshold was exceeded.")
    assert any("deployment failed: Service deployment rolled back because" in event for event in world.events())
    assert street.share() == (1, 0)
    # The next one finds everything as it was.
    await street.ends(await street.deploy(), "SUCCESSFUL", within=4000)
    await world.settled()


@pytest.mark.parametrize("stage", ["SCALE_UP", "TEST_TRAFFIC_SHIFT", "PRODUCTION_TRAFFIC_SHIFT", "BAKE_TIME"])
async def test_a_deployment_stopped_in_the_middle_goes_back(street: Street, stage: str) -> None:
    world = street.world
    await street.create("CANARY")
    users = world.users.traffic(street.front.load_balancer)
    blue = {t.arn for t in world.running()}
    arn = await street.deploy()
    await street.stage(stage, within=1500)
    await world.ecs("StopServiceDeployment", serviceDeploymentArn=arn)
    await street.ends(arn, "ROLLBACK_SUCCESSFUL")
    assert {t.arn for t in world.running()} == blue
    assert street.share()[1] == 0
    assert await users.stop() == []
    await world.settled()


@pytest.mark.parametrize("stage", ["PRODUCTION_TRAFFIC_SHIFT", "BAKE_TIME", "CLEAN_UP"])
async def test_an_update_in_the_middle_starts_over_from_what_was_good(street: Street, stage: str) -> None:
    world = street.world
    await street.create("CANARY")
    users = world.users.traffic(street.front.load_balancer)
    first = await street.deploy()
    await street.stage(stage, within=1500)
    second = await street.deploy(name="third")
    await street.ends(second, "SUCCESSFUL")
    assert street.record(first).status == "STOPPED"
    assert len(world.running(revision=3)) == 2
    assert await users.stop() == []
    await world.settled()


@pytest.mark.parametrize("stage", ["SCALE_UP", "PRODUCTION_TRAFFIC_SHIFT", "BAKE_TIME", "CLEAN_UP"])
async def test_a_control_plane_that_comes_back_goes_on_where_it_was(street: Street, stage: str) -> None:
    world = street.world
    await street.create("LINEAR", linearConfiguration={"stepPercent": 50, "stepBakeTimeInMinutes": 1})
    users = world.users.traffic(street.front.load_balancer)
    arn = await street.deploy()
    await street.stage(stage, within=1500)
    await world.restart_control_plane(10)
    await street.ends(arn, "SUCCESSFUL")
    assert await users.stop() == []
    await world.settled()


async def test_a_task_that_dies_is_replaced_on_its_own_side(street: Street) -> None:
    world = street.world
    await street.create()
    arn = await street.deploy()
    await street.stage("BAKE_TIME")
    for revision in (1, 2):
        world.engine.kill(world.container(world.running(revision=revision)[0]).id)
    await world.run_for(60)
    assert len(world.running(revision=1)) == len(world.running(revision=2)) == 2
    await street.ends(arn, "SUCCESSFUL")
    await world.settled()


async def test_rules_that_do_not_fit_end_the_deployment_before_it_begins(street: Street) -> None:
    world = street.world
    await street.create()
    other = await world.create_target_group("other")
    await world.elbv2(
        "ModifyListener",
        ListenerArn=street.front.listener,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": other}],
    )
    arn = await street.deploy()
    await world.until(lambda: street.record(arn).status.startswith("ROLLBACK"))
    reason = (await street.describe(arn))["statusReason"]
    assert f"Production listener rule is forwarding traffic to unexpected target group {other}." in reason


LAMBDA = {"targetType": "AWS_LAMBDA", "hookTargetArn": FUNCTION, "roleArn": ROLE}


async def test_a_function_that_cannot_be_run_fails_its_stage(street: Street) -> None:
    world = street.world
    await street.create(lifecycleHooks=[LAMBDA | {"lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"]}])
    users = world.users.traffic(street.front.load_balancer)
    arn = await street.deploy()
    await street.ends(arn, "ROLLBACK_SUCCESSFUL")
    assert (await street.describe(arn))["statusReason"] == (
        "Service deployment rolled back because POST_TEST_TRAFFIC_SHIFT lifecycle hook(s) failed. Lifecycle hook "
        f"target {FUNCTION} returned FAILED status."
    )
    assert street.weights(street.test_listener) == {street.blue: 100, street.green: 0}
    assert await users.stop() == []
    await world.settled()


async def test_a_function_is_asked_until_it_says_so_and_for_every_step(street: Street) -> None:
    world = street.world
    functions = Functions(HookAnswer("IN_PROGRESS", 7, {"n": 1}), HookAnswer("SUCCEEDED"))
    street.run_functions(functions)
    await street.create(
        "CANARY",
        lifecycleHooks=[LAMBDA | {"lifecycleStages": ["PRODUCTION_TRAFFIC_SHIFT"], "hookDetails": {"who": "me"}}],
    )
    arn = await street.deploy()
    await street.ends(arn, "SUCCESSFUL")
    green = street.record(arn).target_revision
    first, again, last = functions.events
    assert first["executionId"] == again["executionId"] != last["executionId"]
    assert (first["hookDetails"], again["hookDetails"]) == ({"who": "me"}, {"who": "me", "n": 1})
    assert first["resourceArn"] == arn
    details = [event["executionDetails"] for event in (first, last)]
    assert [one["productionTrafficWeights"][green] for one in details] == [5, 100]
    assert [one["testTrafficWeights"] for one in details] == [{}, {}]
    await world.settled()


@pytest.mark.parametrize(("action", "status"), [("CONTINUE", "SUCCESSFUL"), ("ROLLBACK", "ROLLBACK_SUCCESSFUL")])
async def test_a_pause_waits_for_a_person(street: Street, action: str, status: str) -> None:
    world = street.world
    stage = "POST_PRODUCTION_TRAFFIC_SHIFT"
    await street.create(lifecycleHooks=[{"targetType": "PAUSE", "lifecycleStages": [stage]}])
    arn = await street.deploy()
    await street.stage(stage)
    await world.run_for(3600)
    described = await street.describe(arn)
    assert described["lifecycleStage"] == stage
    [detail] = described["lifecycleHookDetails"]
    assert (detail["status"], detail["timeoutAction"]) == ("AWAITING_ACTION", "ROLLBACK")

    async def refused(**request: str) -> str:
        with pytest.raises(AwsError) as refusal:
            await world.ecs("ContinueServiceDeployment", **({"serviceDeploymentArn": arn, "hookId": "x"} | request))
        return refusal.value.message

    assert await refused() == "Invalid hookId: hookId must follow the format: ecs-{hookType}-{id}"
    assert (await refused(hookId="ecs-pause-1")).startswith("Provided hookId is either completed, unavailable")
    assert (
        await refused(serviceDeploymentArn=arn + "x", hookId="ecs-pause-1") == "The service deployment does not exist."
    )
    await world.ecs("ContinueServiceDeployment", serviceDeploymentArn=arn, hookId=detail["hookId"], action=action)
    await street.ends(arn, status)
    [answered] = (await street.describe(arn))["lifecycleHookDetails"]
    assert (answered["hookId"], answered["status"]) == (
        detail["hookId"],
        "SUCCEEDED" if action == "CONTINUE" else "FAILED",
    )
    assert "in terminal states" in await refused(hookId=detail["hookId"])
    with pytest.raises(AwsError) as refusal:
        await world.ecs("StopServiceDeployment", serviceDeploymentArn=arn)
    assert refusal.value.code == "ConflictException"
    await world.settled()


async def test_what_became_of_every_hook_stays_to_be_seen(street: Street) -> None:
    """One pause goes on by itself when nobody answers, another one is left because the deployment is stopped."""
    world = street.world
    goes_on = {"timeoutInMinutes": 1, "action": "CONTINUE"}
    first = {"targetType": "PAUSE", "lifecycleStages": ["PRE_SCALE_UP"], "timeoutConfiguration": goes_on}
    second = {"targetType": "PAUSE", "lifecycleStages": ["POST_TEST_TRAFFIC_SHIFT"]}
    street.run_functions(Functions())
    called = LAMBDA | {"lifecycleStages": ["POST_SCALE_UP"]}
    await street.create(lifecycleHooks=[called])
    await world.update_service(deploymentConfiguration={"lifecycleHooks": [first, called, second]})
    arn = await street.deploy()
    await street.stage("POST_TEST_TRAFFIC_SHIFT")
    told = (await street.describe(arn))["lifecycleHookDetails"]
    assert [one["status"] for one in told] == ["TIMED_OUT", "SUCCEEDED", "AWAITING_ACTION"]
    await world.ecs("StopServiceDeployment", serviceDeploymentArn=arn)
    await street.ends(arn, "ROLLBACK_SUCCESSFUL")
    told = (await street.describe(arn))["lifecycleHookDetails"]
    assert [one["status"] for one in told] == ["TIMED_OUT", "SUCCEEDED"]
    await world.settled()


async def test_a_rolling_deployment_can_be_stopped(street: Street) -> None:
    world = street.world
    await world.create_service("web", desired=2, front=street.front)
    await world.stable()
    old = {t.arn for t in world.running()}
    arn = await street.deploy(SimulatedImage(listens_after=None))
    await world.run_for(5)
    await world.ecs("StopServiceDeployment", serviceDeploymentArn=arn)
    await street.ends(arn, "ROLLBACK_SUCCESSFUL")
    assert {t.arn for t in world.running()} == old
    await world.settled()


async def test_an_aborted_deployment_stays_as_it_is_until_the_next_one(street: Street) -> None:
    world = street.world
    await street.create("CANARY")
    users = world.users.traffic(street.front.load_balancer)
    arn = await street.deploy()
    await street.stage("PRODUCTION_TRAFFIC_SHIFT")
    await world.ecs("StopServiceDeployment", serviceDeploymentArn=arn, stopType="ABORT")
    await world.until(lambda: street.record(arn).status == "STOPPED")
    await world.run_for(3600)
    assert street.share() == (95, 5)
    await street.ends(await street.deploy(name="third"), "SUCCESSFUL")
    assert await users.stop() == []
    await world.settled()


async def test_back_to_rolling_tasks_stay_where_the_traffic_is(street: Street) -> None:
    world = street.world
    await street.create(bakeTimeInMinutes=0)
    await street.ends(await street.deploy(), "SUCCESSFUL")
    await world.update_service(deploymentConfiguration={"strategy": "ROLLING"})
    users = world.users.traffic(street.front.load_balancer)
    await street.ends(await street.deploy(name="third"), "SUCCESSFUL")
    assert street.target_group_of() == street.green
    assert await users.stop() == []
    await world.settled()


async def test_an_alarm_turns_a_canary_back(street: Street) -> None:
    world = street.world
    world.alarms.set("errors")
    alarms = {"alarmNames": ["errors"], "enable": True, "rollback": True}
    await street.create("CANARY", alarms=alarms)
    users = world.users.traffic(street.front.load_balancer, rate=20)
    serving = {task.arn for task in world.running()}
    arn = await street.deploy()
    await street.stage("PRODUCTION_TRAFFIC_SHIFT")
    world.alarms.set("errors", "ALARM")
    await street.ends(arn, "ROLLBACK_SUCCESSFUL")
    assert street.share() == (100, 0)
    assert {task.arn for task in world.running()} == serving
    record = await street.describe(arn)
    assert record["alarms"] == {"status": "TRIGGERED", "alarmNames": ["errors"], "triggeredAlarmNames": ["errors"]}
    assert record["statusReason"] == ("Service deployment rolled back because of alarms in the ALARM state: errors.")
    await users.stop()
    assert not users.failures


async def test_an_alarm_in_the_bake_time_of_blue_green(street: Street) -> None:
    street.world.alarms.set("errors")
    await street.create(alarms={"alarmNames": ["errors"], "enable": True, "rollback": True})
    arn = await street.deploy()
    await street.stage("BAKE_TIME")
    street.world.alarms.set("errors", "ALARM")
    await street.ends(arn, "ROLLBACK_SUCCESSFUL")
    assert len(street.world.running(revision=1)) == 2


async def test_an_alarm_without_rollback_halts_it_where_it_is(street: Street) -> None:
    street.world.alarms.set("errors")
    await street.create(alarms={"alarmNames": ["errors"], "enable": True, "rollback": False})
    arn = await street.deploy()
    await street.stage("BAKE_TIME")
    street.world.alarms.set("errors", "ALARM")
    await street.world.until(lambda: street.record(arn).status == "STOPPED", what="the end")
    await street.world.run_for(400)
    assert len(street.world.running()) == 4
    assert street.share() == (0, 100)


async def test_blue_green_behind_a_network_load_balancer(street: Street) -> None:
    world = street.world
    made = await world.elbv2("CreateLoadBalancer", Name="net", Type="network", Subnets=list(world.networks.by_id))
    balancer = made["LoadBalancers"][0]["LoadBalancerArn"]
    groups, listeners = [], []
    for name, port in (("one", 80), ("two", 8080)):
        group = await world.elbv2(
            "CreateTargetGroup", Name=name, Protocol="TCP", Port=80, VpcId="vpc-1", TargetType="ip"
        )
        groups.append(group["TargetGroups"][0]["TargetGroupArn"])
        listener = await world.elbv2(
            "CreateListener",
            LoadBalancerArn=balancer,
            Protocol="TCP",
            Port=port,
            DefaultActions=[{"Type": "forward", "TargetGroupArn": groups[-1]}],
        )
        listeners.append(listener["Listeners"][0]["ListenerArn"])
    street.blue, street.green = groups
    street.production, street.test = listeners
    with pytest.raises(AwsError, match="CANARY deployment strategy requires an Application Load Balancer"):
        await street.create("CANARY")
    await street.create()
    arn = await street.deploy()
    await street.stage("BAKE_TIME")
    assert street.weights(listeners[0]) == {groups[0]: 0, groups[1]: 100}
    await street.ends(arn, "SUCCESSFUL")
    assert street.target_group_of() == groups[1]
