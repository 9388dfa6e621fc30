"""Clusters, capacity providers, account settings, container instances (semantics ecs-services §2.4, §8)."""

from __future__ import annotations

from typing import Any

import pytest

from moorage.store.tables.ecs import CLUSTERS

from .rig import ACCOUNT, BASE, Rig, network_configuration, run_params


def item(provider: str = "FARGATE", **members: int) -> dict[str, Any]:
    return {"capacityProvider": provider, **members}


async def test_a_new_one(ecs: Rig) -> None:
    made = await ecs.cluster("main")
    assert made == {
        "clusterArn": BASE + "cluster/main",
        "clusterName": "main",
        "status": "ACTIVE",
        "registeredContainerInstancesCount": 0,
        "runningTasksCount": 0,
        "pendingTasksCount": 0,
        "activeServicesCount": 0,
        "statistics": [],
        "tags": [],
        "settings": [{"name": "containerInsights", "value": "disabled"}],
        "capacityProviders": [],
        "defaultCapacityProviderStrategy": [],
    }
    assert await ecs.cluster("main", tags=[{"key": "a", "value": "b"}]) == made, "the existing one, as it is"
    assert (await ecs.call("CreateCluster"))["cluster"]["clusterName"] == "default"


async def test_describe(ecs: Rig) -> None:
    configuration = {"executeCommandConfiguration": {"logging": "DEFAULT"}}
    await ecs.cluster(
        "main",
        tags=[{"key": "a", "value": "b"}],
        configuration=configuration,
        settings=[{"name": "containerInsights", "value": "enhanced"}],
        serviceConnectDefaults={"namespace": "ns"},
        capacityProviders=["FARGATE", "FARGATE_SPOT"],
        defaultCapacityProviderStrategy=[item("FARGATE", base=1, weight=1), item("FARGATE_SPOT", weight=3)],
    )
    plain = await ecs.call("DescribeClusters", clusters=["main", BASE + "cluster/nowhere"])
    assert plain["failures"] == [{"arn": BASE + "cluster/nowhere", "reason": "MISSING"}]
    [shown] = plain["clusters"]
    assert (shown["tags"], shown["settings"], shown["statistics"]) == ([], [], [])
    assert "configuration" not in shown
    assert shown["serviceConnectDefaults"] == {"namespace": "ns"}
    assert shown["defaultCapacityProviderStrategy"] == [
        {"capacityProvider": "FARGATE", "weight": 1, "base": 1},
        {"capacityProvider": "FARGATE_SPOT", "weight": 3, "base": 0},
    ]
    everything = ["TAGS", "SETTINGS", "STATISTICS", "CONFIGURATIONS"]
    [shown] = (await ecs.call("DescribeClusters", clusters=[BASE + "cluster/main"], include=everything))["clusters"]
    assert shown["tags"] == [{"key": "a", "value": "b"}]
    assert shown["settings"] == [{"name": "containerInsights", "value": "enhanced"}]
    assert shown["configuration"] == configuration
    kinds = ("EC2", "Fargate", "External")
    names = {f"{state}{kind}TasksCount" for state in ("running", "pending") for kind in kinds}
    names |= {f"{state}{kind}ServiceCount" for state in ("active", "draining") for kind in kinds}
    assert {one["name"] for one in shown["statistics"]} == names
    missing = await ecs.call("DescribeClusters")
    assert missing == {"clusters": [], "failures": [{"arn": BASE + "cluster/default", "reason": "MISSING"}]}


