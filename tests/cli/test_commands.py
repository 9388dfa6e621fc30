"""The commands against a server that has only Moorage's own doors."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from moorage.cli.commands import aws
from moorage.cli.commands.status import render
from moorage.cli.instance import Instance

STATUS = {
    "engine": {"name": "box", "engine": "Docker", "engine_version": "20.10.24", "limits": ["no swap limit"]},
    "proxy": {"pid": 9, "version": "1.40.0", "connected": True},
    "clusters": ["web"],
    "services": [
        {
            "name": "shop", "cluster": "web", "status": "ACTIVE", "running": 1, "desired": 2, "pending": 1, "stopping": 0,
            "rollout": "IN_PROGRESS", "said": "started 1 task",
        }
    ],
    "tasks": 2,
    "load_balancers": [
        {
            "name": "shop", "state": "active", "reason": "", "dns_name": "shop-1.elb.localhost",
            "urls": ["http://shop-1.elb.localhost"],
        }
    ],
}  # fmt: skip


def fake_aws(folder: Path, version: str) -> Path:
    """A program `aws` that tells its version, or else its arguments and environment."""
    folder.mkdir(parents=True, exist_ok=True)
    program = folder / "aws"
    program.write_text(
        f"""#!/bin/sh
[ "$1" = --version ] && echo "aws-cli/{version} Python/3.11.2" && exit 0
printf '%s\\n' "$@" "$AWS_ACCESS_KEY_ID" "$AWS_DEFAULT_REGION" "${{AWS_PROFILE-none}}"
"""
    )
    program.chmod(0o755)
    return program


def test_env_prints_what_a_shell_understands(moor, served):
    code, out, err = moor("env")
    assert (code, err) == (0, "")
    shown = subprocess.run(
        ["sh", "-c", f"{out}\necho $AWS_ENDPOINT_URL $AWS_ACCESS_KEY_ID $AWS_DEFAULT_REGION"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown == f"{served.instance.endpoint} test eu-west-1\n"


def test_env_without_a_server_warns_and_shows_the_usual_place(moor, data_dir):
    code, out, err = moor("env")
    assert code == 0
    assert 'AWS_ENDPOINT_URL="http://localhost:4566"' in out
    assert err == "Moorage does not run yet: moor up --detach\n"


def test_env_unset(moor, served):
    assert moor("env", "--unset")[1].startswith("unset AWS_ENDPOINT_URL ")


def test_up_says_that_it_runs_already(moor, served):
    code, out, _ = moor("up", "--detach")
    assert code == 0
    assert out.startswith(f"Moorage already runs (pid {served.instance.pid}) at {served.instance.endpoint}.\nexport ")


def test_status_of_nothing(moor, data_dir):
    assert moor("status") == (1, f"Moorage does not run (data directory {data_dir}).\n", "")
    assert moor("status", "--json") == (1, "{}\n", "")


def test_status_asks_the_server(moor, served):
    served.answers["GET /_moorage/status"] = (200, STATUS)
    code, out, _ = moor("status")
    assert code == 0
    assert "  shop " in out
    assert json.loads(moor("status", "--json")[1]) == STATUS


def test_what_status_shows():
    instance = Instance(7, "127.0.0.1", 4566, "000000000000", "us-east-1")
    assert list(render(instance, Path("/data"), STATUS)) == [
        "Moorage   http://localhost:4566  (pid 7, account 000000000000, us-east-1)",
        "Engine    Docker 20.10.24 on box",
        "          no swap limit",
        "Proxy     Envoy 1.40.0 (pid 9)",
        "Data      /data",
        "Tasks     2",
        "",
        "Cluster web",
        "  shop  1/2 +1 running  IN_PROGRESS",
        "    started 1 task",
        "",
        "Load balancers",
        "  shop  active",
        "    http://shop-1.elb.localhost",
    ]


def test_status_of_clusters_with_one_name() -> None:
    instance = Instance(7, "127.0.0.1", 4566, "000000000000", "us-east-1")
    [shop] = STATUS["services"]
    here, there = (shop | {"account": "000000000000", "region": region} for region in ("us-east-1", "eu-west-1"))
    shown = list(render(instance, Path("/data"), STATUS | {"clusters": ["web", "web"], "services": [here, there]}))
    assert [line for line in shown if "shop" in line and "running" in line] == [
        "  000000000000/us-east-1/shop  1/2 +1 running  IN_PROGRESS",
        "  000000000000/eu-west-1/shop  1/2 +1 running  IN_PROGRESS",
    ]


def test_status_of_an_empty_server():
    instance = Instance(7, "127.0.0.1", 4566, "000000000000", "us-east-1")
    assert list(render(instance, Path("/data"), {}))[-1] == "Nothing runs yet."


def test_reset_empties_everything(moor, served):
    served.answers["POST /_moorage/state/reset"] = (200, {"status": "ok"})
    assert moor("reset") == (0, f"Moorage at {served.instance.endpoint} is empty.\n", "")
    assert served.asked[-1][0] == "POST /_moorage/state/reset"


def test_a_refusal_of_the_server_is_one_sentence(moor, served):
    served.answers["POST /_moorage/state/reset"] = (501, {"message": "Nothing here can be reset."})
    code, _, err = moor("reset")
    assert code == 1
    assert err == ("moor: Moorage refused POST /_moorage/state/reset. Nothing here can be reset. Its log: moor logs\n")


def test_down_with_nothing_there(moor, data_dir):
    assert moor("down") == (0, f"Nothing runs with the data directory {data_dir}.\n", "")


def test_logs_shows_the_last_lines(moor, data_dir):
    (data_dir / "moorage.log").write_text("one\ntwo\nthree\n")
    assert moor("logs", "-n", "2") == (0, "two\nthree\n", "")


def test_logs_without_a_log(moor, data_dir):
    code, _, err = moor("logs")
    assert code == 1
    assert "Start Moorage: moor up --detach" in err


def test_aws_prefers_version_2_over_the_first_in_the_path(moor, data_dir, tmp_path, monkeypatch):
    first, second = fake_aws(tmp_path / "a", "1.45.11"), fake_aws(tmp_path / "b", "2.9.19")
    monkeypatch.setenv("PATH", f"{first.parent}:{second.parent}:/usr/bin:/bin")
    assert aws.find(data_dir) == second
    assert moor("aws", "--which") == (0, f"{second}\n", "")


def test_aws_takes_any_version_when_there_is_no_version_2(data_dir, tmp_path, monkeypatch):
    only = fake_aws(tmp_path / "a", "1.45.11")
    monkeypatch.setattr(aws, "_candidates", lambda: iter([only]))
    assert aws.find(data_dir) == only


def test_aws_runs_with_the_endpoint_and_without_the_real_profile(served, tmp_path):
    program = fake_aws(tmp_path / "a", "2.9.19")
    shown = subprocess.run(
        [sys.executable, "-m", "moorage.cli.main", "aws", "ecs", "list-clusters", "--max-items", "3"],
        env={
            "PATH": f"{program.parent}:/usr/bin:/bin", "MOORAGE_DATA_DIR": str(served.data_dir),
            "AWS_PROFILE": "production", "AWS_ACCESS_KEY_ID": "AKIAREAL",
        },
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    endpoint = served.instance.endpoint
    assert shown == [
        "--endpoint-url", endpoint, "ecs", "list-clusters", "--max-items", "3", "test", "eu-west-1", "none"
    ]  # fmt: skip


def test_aws_keeps_an_account_that_the_access_key_names(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "111122223333")
    kept = aws._environment({"AWS_ACCESS_KEY_ID": "test", "AWS_DEFAULT_REGION": "us-east-1"})
    assert kept["AWS_ACCESS_KEY_ID"] == "111122223333"


def test_proxy_restart(moor, served):
    served.answers["POST /_moorage/proxy/restart"] = (200, {"before": 7, "pid": 9, "without_a_gap": True})
    assert moor("proxy", "restart") == (0, "Envoy 9 took over from 7; no connection was refused.\n", "")
    served.answers["POST /_moorage/proxy/restart"] = (503, {"message": "Envoy cannot be started"})
    assert moor("proxy", "restart")[0] == 1
