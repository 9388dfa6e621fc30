"""A real `moor up` with its own data directory, and the real clients that talk to it."""

from __future__ import annotations

import functools
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config

from moorage.cli.instance import LOG_FILE, Instance, running

ROOT = Path(__file__).parents[2]
MOOR = Path(sys.executable).with_name("moor")
REGION = "eu-west-1"


_numbers = itertools.count(1)


class Server:
    """`up` and `down` are the commands; `kill` is `kill -9` of the control plane."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.port = 0
        # Ranges of this machine that no other server (of these tests, or of the person at work) uses.
        self.prefix = f"10.{64 + (3 * os.getpid() + next(_numbers)) % 190}"

    @functools.cached_property
    def network(self) -> tuple[str, list[str]]:
        """A VPC with two subnets in two zones, made on first use: (VPC id, subnet ids)."""
        ec2 = self.client("ec2")
        vpc: str = ec2.create_vpc(CidrBlock=f"{self.prefix}.0.0/16")["Vpc"]["VpcId"]
        subnets = [
            ec2.create_subnet(VpcId=vpc, CidrBlock=f"{self.prefix}.{third}.0/24", AvailabilityZone=f"{REGION}{zone}")
            for third, zone in ((1, "a"), (2, "b"))
        ]
        return vpc, [subnet["Subnet"]["SubnetId"] for subnet in subnets]

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        return {**kept, "MOORAGE_DATA_DIR": str(self.data_dir), "PATH": f"{MOOR.parent}:{os.environ['PATH']}"}

    def moor(self, *words: str) -> str:
        """What the command said; its failure fails the test with everything it said."""
        done = subprocess.run([MOOR, *words], env=self.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"moor {' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def up(self) -> None:
        said = self.moor("up", "--detach", "--port", str(self.port), "--region", REGION)
        assert said.endswith("Ready.\n"), said
        self.port = self.instance.port

    def down(self) -> None:
        self.moor("down")

    def kill(self) -> None:
        os.kill(self.instance.pid, signal.SIGKILL)

    @property
    def instance(self) -> Instance:
        found = running(self.data_dir)
        assert found is not None, f"the server is gone:\n{self.log_tail()}"
        return found

    @property
    def endpoint(self) -> str:
        return f"http://localhost:{self.port}"

    def client(self, service: str, account: str = "test") -> Any:
        return boto3.client(
            service, endpoint_url=self.endpoint, region_name=REGION,
            aws_access_key_id=account, aws_secret_access_key="test",
            config=Config(retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=60),
        )  # fmt: skip

    def aws(self, *words: str) -> Any:
        """The answer of the real aws CLI, parsed."""
        answer = self.moor("aws", "--output", "json", *words)
        return json.loads(answer) if answer.strip() else None

    def log_tail(self, lines: int = 60) -> str:
        path = self.data_dir / LOG_FILE
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) if path.exists() else "(no log)"

    def remove(self) -> None:
        if running(self.data_dir) is not None or (self.data_dir / "moorage.pid").exists():
            self.down()
        shutil.rmtree(self.data_dir, ignore_errors=True)


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(words)}: {done.stderr}"
    return done.stdout.strip()
