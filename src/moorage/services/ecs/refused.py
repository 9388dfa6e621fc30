"""Operations of the ECS model that nobody has built here: each has a reason, and each answers an error that names it.

With these, every operation of the official model has an entry (docs/services/ecs-operations.md lists them all).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from moorage.domain.errors import AwsError
from moorage.services.base import Handler, RequestContext

_GATEWAYS = "ECS gateways do not exist here; use a load balancer, or an Express service for one that is made for you"
_DAEMONS = (
    "daemons exist on ECS Managed Instances only, which do not exist here; use a service with the DAEMON scheduling "
    "strategy"
)
_NOT_MODELLED = frozenset(
    {
        "DeleteDaemonTaskDefinition",
        "DescribeDaemonTaskDefinition",
        "ListDaemonTaskDefinitions",
        "RegisterDaemonTaskDefinition",
    }
)
"""Operations whose model knows no UnsupportedFeatureException: clients could not tell it from a defect."""

REFUSED: Mapping[str, str] = {
    **dict.fromkeys(
        (
            "AssociateGatewayWithCluster",
            "CreateGateway",
            "DeleteGateway",
            "DescribeGateway",
            "DescribeGatewayResources",
            "DescribeGatewayRoute",
            "DisassociateGatewayFromCluster",
            "ListGatewayClusterAssociations",
            "ListGatewayRoutes",
            "ListGateways",
            "UpdateGateway",
        ),
        _GATEWAYS,
    ),
    **dict.fromkeys(
        (
            "CreateDaemon",
            "DeleteDaemon",
            "DeleteDaemonTaskDefinition",
            "DescribeDaemon",
            "DescribeDaemonDeployments",
            "DescribeDaemonRevisions",
            "DescribeDaemonTaskDefinition",
            "ListDaemonDeployments",
            "ListDaemonTaskDefinitions",
            "ListDaemons",
            "RegisterDaemonTaskDefinition",
            "UpdateDaemon",
        ),
        _DAEMONS,
    ),
}
"""operation → why"""


def refusals() -> dict[str, Handler]:
    """A handler for each of them, which refuses."""
    return {name: _refusal(name, why) for name, why in REFUSED.items()}


def _refusal(name: str, why: str) -> Handler:
    code = "ClientException" if name in _NOT_MODELLED else "UnsupportedFeatureException"

    async def refuse(_ctx: RequestContext, _request: dict[str, Any]) -> NoReturn:
        raise AwsError(code, f"Moorage does not implement ecs:{name} yet: {why}.")

    return refuse
