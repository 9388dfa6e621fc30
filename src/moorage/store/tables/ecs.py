from moorage.domain.account_setting import AccountSetting
from moorage.domain.capacity_provider import CapacityProvider, HostGroup, ScalingNote, SpotShortage
from moorage.domain.client_token import ClientToken
from moorage.domain.cluster import Cluster
from moorage.domain.container_instance import ContainerInstance
from moorage.domain.express import ExpressService
from moorage.domain.service import Revision, Service, ServiceDeployment, ServiceEvent
from moorage.domain.task import Task
from moorage.domain.task_definition import Family, TaskDefinition
from moorage.domain.task_set import TaskSet
from moorage.store.api import Table

CLUSTERS: Table[Cluster] = Table(
    "clusters", Cluster, key=lambda r: r.arn, indexes={"scope": lambda r: (r.account, r.region)}
)
FAMILIES: Table[Family] = Table(
    "families",
    Family,
    key=lambda r: f"{r.account}/{r.region}/{r.name}",
    indexes={"scope": lambda r: (r.account, r.region)},
)
TASK_DEFINITIONS: Table[TaskDefinition] = Table(
    "task_definitions",
    TaskDefinition,
    key=lambda r: r.arn,
    indexes={
        "family": lambda r: (r.account, r.region, r.family),
        "scope": lambda r: (r.account, r.region),
        "status": lambda r: (r.account, r.region, r.status),
        "deleting": lambda r: True if r.status == "DELETE_IN_PROGRESS" else None,
    },
)
# A running task is one that should run; "stopped" are those the API lists under desiredStatus=STOPPED.
TASKS: Table[Task] = Table(
    "tasks",
    Task,
    key=lambda r: r.arn,
    indexes={
        "cluster": lambda r: (r.cluster_arn, r.desired_status),
        "cluster_status": lambda r: (r.cluster_arn, r.last_status),
        "service": lambda r: r.service_arn if r.last_status != "STOPPED" else None,
        "service_unaccounted": lambda r: r.service_arn if r.desired_status == "STOPPED" and not r.accounted else None,
        "service_all": lambda r: r.service_arn,
        "family": lambda r: (r.cluster_arn, r.task_definition_arn.rsplit("/", 1)[-1].rsplit(":", 1)[0]),
        "started_by": lambda r: (r.cluster_arn, r.started_by) if r.started_by else None,
        "definition": lambda r: r.task_definition_arn,
        "container_instance": lambda r: (
            r.instance.arn if r.instance is not None and r.last_status != "STOPPED" else None
        ),
        "waiting": lambda r: (
            (r.account, r.region, r.capacity_provider)
            if r.waiting is not None and r.desired_status == "RUNNING"
            else None
        ),
        "live": lambda r: True if r.last_status != "STOPPED" else None,
        "stopped": lambda r: True if r.last_status == "STOPPED" else None,
    },
)
SERVICES: Table[Service] = Table(
    "services",
    Service,
    key=lambda r: r.arn,
    indexes={
        "cluster": lambda r: (r.cluster_arn, r.status),
        "name": lambda r: r.name,
        "scope": lambda r: (r.account, r.region),
        "deleted": lambda r: True if r.status == "INACTIVE" else None,
        "daemons": lambda r: r.cluster_arn if r.scheduling_strategy == "DAEMON" and r.status == "ACTIVE" else None,
    },
)
REVISIONS: Table[Revision] = Table(
    "service_revisions",
    Revision,
    key=lambda r: r.arn,
    indexes={"service": lambda r: r.service_arn, "task_definition": lambda r: r.task_definition_arn},
)
SERVICE_DEPLOYMENTS: Table[ServiceDeployment] = Table(
    "service_deployments", ServiceDeployment, key=lambda r: r.arn, indexes={"service": lambda r: r.service_arn}
)
# The revision of a task set is in REVISIONS, under the task set's own ARN.
TASK_SETS: Table[TaskSet] = Table(
    "task_sets", TaskSet, key=lambda r: r.arn, indexes={"service": lambda r: r.service_arn}
)
SERVICE_EVENTS: Table[ServiceEvent] = Table(
    "service_events", ServiceEvent, key=lambda r: r.id, indexes={"service": lambda r: r.service_arn}
)
EXPRESS_SERVICES: Table[ExpressService] = Table(
    "express_services",
    ExpressService,
    key=lambda r: r.arn,
    indexes={
        "balancer": lambda r: (r.account, r.region, r.balancer_name) if r.status != "INACTIVE" else None,
        "vpc": lambda r: (r.account, r.region, r.vpc_id, r.access_type) if r.status != "INACTIVE" else None,
    },
)
CONTAINER_INSTANCES: Table[ContainerInstance] = Table(
    "container_instances",
    ContainerInstance,
    key=lambda r: r.arn,
    indexes={
        "cluster": lambda r: (r.cluster_arn, r.status),
        "ec2_instance": lambda r: (r.account, r.region, r.ec2_instance_id) if r.status != "INACTIVE" else None,
        "address": lambda r: r.address,
        "inactive": lambda r: True if r.status == "INACTIVE" else None,
        "group": lambda r: r.group_arn if r.status != "INACTIVE" else None,
        "machine": lambda r: (r.account, r.region, r.ec2_instance_id),
    },
)
CAPACITY_PROVIDERS: Table[CapacityProvider] = Table(
    "capacity_providers",
    CapacityProvider,
    key=lambda r: r.arn,
    indexes={"scope": lambda r: (r.account, r.region), "group": lambda r: r.group_arn},
)
HOST_GROUPS: Table[HostGroup] = Table(
    "host_groups", HostGroup, key=lambda r: r.arn, indexes={"scope": lambda r: (r.account, r.region)}
)
SCALING_NOTES: Table[ScalingNote] = Table("scaling_notes", ScalingNote, key=lambda r: r.provider_arn)
SPOT_SHORTAGES: Table[SpotShortage] = Table("spot_shortages", SpotShortage, key=lambda r: f"{r.account}/{r.region}")
CLIENT_TOKENS: Table[ClientToken] = Table("client_tokens", ClientToken, key=lambda r: r.key)
ACCOUNT_SETTINGS: Table[AccountSetting] = Table(
    "account_settings",
    AccountSetting,
    key=lambda r: f"{r.account}/{r.region}/{r.name}" + (f"/{r.principal}" if r.principal else ""),
    indexes={"scope": lambda r: (r.account, r.region)},
)
TABLES = (
    ACCOUNT_SETTINGS,
    CAPACITY_PROVIDERS,
    CLIENT_TOKENS,
    CLUSTERS,
    CONTAINER_INSTANCES,
    EXPRESS_SERVICES,
    FAMILIES,
    HOST_GROUPS,
    SCALING_NOTES,
    SPOT_SHORTAGES,
    TASK_DEFINITIONS,
    TASKS,
    TASK_SETS,
    SERVICES,
    REVISIONS,
    SERVICE_DEPLOYMENTS,
    SERVICE_EVENTS,
)
