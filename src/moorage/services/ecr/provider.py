"""Amazon ECR. Source: semantics around §1.

The operations are grouped by what they are about; each group is a class that knows only the store and the registry.
"""

from __future__ import annotations

from moorage.services.ecr.images import ImageOperations
from moorage.services.ecr.layers import LayerOperations
from moorage.services.ecr.lifecycle import LifecycleOperations
from moorage.services.ecr.repositories import RepositoryOperations


class EcrProvider(RepositoryOperations, ImageOperations, LayerOperations, LifecycleOperations):
    """`EcrProvider(store, clock, ids, registry)`."""
