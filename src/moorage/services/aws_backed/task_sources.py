"""What tasks get from the embedded AWS when they start: secrets, parameters, file systems (semantics ecs-tasks §18, §19).

`control/ports.py` says what is asked; the answers are those of moto's SSM, Secrets Manager and EFS, with their errors.
"""

from __future__ import annotations

from typing import Any

import msgspec

from moorage.domain.errors import AwsError
from moorage.domain.scope import Scope
from moorage.services.aws_backed.forward import AwsBacked


class SecretReference(msgspec.Struct, frozen=True):
    """`valueFrom`, taken apart. `service`: ssm or secretsmanager; the rest only of secrets."""

    service: str
    id: str
    region: str | None = None
    json_key: str = ""
    stage: str = ""
    version: str = ""


def read_reference(value_from: str) -> SecretReference:
    """`arn:…:secret:name`, `arn:…:secret:name:json-key:version-stage:version-id` (empty fields keep their colons),
    `arn:…:parameter/name`, or the bare name of a parameter. Raises AwsError for an ARN with another number of fields."""
    parts = value_from.split(":")
    if parts[0] != "arn" or len(parts) < 6:
        return SecretReference("ssm", value_from)
    region = parts[3] or None
    if parts[2] == "secretsmanager":
        if len(parts) not in (7, 10) or not parts[6]:
            raise AwsError(
                "ValidationException",
                f"unexpected ARN format with parameters when trying to retrieve ASM secret: {value_from}",
            )
        key, stage, version = parts[7:] or ("", "", "")
        return SecretReference("secretsmanager", ":".join(parts[:7]), region, key, stage, version)
    return SecretReference("ssm", ":".join(parts[5:]).removeprefix("parameter"), region)


class MotoSecrets:
    def __init__(self, backed: AwsBacked) -> None:
        self._backed = backed

    async def value(self, scope: Scope, value_from: str) -> str:
        reference = read_reference(value_from)
        scope = Scope(scope.account, reference.region or scope.region)
        if reference.service == "secretsmanager":
            return await self._secret(scope, reference)
        try:
            return await self._parameter(scope, reference.id)
        except AwsError as error:
            # The ARN of the parameter "x" ends in parameter/x, that of "/x" does too.
            if error.code != "ParameterNotFound" or reference.region is None or reference.id.count("/") != 1:
                raise
            return await self._parameter(scope, reference.id.removeprefix("/"))

    async def _parameter(self, scope: Scope, name: str) -> str:
        answer = await self._backed.call(scope, "ssm", "GetParameter", {"Name": name, "WithDecryption": True})
        return str(answer["Parameter"]["Value"])

    async def _secret(self, scope: Scope, reference: SecretReference) -> str:
        request: dict[str, Any] = {"SecretId": reference.id}
        if reference.stage:
            request["VersionStage"] = reference.stage
        if reference.version:
            request["VersionId"] = reference.version
        answer = await self._backed.call(scope, "secretsmanager", "GetSecretValue", request)
        text = answer.get("SecretString")
        if text is None:
            raise AwsError("ResourceNotFoundException", "retrieved secret from Secrets Manager has no SecretString")
        return _field(str(text), reference.json_key) if reference.json_key else str(text)


def _field(text: str, key: str) -> str:
    """A member of a JSON document; what is no string is written as JSON."""
    try:
        document = msgspec.json.decode(text)
    except msgspec.DecodeError:
        document = None
    if not isinstance(document, dict) or key not in document:
        raise AwsError(
            "ResourceNotFoundException", f"retrieved secret from Secrets Manager did not contain json key {key}"
        )
    found = document[key]
    return found if isinstance(found, str) else msgspec.json.encode(found).decode()


class MotoFileSystems:
    def __init__(self, backed: AwsBacked) -> None:
        self._backed = backed

    async def root(self, scope: Scope, file_system_id: str, access_point_id: str | None) -> str:
        """Where in the file system an access point (None: the whole of it) begins."""
        await self._backed.call(scope, "efs", "DescribeFileSystems", {"FileSystemId": file_system_id})
        if access_point_id is None:
            return "/"
        answer = await self._backed.call(scope, "efs", "DescribeAccessPoints", {"AccessPointId": access_point_id})
        found = next(iter(answer.get("AccessPoints") or ()), None)
        if found is None or found.get("FileSystemId") != file_system_id:
            raise AwsError("AccessPointNotFound", f"Access point {access_point_id} of {file_system_id} does not exist.")
        return str((found.get("RootDirectory") or {}).get("Path") or "/")
