from moorage.domain.code_deployment import ENDED, CodeDeployment
from moorage.store.api import Table

CODE_DEPLOYMENTS: Table[CodeDeployment] = Table(
    "code_deployments",
    CodeDeployment,
    key=lambda r: r.id,
    indexes={
        "live": lambda r: True if r.status not in ENDED else None,
        "service": lambda r: r.service_arn if r.status not in ENDED else None,
        "scope": lambda r: (r.account, r.region),
    },
)
TABLES = (CODE_DEPLOYMENTS,)
