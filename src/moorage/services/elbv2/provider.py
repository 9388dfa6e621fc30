"""The Elastic Load Balancing v2 API: every operation lives in the file of its noun."""

from __future__ import annotations

from moorage.domain.clock import Clock, Ids
from moorage.services.elbv2.capacity import Capacity
from moorage.services.elbv2.listeners import Listeners
from moorage.services.elbv2.load_balancers import LoadBalancers
from moorage.services.elbv2.rules import Rules
from moorage.services.elbv2.tags import Tags
from moorage.services.elbv2.target_groups import TargetGroups
from moorage.services.elbv2.targets import AnomalyLookup, InstanceLookup, Targets
from moorage.services.elbv2.trust_stores import Downloads, TrustStores
from moorage.services.lookups import BucketLookup, CertificateLookup, NetworkLookup, ObjectLookup, VpcLookup
from moorage.store.api import StoreApi


class ElbV2Provider(LoadBalancers, Capacity, TargetGroups, Listeners, Rules, Targets, Tags, TrustStores):
    """`instances` finds the addresses of `instance` targets; without it, those cannot be registered by the API.
    `certificates` finds those of HTTPS listeners; without it, there can be none. `objects` reads the contents of trust
    stores from S3, `downloads` gives them out. `anomalies` knows which targets are passed over. `vpcs` and `buckets` are
    asked whether load balancers, targets and logs may be where they are wanted; without them, everything may."""

    def __init__(
        self,
        store: StoreApi,
        clock: Clock,
        ids: Ids,
        networks: NetworkLookup,
        instances: InstanceLookup | None = None,
        certificates: CertificateLookup | None = None,
        objects: ObjectLookup | None = None,
        downloads: Downloads | None = None,
        anomalies: AnomalyLookup | None = None,
        vpcs: VpcLookup | None = None,
        buckets: BucketLookup | None = None,
    ) -> None:
        super().__init__(store, clock, ids, networks, certificates)
        self.instances = instances
        self.objects = objects
        self.downloads = downloads
        self.anomalies = anomalies
        self.vpcs = vpcs
        self.buckets = buckets
