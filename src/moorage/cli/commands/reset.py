"""Empty everything: every account and region, every running task and load balancer. The server stays up."""

from __future__ import annotations

import argparse
import sys

from moorage.cli.client import ask
from moorage.cli.instance import add_data_dir, need_running


def arguments(parser: argparse.ArgumentParser) -> None:
    add_data_dir(parser)


def run(options: argparse.Namespace) -> int:
    instance = need_running(options.data_dir)
    ask(instance, "POST", "/_moorage/state/reset", timeout=150)
    sys.stdout.write(f"Moorage at {instance.endpoint} is empty.\n")
    return 0
