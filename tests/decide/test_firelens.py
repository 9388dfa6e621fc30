"""The configuration of a FireLens router (semantics ecs-tasks §20)."""

from __future__ import annotations

from typing import Any

from decide.builders import a_document
from moorage.decide import firelens
from moorage.domain.task_definition import Document

APP = {
    "name": "app",
    "image": "app:1",
    "logConfiguration": {
        "logDriver": "awsfirelens",
        "options": {
            "Name": "http",
            "Host": "logs.example",
            "include-pattern": "ERROR",
            "exclude-pattern": "health",
            "log-driver-buffer-limit": "4096",
        },
        "secretOptions": [{"name": "header_key", "valueFrom": "/token"}],
    },
}


def written(document: Document, external: bytes | None = None) -> dict[str, str]:
    found = firelens.files(
        document,
        cluster="main",
        task_arn="arn:task",
        task_definition="web:3",
        instance_id=None,
        external=external,
    )
    return {path: content.decode() for path, content in found.items()}


def router(kind: str = "fluentbit", **options: str) -> dict[str, Any]:
    return {"name": "log", "image": "r:1", "firelensConfiguration": {"type": kind, "options": options}}


def test_fluent_bit_gets_inputs_filters_and_the_outputs_of_the_containers() -> None:
    document = a_document(router(), APP, networkMode="awsvpc")
    assert written(document) == {
        "/fluent-bit/etc/fluent-bit.conf": """\
[INPUT]
    Name forward
    unix_path /var/run/fluent.sock

[INPUT]
    Name forward
    Listen 127.0.0.1
    Port 24224

[INPUT]
    Name tcp
    Tag firelens-healthcheck
    Listen 127.0.0.1
    Port 8877

[FILTER]
    Name grep
    Match app-firelens*
    Regex log ERROR

[FILTER]
    Name grep
    Match app-firelens*
    Exclude log health

[FILTER]
    Name record_modifier
    Match *
    Record ecs_cluster main
    Record ecs_task_arn arn:task
    Record ecs_task_definition web:3

[OUTPUT]
    Name null
    Match firelens-healthcheck

[OUTPUT]
    Name http
    Match app-firelens*
    Host logs.example
    header_key ${header_key_1}
"""
    }


def test_a_configuration_of_ones_own_is_included_and_metadata_can_be_left_out() -> None:
    arn = "arn:aws:s3:::bucket/extra.conf"
    options = {"config-file-type": "s3", "config-file-value": arn, "enable-ecs-log-metadata": "false"}
    found = written(a_document(router(**options), APP, networkMode="bridge"), b"[OUTPUT]")
    assert found["/fluent-bit/etc/external.conf"] == "[OUTPUT]"
    config = found["/fluent-bit/etc/fluent-bit.conf"]
    assert "@INCLUDE /fluent-bit/etc/external.conf\n" in config
    assert "ecs_cluster" not in config
    assert "Listen 0.0.0.0" in config
    own = {"config-file-type": "file", "config-file-value": "/my.conf"}
    assert "@INCLUDE /my.conf\n" in written(a_document(router(**own), APP))["/fluent-bit/etc/fluent-bit.conf"]


def test_fluentd_speaks_its_own_language() -> None:
    options = {"@type": "stdout", "exclude-pattern": "x"}
    app = APP | {
        "logConfiguration": {
            "logDriver": "awsfirelens",
            "options": options,
            "secretOptions": [{"name": "key", "valueFrom": "/k"}],
        }
    }
    config = written(a_document(router("fluentd"), app, networkMode="awsvpc"))["/fluentd/etc/fluent.conf"]
    assert "<source>\n    @type forward\n    bind 127.0.0.1\n    port 24224\n</source>" in config
    assert "<exclude>\n        key log\n        pattern x\n    </exclude>" in config
    assert "<match app-firelens**>\n    @type stdout\n    key \"#{ENV['key_1']}\"\n</match>" in config


def test_what_the_engines_driver_is_told() -> None:
    options = firelens.driver_options("app", "0123", {"log-driver-buffer-limit": "10"}, "/folder")
    assert options == {
        "fluentd-address": "unix:///folder/fluent.sock",
        "fluentd-async": "true",
        "fluentd-sub-second-precision": "true",
        "fluentd-buffer-limit": "10",
        "tag": "app-firelens-0123",
    }
