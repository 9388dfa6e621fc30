"""How tasks end, in ECS's words, with real containers: many tasks at once (semantics ecs-tasks §3–§5)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from support.images import build_images

from .server import REGION, Server
from .waiting import until

pytestmark = pytest.mark.docker

CLUSTER = "endings"
ROLE = "arn:aws:iam::000000000000:role/execution"
SECRET = f"arn:aws:secretsmanager:{REGION}:000000000000:secret:none-AbCdEf"
LOGS = {"awslogs-group": "none", "awslogs-region": REGION, "awslogs-stream-prefix": "p"}
STAYS = "trap 'exit 0' TERM; while true; do usleep 100000; done"
DEAF = "trap '' TERM; while true; do usleep 100000; done"
NOT_PULLED = (
    "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref "
    "docker.io/library/Upper:1: invalid reference format: repository name must be lowercase"
)
NOT_STARTED = "Task failed to start"
EXITED = "Essential container in task exited"

# family → (container members …, stopCode, stoppedReason, {container: (exit code, how its reason begins)})
Row = tuple[list[dict[str, Any]], str, str, dict[str, tuple[int | None, str | None]]]
ROWS: dict[str, Row] = {
    "exit-3": ([{"run": "exit 3"}], "EssentialContainerExited", EXITED, {"c0": (3, None)}),
    "sidecar": (
        [{"run": "usleep 500000"}, {"run": DEAF, "essential": False, "stopTimeout": 2}],
        "EssentialContainerExited", EXITED, {"c0": (0, None), "c1": (137, None)},
    ),
    "no-image": ([{"image": "Upper:1"}], "TaskFailedToStart", NOT_PULLED, {"c0": (None, NOT_PULLED)}),
    "no-program": (
        [{"entryPoint": ["/none"]}], "TaskFailedToStart", NOT_STARTED,
        {"c0": (None, "CannotStartContainerError: Error response from daemon: ")},
    ),
    "no-user": (
        [{"user": "nobody-here"}], "TaskFailedToStart", NOT_STARTED,
        {"c0": (None, "CannotStartContainerError: Error response from daemon: unable to find user nobody-here")},
    ),
    "bad-path": (
        [{"workingDirectory": "here"}], "TaskFailedToStart", NOT_STARTED,
        {"c0": (None, "CannotCreateContainerError: Error response from daemon: the working directory 'here' is invalid")},
    ),
    "no-secret": (
        [{"secrets": [{"name": "A", "valueFrom": SECRET}]}], "TaskFailedToStart",
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable "
        f"to retrieve secret from asm: service call has been retried 1 time(s): failed to fetch secret {SECRET} from "
        "secrets manager: ResourceNotFoundException: Secrets Manager can't find the specified secret.",
        {"c0": (None, None)},
    ),
    "no-parameter": (
        [{"secrets": [{"name": "A", "valueFrom": "/none"}]}], "TaskFailedToStart",
        "ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable "
        "to retrieve secrets from ssm: service call has been retried 1 time(s): invalid ssm parameters: /none",
        {"c0": (None, None)},
    ),
    "no-log-group": (
        [{"logConfiguration": {"logDriver": "awslogs", "options": LOGS}}], "TaskFailedToStart",
        "ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to "
        "create Cloudwatch log stream: ResourceNotFoundException: The specified log group does not exist. : exit status 1",
        {"c0": (None, None)},
    ),
    "no-success": (
        [{"run": "exit 1", "essential": False}, {"dependsOn": [{"containerName": "c0", "condition": "SUCCESS"}]}],
        "TaskFailedToStart", "TaskDependencyError: container c1 waits for c0 to be SUCCESS, but it exited with 1",
        {"c0": (1, None), "c1": (None, None)},
    ),
    "complete": (
        [{"run": "exit 1", "essential": False}, {"dependsOn": [{"containerName": "c0", "condition": "COMPLETE"}]}],
        "EssentialContainerExited", EXITED, {"c0": (1, None), "c1": (0, None)},
    ),
    "too-late": (
        [
            {"run": STAYS, "essential": False, "startTimeout": 2},
            {"dependsOn": [{"containerName": "c0", "condition": "COMPLETE"}]},
        ],
        "TaskFailedToStart", "TaskDependencyError: container c1 waits for c0 to be COMPLETE, but its startTimeout elapsed",
        {"c0": (0, None), "c1": (None, None)},
    ),
}  # fmt: skip


@pytest.fixture
def ecs(server: Server) -> Iterator[Any]:
    found = server.client("ecs")
    found.create_cluster(clusterName=CLUSTER)
    yield found
    for task in found.list_tasks(cluster=CLUSTER)["taskArns"]:
        found.stop_task(cluster=CLUSTER, task=task)


def started(ecs: Any, server: Server, family: str, image: str, containers: list[dict[str, Any]]) -> str:
    definitions = [
        {"name": f"c{number}", "image": image, "entryPoint": ["sh", "-c"], "command": [members.get("run", "exit 0")]}
        | {name: value for name, value in members.items() if name != "run"}
        for number, members in enumerate(containers)
    ]
    ecs.register_task_definition(
        family=family, networkMode="awsvpc", requiresCompatibilities=["FARGATE"], cpu="256", memory="512",
        executionRoleArn=ROLE, containerDefinitions=definitions,
    )  # fmt: skip
    network = {"awsvpcConfiguration": {"subnets": server.network[1]}}
    answer = ecs.run_task(cluster=CLUSTER, taskDefinition=family, launchType="FARGATE", networkConfiguration=network)
    return str(answer["tasks"][0]["taskArn"])


def test_every_ending_says_why(ecs: Any, server: Server) -> None:
    image = build_images()["busybox"]
    arns = {family: started(ecs, server, family, image, row[0]) for family, row in ROWS.items()}

    def all_stopped() -> dict[str, Any] | None:
        tasks = ecs.describe_tasks(cluster=CLUSTER, tasks=list(arns.values()))["tasks"]
        return {task["taskArn"]: task for task in tasks} if {t["lastStatus"] for t in tasks} == {"STOPPED"} else None

    stopped: dict[str, Any] = until(all_stopped, "all tasks are STOPPED", seconds=90)
    for family, (_, code, reason, containers) in ROWS.items():
        task = stopped[arns[family]]
        assert (family, task["stopCode"], task["stoppedReason"]) == (family, code, reason)
        for container in task["containers"]:
            exit_code, begins = containers[container["name"]]
            assert (family, container["name"], container.get("exitCode")) == (family, container["name"], exit_code)
            assert (container.get("reason") or "").startswith(begins or ""), (family, container)
            assert begins is not None or "reason" not in container, (family, container)
    for family in ("no-image", "no-secret"):
        assert not {"pullStartedAt", "pullStoppedAt", "startedAt"} & set(stopped[arns[family]]), family
