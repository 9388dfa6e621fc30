"""The official service models, loaded when they are first needed and not before.

Decides which model describes a service and finds services by what a request carries (signing name, target prefix, query
version). Must not read the bodies of requests, and must not keep documentation texts: they are most of a model's size.
"""

from __future__ import annotations

import functools
import gzip
import json
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from moorage.wire.model_fixes import fix
from moorage.wire.shapes import Shape, resolve

if TYPE_CHECKING:
    from botocore.model import OperationModel, ServiceModel

# Services that share a signing name and whose requests cannot be told apart otherwise: the one people mean.
PREFERRED = ("ecs", "elbv2", "rds", "iam", "lambda", "s3", "apigateway", "ses", "events", "cloudwatch", "dynamodb")

_HEAD_BYTES = 4096


class Operation:
    """One operation of a service. `codecs` is where protocols keep what they have compiled for it."""

    __slots__ = ("codecs", "http", "input", "name", "output", "service")

    def __init__(self, service: Service, name: str, described: dict[str, Any]) -> None:
        shapes = service.description["shapes"]
        self.service = service
        self.name = name
        self.http: dict[str, Any] = described.get("http", {})
        self.input: Shape = resolve(described["input"], shapes) if "input" in described else None
        self.output: Shape = resolve(described["output"], shapes) if "output" in described else None
        self.codecs: dict[str, Any] = {}

    @property
    def model(self) -> OperationModel:
        """botocore's view of the operation, for its serializers and parsers."""
        return self.service.model.operation_model(self.name)


class Service:
    """A service model with its operations, errors and whatever protocols compile from it (`codecs`)."""

    def __init__(self, name: str, description: dict[str, Any]) -> None:
        self.name = name
        self.description = description
        self.metadata: dict[str, Any] = dict(description["metadata"])
        self.protocol: str = self.metadata["protocol"]
        self.protocols: tuple[str, ...] = tuple(self.metadata.get("protocols") or (self.protocol,))
        self.query_compatible = "awsQueryCompatible" in self.metadata
        self.codecs: dict[str, Any] = {}
        self._operations: dict[str, Operation] = {}

    @functools.cached_property
    def model(self) -> ServiceModel:
        """botocore's view of the service, for its serializers and parsers (importing botocore takes 0.1 s)."""
        from botocore.model import ServiceModel

        return ServiceModel(self.description, self.name)

    @property
    def operation_names(self) -> frozenset[str]:
        return frozenset(self.description["operations"])

    def operation(self, name: str) -> Operation | None:
        """The operation, or None when the model has no such operation."""
        found = self._operations.get(name)
        if found is None and name in self.description["operations"]:
            found = self._operations[name] = Operation(self, name, self.description["operations"][name])
        return found

    @functools.cached_property
    def _errors(self) -> dict[str, Shape]:
        found: dict[str, Shape] = {}
        shapes = self.description["shapes"]
        for name, described in shapes.items():
            if described.get("exception"):
                shape = resolve({"shape": name}, shapes)
                found.setdefault(shape.name, shape)
                found.setdefault(shape.error_code, shape)
        return found

    def error_shape(self, code: str) -> Shape:
        """The modelled error named by its shape ("ClusterNotFoundException") or its wire code ("LoadBalancerNotFound");
        None when there is none."""
        return self._errors.get(code)


@functools.cache
def roots() -> tuple[Path, ...]:
    """Where models lie: the user's own (as for the AWS command line), then botocore's."""
    found = find_spec("botocore")
    assert found is not None
    assert found.origin is not None
    return (Path.home() / ".aws" / "models", Path(found.origin).parent / "data")


@functools.cache
def known_services() -> frozenset[str]:
    """The name of every service that has a model."""
    return frozenset(name for root in roots() if root.is_dir() for name in _folders(root) if _model_file(root / name))


def _folders(root: Path) -> list[str]:
    return [entry.name for entry in root.iterdir() if entry.is_dir()]


def _model_file(folder: Path) -> Path | None:
    """The model of a service's latest API version."""
    for version in sorted(_folders(folder), reverse=True):
        for name in ("service-2.json.gz", "service-2.json"):
            if (folder / version / name).is_file():
                return folder / version / name
    return None


def _file_of(name: str) -> Path | None:
    if not name or "/" in name or name.startswith("."):
        return None
    return next((file for root in roots() if (root / name).is_dir() and (file := _model_file(root / name))), None)


@functools.cache
def service(name: str) -> Service:
    """The service by botocore's name ("elbv2"). Raises KeyError for a name that botocore does not know."""
    file = _file_of(name)
    if file is None:
        raise KeyError(name)
    return Service(name, fix(name, _load(file)))


def _load(file: Path) -> dict[str, Any]:
    data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    description: dict[str, Any] = _without_documentation(msgspec.json.decode(data))
    return description


def _without_documentation(node: Any) -> Any:
    """Drops the texts, which are most of a model's size."""
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            if isinstance(item.get("documentation"), str):
                del item["documentation"]
            stack.extend(value for value in item.values() if isinstance(value, dict | list))
        elif isinstance(item, list):
            stack.extend(value for value in item if isinstance(value, dict | list))
    return node


class ServiceIndex:
    """Finds service names by what requests carry. Built from the first bytes of model files; of all of them in 0.1 s."""

    def __init__(self, metadata: dict[str, dict[str, Any]]) -> None:
        self._metadata = metadata
        self._by_signing_name: dict[str, list[str]] = {}
        self._by_target_prefix: dict[str, list[str]] = {}
        self._by_version: dict[str, list[str]] = {}
        for name in sorted(metadata, key=_preference):
            entry = metadata[name]
            keys = {name, entry["endpointPrefix"], entry.get("signingName") or entry["endpointPrefix"]}
            for key in keys:
                self._by_signing_name.setdefault(key, []).append(name)
            if prefix := entry.get("targetPrefix"):
                self._by_target_prefix.setdefault(prefix, []).append(name)
            if entry["protocol"] in ("query", "ec2") or "awsQueryCompatible" in entry:
                self._by_version.setdefault(entry["apiVersion"], []).append(name)

    def by_signing_name(self, name: str) -> list[str]:
        return self._by_signing_name.get(name, [])

    def by_target_prefix(self, prefix: str) -> list[str]:
        return self._by_target_prefix.get(prefix, [])

    def by_query_version(self, version: str) -> list[str]:
        return self._by_version.get(version, [])

    def metadata(self, name: str) -> dict[str, Any]:
        return self._metadata[name]


def _preference(name: str) -> tuple[int, str]:
    return (PREFERRED.index(name) if name in PREFERRED else len(PREFERRED), name)


def index_of(names: Iterable[str]) -> ServiceIndex:
    """An index of some services only, which takes a fraction of a millisecond each. Raises KeyError like `service`."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        file = _file_of(name)
        if file is None:
            raise KeyError(name)
        found[name] = _read_metadata(file)
    return ServiceIndex(found)


@functools.cache
def index() -> ServiceIndex:
    """The index of all services."""
    return index_of(known_services())


def _read_metadata(file: Path) -> dict[str, Any]:
    """The metadata of a model, from the first bytes of its file when they hold it."""
    if file.suffix == ".gz":
        with gzip.open(file) as stream:
            head = stream.read(_HEAD_BYTES).decode("utf-8", "replace")
    else:
        head = file.read_text("utf-8")
    try:
        start = head.index("{", head.index('"metadata"'))
        metadata: dict[str, Any] = json.JSONDecoder().raw_decode(head, start)[0]
    except ValueError:
        metadata = _load(file)["metadata"]
    return metadata
