"""Amazon ECS: `EcsProvider` answers the API; what keeps running is the control plane's (`moorage.control`)."""

from moorage.services.ecs.provider import EcsProvider

__all__ = ["EcsProvider"]
