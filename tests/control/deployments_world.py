"""A service behind two target groups in the simulated world: production on port 80, test traffic on port 8080."""

from __future__ import annotations

from typing import Any

from moorage.decide.rollout.hooks import HookAnswer
from moorage.engine.simulated_container import SimulatedImage
from moorage.simulation.calls import CLUSTER, Front
from moorage.simulation.world import World
from moorage.store.tables.ecs import REVISIONS, SERVICE_DEPLOYMENTS
from moorage.store.tables.elbv2 import LISTENERS

ROLE = "arn:aws:iam::000000000000:role/ecsInfrastructureRole"
FUNCTION = "arn:aws:lambda:us-east-1:000000000000:function:check"


class Functions:
    """Answers in turn, the last one for ever; remembers what it was asked."""

    def __init__(self, *answers: HookAnswer) -> None:
        self.answers = list(answers) or [HookAnswer("SUCCEEDED")]
        self.events: list[dict[str, Any]] = []

    async def call(self, request: Any) -> HookAnswer:
        self.events.append(request.event)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Street:
    """`blue` is the target group that the service names, `green` its alternate."""

    def __init__(self, world: World, front: Front, alternate: str, test_listener: str) -> None:
        self.world = world
        self.front = front
        self.blue, self.green = front.target_group, alternate
        self.production = self.rule(front.listener)
        self.test = self.rule(test_listener)
        self.test_listener = test_listener

    @classmethod
    async def make(cls, world: World) -> Street:
        await world.create_cluster()
        await world.register("web")
        front = await world.create_load_balancer()
        alternate = await world.create_target_group("web-2")
        listener = await world.create_listener(front.load_balancer, alternate, port=8080)
        return cls(world, front, alternate, listener)

    def rule(self, listener: str) -> str:
        return str(self.world.store.get(LISTENERS, listener).default_rule_arn)

    def load_balancers(self, **advanced: Any) -> list[dict[str, Any]]:
        configuration = {
            "alternateTargetGroupArn": self.green,
            "productionListenerRule": self.production,
            "testListenerRule": self.test,
            "roleArn": ROLE,
        } | advanced
        return [
            {
                "targetGroupArn": self.blue,
                "containerName": "app",
                "containerPort": 80,
                "advancedConfiguration": {k: v for k, v in configuration.items() if v is not None},
            }
        ]

    async def create(self, strategy: str = "BLUE_GREEN", *, desired: int = 2, **configuration: Any) -> None:
        """The service, with its first deployment completed."""
        await self.world.ecs(
            "CreateService",
            cluster=CLUSTER,
            serviceName="web",
            taskDefinition="web",
            desiredCount=desired,
            launchType="FARGATE",
            networkConfiguration=self.world.network_configuration(),
            loadBalancers=self.load_balancers(),
            deploymentConfiguration={"strategy": strategy, "bakeTimeInMinutes": 5} | configuration,
        )
        await self.world.stable()

    async def deploy(self, image: SimulatedImage | None = None, name: str = "next") -> str:
        """Begins the deployment of another image; the ARN of the service deployment."""
        self.world.engine.images[name] = image or SimulatedImage()
        await self.world.update_service(taskDefinition=await self.world.register("web", image=name))
        return self.world.service().deployments[0].service_deployment_arn

    def run_functions(self, functions: Functions) -> None:
        """From now on somebody runs the functions of lifecycle hooks."""
        assert self.world.process is not None
        self.world.process.plane.services._hooks._caller = functions

    def weights(self, listener: str | None = None) -> dict[str, int]:
        [action] = self.world.store.get(LISTENERS, listener or self.front.listener).default_actions
        return {group.arn: group.weight for group in action.target_groups}

    def share(self) -> tuple[int, int]:
        """Production weights of (`blue`, `green`)."""
        found = self.weights()
        return found.get(self.blue, 0), found.get(self.green, 0)

    def record(self, arn: str) -> Any:
        return self.world.store.get(SERVICE_DEPLOYMENTS, arn)

    async def stage(self, stage: str, *, within: float = 600.0) -> None:
        def there() -> bool:
            shift = self.world.service().shift
            return shift is not None and shift.stage == stage and shift.entered

        await self.world.until(there, within=within, what=f"the stage {stage}")

    async def ends(self, arn: str, status: str, *, within: float = 2000.0) -> None:
        await self.world.until(lambda: self.record(arn).status == status, within=within, what=f"the end as {status}")
        await self.world.stable()

    async def describe(self, arn: str) -> dict[str, Any]:
        answer = await self.world.ecs("DescribeServiceDeployments", serviceDeploymentArns=[arn])
        found: dict[str, Any] = answer["serviceDeployments"][0]
        return found

    def target_group_of(self, deployment: int = 0) -> str:
        revision = self.world.store.get(REVISIONS, self.world.service().deployments[deployment].revision_arn)
        return str(revision.registers_in[0].target_group_arn)
