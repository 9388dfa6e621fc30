"""FireLens: the configuration that ECS writes for a router container, and what its task's containers must know.

Pure: a task definition and a few names in, text out. Source: semantics ecs-tasks §20; the sections and their order are
those that the ECS agent writes, so that a custom configuration made for AWS meets the same inputs, filters and tags.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from moorage.domain.task_definition import ContainerDefinition, Document

FIRELENS = "awsfirelens"
PORT = 24224
HEALTH_PORT = 8877
SOCKET = "fluent.sock"
SOCKET_FOLDER = "/var/run"
# Options of `awsfirelens` that speak to ECS and not to the output plugin.
_BUFFER_LIMIT, _INCLUDE, _EXCLUDE = "log-driver-buffer-limit", "include-pattern", "exclude-pattern"
_OURS = (_BUFFER_LIMIT, _INCLUDE, _EXCLUDE)
# ECS's default for the fluentd log driver's buffer (messages).
BUFFER_LIMIT = 1048576
TYPES = ("fluentbit", "fluentd")
CONFIG_TYPES = ("s3", "file")
_CONFIG_FILES = {"fluentbit": "/fluent-bit/etc/fluent-bit.conf", "fluentd": "/fluentd/etc/fluent.conf"}
_EXTERNAL_FILES = {"fluentbit": "/fluent-bit/etc/external.conf", "fluentd": "/fluentd/etc/external.conf"}


class Source(msgspec.Struct, frozen=True):
    """A container whose output goes through the router. `secrets`: option → the variable of the router that holds it."""

    name: str
    options: Mapping[str, str]
    secrets: Mapping[str, str] = {}


def router_of(document: Document) -> ContainerDefinition | None:
    return next((c for c in document.container_definitions if c.firelens_configuration is not None), None)


def uses_firelens(definition: ContainerDefinition) -> bool:
    return definition.log_configuration is not None and definition.log_configuration.log_driver == FIRELENS


def sources_of(document: Document) -> tuple[Source, ...]:
    found = []
    for number, definition in enumerate(document.container_definitions):
        log = definition.log_configuration
        if log is not None and log.log_driver == FIRELENS:
            secrets = {str(s["name"]): f"{s['name']}_{number}" for s in log.secret_options or ()}
            found.append(Source(definition.name or "", log.options or {}, secrets))
    return tuple(found)


def tag(container: str, task_id: str) -> str:
    return f"{container}-firelens-{task_id}"


def driver_options(container: str, task_id: str, options: Mapping[str, str], socket_folder: str) -> dict[str, str]:
    """Options of the engine's fluentd log driver. `socket_folder`: on the engine's host."""
    return {
        "fluentd-address": f"unix://{socket_folder}/{SOCKET}",
        "fluentd-async": "true",
        "fluentd-sub-second-precision": "true",
        "fluentd-buffer-limit": options.get(_BUFFER_LIMIT) or str(BUFFER_LIMIT),
        "tag": tag(container, task_id),
    }


def files(
    document: Document,
    *,
    cluster: str,
    task_arn: str,
    task_definition: str,
    instance_id: str | None,
    external: bytes | None,
) -> dict[str, bytes]:
    """Path → content of what the router container finds when it starts. `task_definition`: "family:revision".
    `external`: the object that config-file-type s3 names."""
    router = router_of(document)
    assert router is not None
    assert router.firelens_configuration is not None
    kind = str(router.firelens_configuration.get("type"))
    options = router.firelens_configuration.get("options") or {}
    metadata: dict[str, str] = {}
    if options.get("enable-ecs-log-metadata", "true") == "true":
        instance = {"ec2_instance_id": instance_id} if instance_id is not None else {}
        metadata = instance | {
            "ecs_cluster": cluster,
            "ecs_task_arn": task_arn,
            "ecs_task_definition": task_definition,
        }
    included = {"s3": _EXTERNAL_FILES[kind], "file": options.get("config-file-value")}.get(
        str(options.get("config-file-type"))
    )
    # Everybody in the task's own network is reached by localhost; in bridge mode the others come from outside.
    listen = "127.0.0.1" if document.network_mode == "awsvpc" else "0.0.0.0"  # noqa: S104
    write = _fluentd if kind == "fluentd" else _fluentbit
    found = {_CONFIG_FILES[kind]: "\n".join(write(sources_of(document), metadata, included, listen)).encode()}
    return found | ({_EXTERNAL_FILES[kind]: external} if external is not None else {})


def _section(name: str, pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    yield f"[{name}]"
    for key, value in pairs:
        yield f"    {key} {value}"
    yield ""


def _fluentbit(
    sources: Sequence[Source], metadata: Mapping[str, str], included: str | None, listen: str
) -> Iterator[str]:
    yield from _section("INPUT", [("Name", "forward"), ("unix_path", f"{SOCKET_FOLDER}/{SOCKET}")])
    yield from _section("INPUT", [("Name", "forward"), ("Listen", listen), ("Port", str(PORT))])
    health = "firelens-healthcheck"
    yield from _section(
        "INPUT", [("Name", "tcp"), ("Tag", health), ("Listen", "127.0.0.1"), ("Port", str(HEALTH_PORT))]
    )
    for source in sources:
        match = f"{source.name}-firelens*"
        for option, verb in ((_INCLUDE, "Regex"), (_EXCLUDE, "Exclude")):
            if option in source.options:
                pattern = f"log {source.options[option]}"
                yield from _section("FILTER", [("Name", "grep"), ("Match", match), (verb, pattern)])
    if metadata:
        records = [("Record", f"{key} {value}") for key, value in metadata.items()]
        yield from _section("FILTER", [("Name", "record_modifier"), ("Match", "*"), *records])
    if included is not None:
        yield f"@INCLUDE {included}"
        yield ""
    yield from _section("OUTPUT", [("Name", "null"), ("Match", health)])
    for source in sources:
        if "Name" in source.options:
            first = [("Name", source.options["Name"]), ("Match", f"{source.name}-firelens*")]
            rest = sorted((k, v) for k, v in source.options.items() if k not in ("Name", *_OURS))
            secrets = sorted((name, f"${{{variable}}}") for name, variable in source.secrets.items())
            yield from _section("OUTPUT", [*first, *rest, *secrets])


def _fluentd(
    sources: Sequence[Source], metadata: Mapping[str, str], included: str | None, listen: str
) -> Iterator[str]:
    yield from ("<source>", "    @type unix", f"    path {SOCKET_FOLDER}/{SOCKET}", "</source>", "")
    yield from ("<source>", "    @type forward", f"    bind {listen}", f"    port {PORT}", "</source>", "")
    for source in sources:
        for option, verb in ((_INCLUDE, "regexp"), (_EXCLUDE, "exclude")):
            if option in source.options:
                yield from (
                    f"<filter {source.name}-firelens**>",
                    "    @type grep",
                    f"    <{verb}>",
                    "        key log",
                    f"        pattern {source.options[option]}",
                    f"    </{verb}>",
                    "</filter>",
                    "",
                )
    if metadata:
        yield from ("<filter **>", "    @type record_transformer", "    <record>")
        yield from (f"        {key} {value}" for key, value in metadata.items())
        yield from ("    </record>", "</filter>", "")
    if included is not None:
        yield f"@include {included}"
        yield ""
    for source in sources:
        if "@type" in source.options:
            yield f"<match {source.name}-firelens**>"
            yield f"    @type {source.options['@type']}"
            yield from (f"    {k} {v}" for k, v in sorted(source.options.items()) if k not in ("@type", *_OURS))
            yield from (f"    {name} \"#{{ENV['{variable}']}}\"" for name, variable in sorted(source.secrets.items()))
            yield from ("</match>", "")
