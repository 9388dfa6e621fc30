"""Print the exports that point the aws CLI, SDKs and Terraform at Moorage.

eval "$(moor env)"            from now on, in this shell
eval "$(moor env --unset)"    back"""

from __future__ import annotations

import argparse
import sys

from moorage.cli.exports import exports, variables
from moorage.cli.instance import Instance, add_data_dir, remembered, running
from moorage.settings import Settings


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--unset", action="store_true", help="print what removes them again")
    add_data_dir(parser)


def run(options: argparse.Namespace) -> int:
    defaults = Settings()
    instance = running(options.data_dir)
    if instance is None:
        instance = remembered(options.data_dir) or Instance(
            0, defaults.host, defaults.port, defaults.account, defaults.region
        )
        if not options.unset:
            sys.stderr.write("Moorage does not run yet: moor up --detach\n")
    if options.unset:
        sys.stdout.write("unset " + " ".join(variables(instance)) + "\n")
    else:
        sys.stdout.write(exports(instance))
    return 0
