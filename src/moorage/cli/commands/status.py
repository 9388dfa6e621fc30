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
from moorage.cli.commands.services import counts, doing, rollout
from moorage.cli.instance import Instance, add_data_dir, running
from moorage.cli.text import paragraph


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
    if engine := status.get("engine"):
        yield f"Engine    {engine['engine']} {engine['engine_version']} on {engine['name']}"
        yield from (f"          {limit}" for limit in engine.get("limits", []))
    if proxy := status.get("proxy"):
        state = "" if proxy.get("connected") else ", not connected: moor logs"
        yield f"Proxy     Envoy {proxy.get('version', '')} (pid {proxy.get('pid')}{state})"
    yield f"Data      {data_dir}"
    clusters, balancers = status.get("clusters", []), status.get("load_balancers", [])
    if not clusters and not balancers:
        yield "Nothing runs yet."
        return
    yield f"Tasks     {status.get('tasks', 0)}"
    services = status.get("services", [])
    several = len({(service.get("account"), service.get("region")) for service in services}) > 1
    for cluster in dict.fromkeys(clusters):
        yield ""
        yield f"Cluster {cluster}"
        mine = {_name(one, several=several): one for one in services if one["cluster"] == cluster}
        for name, service in mine.items():
            yield from _service(f"{name:<{max(map(len, mine))}}", service)
    if balancers:
        yield ""
        yield "Load balancers"
    for balancer in balancers:
        yield f"  {balancer['name']}  {balancer['state']}"
        yield from (f"    {url}" for url in balancer["urls"] or [balancer["dns_name"]])
        if balancer.get("reason"):
            yield from paragraph(balancer["reason"], "    ")


def _name(service: Mapping[str, Any], *, several: bool) -> str:
    """`several`: there are services in several accounts or regions, and clusters of one name in each."""
    return (f"{service['account']}/{service['region']}/" if several else "") + str(service["name"])


def _service(name: str, service: Mapping[str, Any]) -> Iterator[str]:
    yield f"  {name}  {counts(service)} running  {rollout(service)}".rstrip()
    if service.get("rollout") != "COMPLETED" and doing(service):
        yield from paragraph(doing(service), "    ")
