"""The official service models, loaded when they are first needed and not before.

Decides which model describes a service and finds services by what a request carries (signing name, target prefix, query
version). Must not read the bodies of requests, and must not keep documentation texts: they are most of a model's size.
"""

from __future__ import annotations

import functools
import gzip
import json
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
from botocore.loaders import JSONFileLoader, Loader
from botocore.model import OperationModel, ServiceModel

from moorage.wire.model_fixes import fix

# Services that share a signing name and whose requests cannot be told apart otherwise: the one people mean.
PREFERRED = ("ecs", "elbv2", "rds", "iam", "lambda", "s3", "apigateway", "ses", "events", "cloudwatch", "dynamodb")

# botocore's Shape. Its subclasses have different attributes by `type_name`, on which the protocols branch.
Shape: TypeAlias = Any

_HEAD_BYTES = 4096


class Operation:
    """One operation of a service. `codecs` is where protocols keep what they have compiled for it."""

    __slots__ = ("codecs", "input", "model", "name", "output", "service")

    def __init__(self, service: Service, model: OperationModel) -> None:
        self.service = service
        self.model = model
        self.name: str = model.name
        self.input: Shape = model.input_shape
        self.output: Shape = model.output_shape
        self.codecs: dict[str, Any] = {}


class Service:
    """A service model with its operations, errors and whatever protocols compile from it (`codecs`)."""

    def __init__(self, name: str, description: dict[str, Any]) -> None:
        self.name = name
        self.model = ServiceModel(description, name)
        self.description = description
        self.metadata: dict[str, Any] = dict(description["metadata"])
        self.protocol: str = self.metadata["protocol"]
        self.protocols: tuple[str, ...] = tuple(self.metadata.get("protocols") or (self.protocol,))
        self.query_compatible = "awsQueryCompatible" in self.metadata
        self.codecs: dict[str, Any] = {}
        self._names = frozenset(description["operations"])
        self._operations: dict[str, Operation] = {}

    @property
    def operation_names(self) -> frozenset[str]:
        return self._names

    def operation(self, name: str) -> Operation | None:
        """The operation, or None when the model has no such operation."""
        found = self._operations.get(name)
        if found is None and name in self._names:
            found = self._operations[name] = Operation(self, self.model.operation_model(name))
        return found

    @functools.cached_property
    def _errors(self) -> dict[str, Shape]:
        found: dict[str, Shape] = {}
        shape: Shape
        for shape in self.model.error_shapes:
            found.setdefault(shape.name, shape)
            found.setdefault(shape.error_code, shape)
        return found

    def error_shape(self, code: str) -> Shape:
        """The modelled error named by its shape ("ClusterNotFoundException") or its wire code ("LoadBalancerNotFound")."""
        return self._errors.get(code)


class _LeanFiles(JSONFileLoader):
    """Reads model files with msgspec and drops documentation, which halves time and memory."""

    def _load_file(self, full_path: str, open_method: Any) -> Any:
        path = Path(full_path)
        if not path.is_file():
            return None
        data = gzip.decompress(path.read_bytes()) if open_method is gzip.open else path.read_bytes()
        return _without_documentation(msgspec.json.decode(data))


def _without_documentation(node: Any) -> Any:
    stack = [node]
    while stack:
        item = stack.pop()
        if isinstance(item, dict):
            text = item.get("documentation")
            if isinstance(text, str):
                del item["documentation"]
            stack.extend(value for value in item.values() if isinstance(value, dict | list))
        elif isinstance(item, list):
            stack.extend(value for value in item if isinstance(value, dict | list))
    return node


@functools.cache
def _loader() -> Loader:
    return Loader(file_loader=_LeanFiles())


@functools.cache
def service(name: str) -> Service:
    """The service by botocore's name ("elbv2"). Raises KeyError for a name that botocore does not know."""
    if name not in known_services():
        raise KeyError(name)
    return Service(name, fix(name, _loader().load_service_model(name, "service-2")))


@functools.cache
def known_services() -> frozenset[str]:
    return frozenset(_loader().list_available_services("service-2"))


class ServiceIndex:
    """Finds service names by what requests carry. Built from the first bytes of every model file (0.1 s, once)."""

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


@functools.cache
def index() -> ServiceIndex:
    found: dict[str, dict[str, Any]] = {}
    loader = _loader()
    for name in known_services():
        version = loader.determine_latest_version(name, "service-2")
        for root in loader.search_paths:
            metadata = _read_metadata(Path(root) / name / version)
            if metadata is not None:
                found[name] = metadata
                break
    return ServiceIndex(found)


def _read_metadata(folder: Path) -> dict[str, Any] | None:
    packed, plain = folder / "service-2.json.gz", folder / "service-2.json"
    if packed.is_file():
        with gzip.open(packed) as stream:
            head = stream.read(_HEAD_BYTES).decode("utf-8", "replace")
    elif plain.is_file():
        head = plain.read_text("utf-8")
    else:
        return None
    try:
        start = head.index("{", head.index('"metadata"'))
        metadata: dict[str, Any] = json.JSONDecoder().raw_decode(head, start)[0]
    except ValueError:
        metadata = _without_documentation(_loader().load_service_model(folder.parent.name, "service-2"))["metadata"]
    return metadata
