from moorage.domain.load_balancer import Listener, LoadBalancer, LoadBalancerNode, Rule, TargetGroupUse
from moorage.domain.target_group import Target, TargetGroup, TargetHealth
from moorage.domain.trust_store import TrustStore
from moorage.store.api import Table

LOAD_BALANCERS: Table[LoadBalancer] = Table(
    "load_balancers",
    LoadBalancer,
    key=lambda r: r.arn,
    indexes={
        "scope": lambda r: (r.account, r.region),
        "name": lambda r: (r.account, r.region, r.name),
        "loopback": lambda r: r.loopback,
    },
)
LISTENERS: Table[Listener] = Table(
    "listeners",
    Listener,
    key=lambda r: r.arn,
    indexes={
        "port": lambda r: r.port,
        "load_balancer": lambda r: r.load_balancer_arn,
        "trust_store": lambda r: r.mutual.trust_store_arn if r.mutual is not None else None,
    },
)
LOAD_BALANCER_NODES: Table[LoadBalancerNode] = Table(
    "load_balancer_nodes",
    LoadBalancerNode,
    key=lambda r: r.key,
    indexes={"load_balancer": lambda r: r.load_balancer_arn, "address": lambda r: r.address},
)
TRUST_STORES: Table[TrustStore] = Table(
    "trust_stores",
    TrustStore,
    key=lambda r: r.arn,
    indexes={"scope": lambda r: (r.account, r.region), "name": lambda r: (r.account, r.region, r.name)},
)
RULES: Table[Rule] = Table("rules", Rule, key=lambda r: r.arn, indexes={"listener": lambda r: r.listener_arn})
TARGET_GROUPS: Table[TargetGroup] = Table(
    "target_groups",
    TargetGroup,
    key=lambda r: r.arn,
    indexes={"scope": lambda r: (r.account, r.region), "name": lambda r: (r.account, r.region, r.name)},
)
TARGETS: Table[Target] = Table(
    "targets", Target, key=lambda r: r.key, indexes={"target_group": lambda r: r.target_group_arn, "id": lambda r: r.id}
)
TARGET_HEALTH: Table[TargetHealth] = Table(
    "target_health", TargetHealth, key=lambda r: r.key, indexes={"target_group": lambda r: r.target_group_arn}
)
# Derived from LISTENERS and RULES: write those two only through `store/elbv2_queries`, which keeps this in step.
TARGET_GROUP_USES: Table[TargetGroupUse] = Table(
    "target_group_uses",
    TargetGroupUse,
    key=lambda r: r.key,
    indexes={
        "target_group": lambda r: r.target_group_arn,
        "user": lambda r: r.user_arn,
        "load_balancer": lambda r: r.load_balancer_arn,
    },
)
TABLES = (
    LOAD_BALANCERS,
    LISTENERS,
    RULES,
    TARGET_GROUPS,
    TARGETS,
    TARGET_HEALTH,
    TARGET_GROUP_USES,
    TRUST_STORES,
    LOAD_BALANCER_NODES,
)
