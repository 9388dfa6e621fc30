"""Show what runs: the endpoint, the Docker engine, the proxy, clusters with their services and tasks, load balancers
with their addresses. Exit code 1 when Moorage does not run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from moorage.cli.client import ask
from moorage.cli.instance import Instance, add_data_dir, running


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="the server's own answer, for programs")
    add_data_dir(parser)


def run(options: argparse.Namespace) -> int:
    data_dir: Path = options.data_dir.expanduser().resolve()
    instance = running(data_dir)
    if instance is None:
        sys.stdout.write("{}\n" if options.json else f"Moorage does not run (data directory {data_dir}).\n")
        return 1
    status = ask(instance, "GET", "/_moorage/status")
    if options.json:
        sys.stdout.write(json.dumps(status, indent=2) + "\n")
    else:
        sys.stdout.writelines(line + "\n" for line in render(instance, data_dir, status))
    return 0


def render(instance: Instance, data_dir: Path, status: Mapping[str, Any]) -> Iterator[str]:
    """The lines that a person reads; what the server did not tell is left out."""
    yield f"Moorage   {instance.endpoint}  (pid {instance.pid}, account {instance.account}, {instance.region})"
    for title, key in (("Engine", "engine"), ("Proxy", "proxy")):
        if part := status.get(key):
            yield f"{title:<9} {_part(part)}"
    yield f"Data      {data_dir}"
    clusters, balancers = status.get("clusters", []), status.get("load_balancers", [])
    if not clusters and not balancers:
        yield "Nothing runs yet."
    for cluster in clusters:
        yield ""
        yield f"Cluster {cluster['name']}"
        for service in cluster.get("services", []):
            yield f"  {_service(service)}"
        for task in cluster.get("tasks", []):
            yield f"  {_task(task)}"
    if balancers:
        yield ""
        yield "Load balancers"
    for balancer in balancers:
        healthy = f"  {balancer['healthy']} of {balancer['targets']} targets healthy" if "targets" in balancer else ""
        yield f"  {balancer['name']:<24} {balancer.get('state', ''):<8} {balancer.get('url', '')}{healthy}"


def _part(part: Any) -> str:
    return "  ".join(str(value) for value in part.values() if value) if isinstance(part, dict) else str(part)


def _service(service: Mapping[str, Any]) -> str:
    counts = f"{service.get('running', 0)} running, {service.get('pending', 0)} pending of {service.get('desired', 0)}"
    return f"service {service['name']:<24} {counts:<34} {service.get('task_definition', '')}"


def _task(task: Mapping[str, Any]) -> str:
    return (
        f"task    {task['id']:<34} {task.get('status', ''):<12} {task.get('address') or '':<16} {task.get('group', '')}"
    )
