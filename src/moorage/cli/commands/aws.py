"""Run the aws CLI against Moorage:   moor aws ecs list-clusters

Everything after `moor aws` goes to the aws CLI as it is. Version 2 is preferred where it is installed, because
`aws logs tail` exists only there. The endpoint is passed as an option, too: versions before 1.29 and 2.13 know no
AWS_ENDPOINT_URL. `moor aws --which` prints the program that would run."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

from moorage.cli.exports import variables
from moorage.cli.instance import need_running
from moorage.domain.errors import Permanent
from moorage.settings import Settings

TAKES_ALL = True
FOUND_FILE = "aws-cli.json"
# A caller's choice of account (12 digits) and region is kept; anything else of the real AWS stays outside.
REMOVED = ("AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_SECURITY_TOKEN")


def run(words: Sequence[str]) -> int:
    """Replaces this process by the aws CLI (which then has the exit code), or answers --which."""
    data_dir = Settings().data_dir
    program = find(data_dir)
    if list(words) == ["--which"]:
        sys.stdout.write(f"{program}\n")
        return 0
    instance = need_running(data_dir)
    return _become([str(program), "--endpoint-url", instance.endpoint, *words], _environment(variables(instance)))


def _become(command: list[str], environment: dict[str, str]) -> NoReturn:
    sys.stdout.flush()
    os.execve(command[0], command, environment)  # noqa: S606


def _environment(wanted: dict[str, str]) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in REMOVED}
    account = kept.get("AWS_ACCESS_KEY_ID", "")
    region = kept.get("AWS_REGION") or kept.get("AWS_DEFAULT_REGION") or wanted["AWS_DEFAULT_REGION"]
    merged = {**kept, **wanted, "AWS_DEFAULT_REGION": region}
    if re.fullmatch(r"\d{12}", account):
        merged["AWS_ACCESS_KEY_ID"] = account
    return merged


def find(data_dir: Path) -> Path:
    """The best aws CLI of this machine; asking one for its version takes long, so the answer is kept by file time."""
    candidates = list(_candidates())
    if not candidates:
        raise Permanent(
            "No aws CLI is installed", next="Install it: sudo apt-get install -y awscli (or: pip install awscli)"
        )
    known = _read(data_dir / FOUND_FILE)
    versions = {_key(path): known.get(_key(path)) or _version(path) for path in candidates}
    if versions != known:
        _write(data_dir / FOUND_FILE, versions)
    return next((path for path in candidates if versions[_key(path)].startswith("2.")), candidates[0])


def _candidates() -> Iterator[Path]:
    beside_us = str(Path(sys.executable).parent)
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/local/bin", "/usr/bin", beside_us]
    seen = set()
    for folder in folders:
        path = Path(folder or ".") / "aws"
        if path not in seen and path.is_file() and os.access(path, os.X_OK):
            seen.add(path)
            yield path


def _key(path: Path) -> str:
    return f"{path}@{path.stat().st_mtime_ns}"


def _version(path: Path) -> str:
    """ "2.9.19", or "" for a program that does not say."""
    try:
        output = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=30).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""
    found = re.match(r"aws-cli/(\S+)", output)
    return found.group(1) if found else ""


def _read(file: Path) -> dict[str, str]:
    try:
        content = json.loads(file.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(file: Path, versions: dict[str, str]) -> None:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(versions))
    except OSError:
        pass  # only a memory: without it the next call asks again