REFUSALS = [
    ({"clusterName": "a b"}, r"ClusterName must match ^[a-zA-Z0-9\-_]{1,255}$, but was a b"),
    ({"clusterName": "x" * 256}, rf"ClusterName must match ^[a-zA-Z0-9\-_]{{1,255}}$, but was {'x' * 256}"),
    (
        {"capacityProviders": ["mine"]},
        "The specified capacity provider does not exist. Specify a valid name or ARN and try again.",
    ),
    (
        {"defaultCapacityProviderStrategy": [item()]},
        "The specified capacity provider strategy cannot contain a capacity provider that is not associated with the "
        "cluster. Associate the capacity provider with the cluster or specify a valid capacity provider and try again.",
    ),
    (
        {
            "capacityProviders": ["FARGATE", "FARGATE_SPOT"],
            "defaultCapacityProviderStrategy": [item(base=1, weight=1), item("FARGATE_SPOT", base=1, weight=1)],
        },
        "There are multiple capacity providers in the specified capacity provider strategy with a base value defined. "
        "Specify a base value for only one capacity provider and try again.",
    ),
    (
        {
            "capacityProviders": ["FARGATE", "FARGATE_SPOT"],
            "defaultCapacityProviderStrategy": [item(weight=0), item("FARGATE_SPOT", weight=0)],
        },
        "There are no capacity providers in the capacity provider strategy with a weight value greater than zero. "
        "Specify a weight value greater than zero for at least one capacity provider and try again.",
    ),
    (
        {"configuration": {"executeCommandConfiguration": {"logging": "OVERRIDE"}}},
        "A CloudWatch log group name or S3 bucket name must be specified when overriding the default log configuration.",
    ),
    ({"settings": [{"name": "x", "value": "enabled"}]}, "Cluster setting name 'x' is invalid."),
    ({"settings": [{"name": "containerInsights", "value": "on"}]}, "Cluster setting value 'on' is invalid."),
    ({"tags": [{"key": "aws:x"}]}, "aws: prefixed tag key names are not allowed for external use."),
]


@pytest.mark.parametrize(("params", "message"), REFUSALS)
async def test_refusals(ecs: Rig, params: dict[str, Any], message: str) -> None:
    refusal = await ecs.refused("CreateCluster", **params)
    assert (refusal.code, refusal.message) == ("InvalidParameterException", message)


async def test_changes(ecs: Rig) -> None:
    await ecs.cluster("main", configuration={"executeCommandConfiguration": {"logging": "NONE"}})
    on = [{"name": "containerInsights", "value": "enabled"}]
    assert (await ecs.call("UpdateClusterSettings", cluster="main", settings=on))["cluster"]["settings"] == on
    changed = await ecs.call("UpdateCluster", cluster="main", serviceConnectDefaults={"namespace": "ns"})
    assert changed["cluster"]["serviceConnectDefaults"] == {"namespace": "ns"}
    assert changed["cluster"]["settings"] == on
    changed = await ecs.call("UpdateCluster", cluster="main", serviceConnectDefaults={"namespace": ""})
    assert "serviceConnectDefaults" not in changed["cluster"]
    providers = ["FARGATE", "FARGATE_SPOT"]
    put = await ecs.call(
        "PutClusterCapacityProviders",
        cluster="main",
        capacityProviders=providers,
        defaultCapacityProviderStrategy=[item("FARGATE_SPOT")],
    )
    assert put["cluster"]["capacityProviders"] == providers
    assert put["cluster"]["defaultCapacityProviderStrategy"] == [
        {"capacityProvider": "FARGATE_SPOT", "weight": 1, "base": 0}
    ]
    for operation, params in (
        ("UpdateCluster", {}),
        ("UpdateClusterSettings", {"settings": on}),
        ("PutClusterCapacityProviders", {"capacityProviders": [], "defaultCapacityProviderStrategy": []}),
    ):
        refusal = await ecs.refused(operation, cluster="nowhere", **params)
        assert (refusal.code, refusal.message) == ("ClusterNotFoundException", "Cluster not found.")


async def test_a_capacity_provider_in_use_stays(main: Rig) -> None:
    empty: dict[str, Any] = {"capacityProviders": [], "defaultCapacityProviderStrategy": []}
    await main.call(
        "PutClusterCapacityProviders",
        cluster="main",
        capacityProviders=["FARGATE_SPOT"],
        defaultCapacityProviderStrategy=[],
    )
    params = run_params(capacityProviderStrategy=[item("FARGATE_SPOT")])
    del params["launchType"]
    task = (await main.call("RunTask", **params))["tasks"][0]
    assert task["capacityProviderName"] == "FARGATE_SPOT"
    refusal = await main.refused("PutClusterCapacityProviders", cluster="main", **empty)
    assert refusal.code == "ResourceInUseException"
    await main.call("StopTask", cluster="main", task=task["taskArn"])
    await main.call("PutClusterCapacityProviders", cluster="main", **empty)


