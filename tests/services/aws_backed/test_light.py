"""The control plane stays light: moto is another process's business, and it starts with the first call."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from front import Front

PROGRAM = """
import asyncio, sys
from pathlib import Path
from moorage.domain.clock import SystemClock
from moorage.domain.scope import Scope
from moorage.services.aws_backed.ec2 import Ec2Provider
from moorage.services.aws_backed.forward import AwsBacked
from moorage.services.aws_backed.lookups import MotoNetworks, MotoRoles
from moorage.settings import Settings

async def main():
    backed = AwsBacked(Settings(data_dir=Path(sys.argv[1])), SystemClock())
    assert not backed.loaded
    answer = await backed.call(Scope("000000000000", "us-east-1"), "sts", "GetCallerIdentity", {})
    assert answer["Account"] == "000000000000" and backed.loaded
    await backed.close()

asyncio.run(main())
print(sorted({name.partition(".")[0] for name in sys.modules} & {"moto", "boto3", "flask", "werkzeug", "cryptography"}))
"""


def test_the_control_plane_does_not_import_moto(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.stdout.strip(), done.stderr, done.returncode) == ("[]", "", 0)


def test_nothing_starts_before_the_first_call(fronts: Callable[[], Front], tmp_path: Path) -> None:
    front = fronts()
    assert not front.backed.loaded
    assert list(tmp_path.iterdir()) == []
    front.client("sts").get_caller_identity()
    assert front.backed.loaded
