"""What only the ECS agent calls (AWS API reference: "not intended for use outside of the agent").

Moorage needs no agent: the engine's own events say what containers do, and observed state has one writer. So an agent's
report is checked, acknowledged and changes nothing; the address that it is told to poll is this installation's own, never
AWS's.
"""

from __future__ import annotations

from typing import Any

from moorage.domain.errors import AwsError
from moorage.services.base import Provider, RequestContext, operation
from moorage.services.ecs import resolve
from moorage.store.api import StoreApi

ACKNOWLEDGED = {"acknowledgment": "ACK"}


class AgentOperations(Provider):
    """`_endpoint`: where this installation answers, without a slash at the end."""

    _store: StoreApi
    _endpoint: str

    @operation("DiscoverPollEndpoint")
    async def discover_poll_endpoint(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        address = f"{self._endpoint}/"
        return {"endpoint": address, "telemetryEndpoint": address, "serviceConnectEndpoint": address}

    @operation("SubmitTaskStateChange")
    async def submit_task_state_change(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        return self._acknowledge(ctx, request)

    @operation("SubmitContainerStateChange")
    async def submit_container_state_change(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        return self._acknowledge(ctx, request)

    @operation("SubmitAttachmentStateChanges")
    async def submit_attachment_state_changes(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        return self._acknowledge(ctx, request)

    def _acknowledge(self, ctx: RequestContext, request: dict[str, Any]) -> dict[str, Any]:
        cluster = resolve.cluster(self._store, ctx.scope, request.get("cluster"))
        task = request.get("task")
        if task and resolve.task(self._store, ctx.scope, cluster, task) is None:
            raise AwsError("InvalidParameterException", "The referenced task was not found.")
        return ACKNOWLEDGED