async def test_its_end(main: Rig) -> None:
    task = await main.task()
    refusal = await main.refused("DeleteCluster", cluster="main")
    assert (refusal.code, refusal.message) == (
        "ClusterContainsTasksException",
        "The Cluster cannot be deleted while Tasks are active.",
    )
    await main.call("StopTask", cluster="main", task=task["taskArn"])
    service = await main.service(desiredCount=0)
    for status in ("ACTIVE", "DRAINING"):
        await main.write_service(service["serviceArn"], status=status)
        refusal = await main.refused("DeleteCluster", cluster="main")
        assert (refusal.code, refusal.message) == (
            "ClusterContainsServicesException",
            "The Cluster cannot be deleted while Services are active.",
        )
    await main.write_service(service["serviceArn"], status="INACTIVE")
    deleted = await main.call("DeleteCluster", cluster=BASE + "cluster/main")
    assert deleted["cluster"]["status"] == "INACTIVE"
    assert (await main.call("ListClusters"))["clusterArns"] == []
    [shown] = (await main.call("DescribeClusters", clusters=["main"]))["clusters"]
    assert shown["status"] == "INACTIVE"
    for operation, params in (
        ("RunTask", run_params()),
        ("ListTasks", {"cluster": "main"}),
        ("DescribeServices", {"cluster": "main", "services": ["web"]}),
    ):
        refusal = await main.refused(operation, **params)
        assert (refusal.code, refusal.message) == ("ClusterNotFoundException", "The referenced cluster was inactive.")
    assert (await main.cluster("main"))["status"] == "ACTIVE", "the name may be used again"
    refusal = await main.refused("DeleteCluster", cluster="nowhere")
    assert (refusal.code, refusal.message) == ("ClusterNotFoundException", "Cluster not found.")


async def test_lists_and_scopes(ecs: Rig) -> None:
    for name in ("c", "a", "b"):
        await ecs.cluster(name)
    await ecs.call("CreateCluster", clusterName="elsewhere", region="eu-west-1")
    await ecs.call("CreateCluster", clusterName="theirs", account="111111111111")
    first = await ecs.call("ListClusters", maxResults=2)
    assert first["clusterArns"] == [BASE + "cluster/a", BASE + "cluster/b"]
    second = await ecs.call("ListClusters", maxResults=2, nextToken=first["nextToken"])
    assert second == {"clusterArns": [BASE + "cluster/c"]}
    other = f"arn:aws:ecs:eu-west-1:{ACCOUNT}:cluster/elsewhere"
    assert (await ecs.call("DescribeClusters", clusters=[other]))["failures"] == [{"arn": other, "reason": "MISSING"}]
    assert (await ecs.refused("DeleteCluster", cluster=other)).code == "ClusterNotFoundException"
    assert len(ecs.store.all(CLUSTERS)) == 5


async def test_a_page_stays_right_when_clusters_come_and_go(ecs: Rig) -> None:
    for name in ("a", "b", "c", "d"):
        await ecs.cluster(name)
    first = await ecs.call("ListClusters", maxResults=2)
    await ecs.call("DeleteCluster", cluster="a")
    second = await ecs.call("ListClusters", maxResults=2, nextToken=first["nextToken"])
    assert second["clusterArns"] == [BASE + "cluster/c", BASE + "cluster/d"]


async def test_fargates_capacity_providers_are_there(ecs: Rig) -> None:
    shown = await ecs.call("DescribeCapacityProviders")
    assert [one["name"] for one in shown["capacityProviders"]] == ["FARGATE", "FARGATE_SPOT"]
    shown = await ecs.call("DescribeCapacityProviders", capacityProviders=["FARGATE", "mine"])
    assert shown["failures"] == [{"arn": BASE + "capacity-provider/mine", "reason": "MISSING"}]


async def test_there_are_no_container_instances(main: Rig) -> None:
    assert (await main.call("ListContainerInstances", cluster="main"))["containerInstanceArns"] == []
    shown = await main.call("DescribeContainerInstances", cluster="main", containerInstances=["0" * 32])
    assert shown["failures"][0]["reason"] == "MISSING"
    started = await main.call(
        "StartTask",
        cluster="main",
        taskDefinition="web",
        containerInstances=["0" * 32],
        networkConfiguration=network_configuration(),
    )
    assert started == {
        "tasks": [],
        "failures": [{"arn": BASE + "container-instance/main/" + "0" * 32, "reason": "MISSING"}],
    }


