from moorage.domain.network import NetworkInterface, Subnet
from moorage.store.api import Table

# Subnets in use, copied from EC2 when first used, so that tasks start without asking EC2 again.
SUBNETS: Table[Subnet] = Table("subnets", Subnet, key=lambda s: f"{s.account}/{s.region}/{s.subnet_id}")
NETWORK_INTERFACES: Table[NetworkInterface] = Table(
    "network_interfaces",
    NetworkInterface,
    key=lambda n: f"{n.account}/{n.region}/{n.interface_id}",
    indexes={
        "subnet": lambda n: (n.account, n.region, n.subnet_id),
        "owner": lambda n: n.owner_arn,
        "address": lambda n: n.ipv4,
    },
)
TABLES = (SUBNETS, NETWORK_INTERFACES)
