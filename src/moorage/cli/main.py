"""The entry point of `moor`: finds the command, imports only that one, turns failures into one sentence and an exit
code (0 done, 1 refused or failed, 2 wrong usage, 130 interrupted). A person never sees a traceback for something that
the person or the machine can mend."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from moorage import __version__
from moorage.domain.errors import MoorageError

COMMANDS = {
    "up": "start Moorage (in the foreground, or --detach)",
    "down": "stop it and remove its containers, networks and proxy; the state is kept",
    "status": "what runs, and where",
    "services": "the ECS services, and what is being done about each",
    "tasks": "the tasks, and how those that stopped ended",
    "events": "the service events, as they happen with --follow",
    "explain": "what something is doing, why it waits, and why it failed",
    "interrupt": "take Fargate Spot capacity away, as AWS does at times",
    "env": "print the exports that point AWS tools at Moorage",
    "aws": "run the aws CLI against Moorage",
    "logs": "show the server's log",
    "requests": "what the load balancers answered, and why it failed",
    "proxy": "restart the proxy of the load balancers without closing a door",
    "reset": "empty everything: every account, region and running container",
}
EPILOG = """First steps:
  moor up --detach              start
  eval "$(moor env)"            point aws, boto3, Terraform … at it
  aws ecs list-clusters         or, without the exports: moor aws ecs list-clusters
  moor down                     stop
"""


def main(arguments: Sequence[str] | None = None) -> int:
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        return _run(words)
    except MoorageError as error:
        sys.stderr.write(f"moor: {_sentences(error)}\n")
        return 1
    except BrokenPipeError:
        sys.stderr.close()
        return 0
    except KeyboardInterrupt:
        return 130


def _run(words: list[str]) -> int:
    if not words or words[0] not in COMMANDS:
        _top_level().parse_args(words)
        _top_level().print_help()
        return 0 if words else 2
    name, rest = words[0], words[1:]
    command = importlib.import_module(f"moorage.cli.commands.{name}")
    if getattr(command, "TAKES_ALL", False):
        return int(command.run(rest))
    parser = argparse.ArgumentParser(
        prog=f"moor {name}", description=command.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.arguments(parser)
    return int(command.run(parser.parse_args(rest)))


def _top_level() -> argparse.ArgumentParser:
    width = max(map(len, COMMANDS))
    listing = "\n".join(f"  {name:<{width}} {what}" for name, what in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="moor",
        usage="moor [--version] COMMAND …",
        description="Amazon ECS and the Application Load Balancer on your own Docker hosts.\n\nCommands:\n" + listing,
        epilog=EPILOG + "\n`moor COMMAND --help` explains a command.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"moor {__version__}")
    parser.add_argument("command", nargs="?", choices=COMMANDS, metavar="COMMAND", help=argparse.SUPPRESS)
    return parser


def _sentences(error: MoorageError) -> str:
    return ". ".join(part.rstrip(".") for part in (error.what, error.why, error.next) if part)


if __name__ == "__main__":
    sys.exit(main())