async def test_statistics_tell_what_things_run_on(main: Rig) -> None:
    await main.service("web")
    await main.task()
    [shown] = (await main.call("DescribeClusters", clusters=["main"], include=["STATISTICS"]))["clusters"]
    counted = {one["name"]: one["value"] for one in shown["statistics"] if one["value"] != "0"}
    assert counted == {"pendingFargateTasksCount": "1", "activeFargateServiceCount": "1"}
    await main.call("DeleteService", cluster="main", service="web", force=True)
    [shown] = (await main.call("DescribeClusters", clusters=["main"], include=["STATISTICS"]))["clusters"]
    assert {"name": "drainingFargateServiceCount", "value": "1"} in shown["statistics"]


async def test_only_what_is_asked_for_is_included(ecs: Rig) -> None:
    await ecs.cluster("main", tags=[{"key": "a", "value": "b"}], configuration={})
    [shown] = (await ecs.call("DescribeClusters", clusters=["main"], include=["TAGS"]))["clusters"]
    assert (shown["tags"], shown["settings"]) == ([{"key": "a", "value": "b"}], [])
    refusal = await ecs.refused("DescribeClusters", clusters=[f"c{number}" for number in range(101)])
    assert refusal.message == "Clusters can have at most 100 items."


async def test_new_clusters_have_the_insights_of_the_account(ecs: Rig) -> None:
    await ecs.call("PutAccountSettingDefault", name="containerInsights", value="enhanced")
    assert (await ecs.cluster("one"))["settings"] == [{"name": "containerInsights", "value": "enhanced"}]
    said = [{"name": "containerInsights", "value": "disabled"}]
    assert (await ecs.cluster("two", settings=said))["settings"] == said


async def test_account_settings(ecs: Rig) -> None:
    principal = f"arn:aws:iam::{ACCOUNT}:root"
    assert (await ecs.call("ListAccountSettings"))["settings"] == []
    effective = await ecs.call("ListAccountSettings", effectiveSettings=True, name="containerInsights")
    expected = {"name": "containerInsights", "value": "disabled", "principalArn": principal, "type": "user"}
    assert effective["settings"] == [expected]
    put = await ecs.call("PutAccountSettingDefault", name="containerInsights", value="enabled")
    assert put["setting"] == expected | {"value": "enabled"}
    assert (await ecs.call("ListAccountSettings"))["settings"] == [expected | {"value": "enabled"}]
    assert (await ecs.call("ListAccountSettings", region="eu-west-1"))["settings"] == []
    await ecs.call("DeleteAccountSetting", name="containerInsights")
    assert (await ecs.call("ListAccountSettings"))["settings"] == []
    effective = await ecs.call("ListAccountSettings", effectiveSettings=True)
    assert len(effective["settings"]) == 10
    rest = await ecs.call("ListAccountSettings", effectiveSettings=True, nextToken=effective["nextToken"])
    assert len(rest["settings"]) == 1


async def test_a_principals_own_setting_goes_before_the_accounts(ecs: Rig) -> None:
    user = f"arn:aws:iam::{ACCOUNT}:user/anna"
    await ecs.call("PutAccountSetting", name="containerInsights", value="enabled", principalArn=user)
    assert (await ecs.call("ListAccountSettings"))["settings"] == [], "not the account's"
    await ecs.call("PutAccountSettingDefault", name="awsvpcTrunking", value="enabled")
    own = (await ecs.call("ListAccountSettings", principalArn=user))["settings"]
    assert [(one["name"], one["principalArn"]) for one in own] == [("containerInsights", user)]
    found = await ecs.call("ListAccountSettings", principalArn=user, effectiveSettings=True)
    held = {one["name"]: one["value"] for one in found["settings"]}
    assert (held["containerInsights"], held["awsvpcTrunking"]) == ("enabled", "enabled")
    gone = await ecs.call("DeleteAccountSetting", name="containerInsights", principalArn=user)
    assert gone["setting"]["value"] == "disabled", "what holds now"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("containerInsights", "loud", "accepts enabled, disabled, enhanced, but was 'loud'"),
        ("fargateTaskRetirementWaitPeriod", "5", "accepts 0, 7, 14, but was '5'"),
        ("guardDutyActivate", "on", "is read-only"),
    ],
)
async def test_values_that_no_setting_has(ecs: Rig, name: str, value: str, said: str) -> None:
    assert said in (await ecs.refused("PutAccountSetting", name=name, value=value)).message


async def test_a_value_is_looked_for_under_a_name(ecs: Rig) -> None:
    assert "must also specify" in (await ecs.refused("ListAccountSettings", value="enabled")).message
