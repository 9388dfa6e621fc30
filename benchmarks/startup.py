"""`moor up` on existing state, memory when idle, and processor time with twenty running tasks and no calls.

    .venv/bin/python benchmarks/startup.py [--rounds 5] [--tasks 20] [--seconds 20]

* Start: a data directory with three clusters, twenty task definitions and a service of two running tasks; the server was
  killed (kill -9), the containers run on. From the start of the `moor up --detach` process to the answer of the first
  DescribeServices. Goal ≤ 1.0 s. Beside it, in turns: the processor time that the start took (a machine with nothing
  else to do needs about that long), and `moto_server` from its start, empty, to its first answered call.
* Memory: proportional (PSS) and resident, of the control plane ten seconds after the start; goal ≤ 150 MB. The embedded
  AWS is a process of its own that comes with the first call it serves and goes when idle; it and Envoy stand beside.
* Processor: user and system time over `--seconds` with `--tasks` running tasks behind a load balancer with health checks
  every 30 s (the default), no calls; goal ≤ 2 % of a core for control plane, embedded AWS and Envoy together. Docker is
  not counted.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from _moor import (
    MOOR,
    PORT,
    Moor,
    children,
    command_of,
    cpu_seconds,
    envoy_of,
    free_port,
    image,
    memory_mb,
    server,
    spread,
    told,
)

GOAL_START, GOAL_MEMORY, GOAL_CPU = 1.0, 150.0, 2.0


def set_up(moor: Moor, web: str) -> tuple[list[str], str]:
    """Clusters, task definitions, a service of two tasks behind a load balancer."""
    subnets = moor.make_network(2)
    for name in ("bench", "second", "third"):
        moor.ecs("CreateCluster", {"clusterName": name})
    for number in range(19):
        moor.register(f"family-{number}", web)
    moor.register("web", web)
    elb = moor.client("elbv2")
    balancer = elb.create_load_balancer(Name="bench", Scheme="internal", Subnets=subnets)["LoadBalancers"][0]
    group = elb.create_target_group(
        Name="bench", Protocol="HTTP", Port=PORT, VpcId=moor.vpc, TargetType="ip", HealthCheckPath="/health"
    )["TargetGroups"][0]["TargetGroupArn"]
    elb.modify_target_group_attributes(
        TargetGroupArn=group, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "1"}]
    )
    elb.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Port=20000 + moor.port % 10000,
        Protocol="HTTP",
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group}],
    )
    moor.ecs(
        "CreateService",
        {
            "cluster": "bench",
            "serviceName": "web",
            "taskDefinition": "web",
            "desiredCount": 2,
            "launchType": "FARGATE",
            "networkConfiguration": {"awsvpcConfiguration": {"subnets": subnets}},
            "loadBalancers": [{"targetGroupArn": group, "containerName": "web", "containerPort": PORT}],
        },
    )
    wait_running(moor, 2)
    return subnets, group


def wait_running(moor: Moor, count: int) -> None:
    while True:
        service = moor.ecs("DescribeServices", {"cluster": "bench", "services": ["web"]})["services"][0]
        if service["runningCount"] == count and service["pendingCount"] == 0:
            return
        time.sleep(0.1)


def start_once(moor: Moor) -> tuple[float, float, float]:
    """Kills the server, starts it again: seconds to the first answered call, to the end of the command, and of processor
    time until then."""
    pid = moor.pid
    os.kill(pid, signal.SIGKILL)
    while Path(f"/proc/{pid}").exists():
        time.sleep(0.01)
    moor.forget_connection()
    began = time.perf_counter()
    command = subprocess.Popen(
        [MOOR, "up", "--detach", "--port", str(moor.port), "--data-dir", str(moor.folder)], stdout=subprocess.DEVNULL
    )
    while True:
        try:
            answer = moor.ecs("DescribeServices", {"cluster": "bench", "services": ["web"]})
            break
        except OSError:
            time.sleep(0.005)
    answered = time.perf_counter() - began
    before = os.times()
    if command.wait():
        raise SystemExit("moor up failed")
    returned = time.perf_counter() - began
    after = os.times()
    used = cpu_seconds(moor.pid) + sum(after[2:4]) - sum(before[2:4])
    service = answer["services"][0]
    if service["runningCount"] != 2:
        raise SystemExit(f"the tasks were not adopted: {service['runningCount']} running")
    return answered, returned, used


def moto_once() -> float:
    """Seconds from the start of moto_server to its first answered call."""
    port = free_port()
    url = f"http://127.0.0.1:{port}/moto-api/data.json"
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        while True:
            try:
                with urllib.request.urlopen(url, timeout=30):
                    return time.perf_counter() - began
            except OSError:
                time.sleep(0.005)
    finally:
        process.terminate()
        process.wait()


def processes(moor: Moor) -> dict[str, int]:
    found = {"control plane": moor.pid}
    for child in children(moor.pid):
        if "aws_backed" in command_of(child):
            found["embedded AWS"] = child
    envoy = envoy_of(moor)
    if envoy is not None:
        found["Envoy"] = envoy
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    web = image()
    with server() as moor:
        set_up(moor, web)
        starts, others = [], []
        for _ in range(options.rounds):
            starts.append(start_once(moor))
            others.append(moto_once())
        answered = [entry[0] for entry in starts]
        print(
            f"moor up → first answered call {spread(answered)} ms; "
            f"the command returns after {spread([entry[1] for entry in starts])} ms; processor time of the start "
            f"{spread([entry[2] for entry in starts])} ms; moto_server, empty: {spread(others)} ms; "
            f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores",
            flush=True,
        )
        middle = statistics.median(answered)
        told("moor up → first answered ECS call, existing state",
             f"{middle:.2f} s ({min(answered):.2f}..{max(answered):.2f})", f"≤ {GOAL_START} s",
             middle <= GOAL_START)  # fmt: skip

        time.sleep(10)
        pss, rss = memory_mb(moor.pid)
        told("memory of the idle control plane", f"{pss:.0f} MB PSS, {rss:.0f} MB RSS", f"≤ {GOAL_MEMORY:.0f} MB",
             rss <= GOAL_MEMORY)  # fmt: skip
        moor.client("sts").get_caller_identity()
        moor.client("ec2").describe_vpcs()
        for name, pid in processes(moor).items():
            pss, rss = memory_mb(pid)
            print(f"{name}: {pss:.0f} MB PSS, {rss:.0f} MB RSS (the embedded AWS has just served a call)", flush=True)

        moor.ecs("UpdateService", {"cluster": "bench", "service": "web", "desiredCount": options.tasks})
        wait_running(moor, options.tasks)
        time.sleep(15)  # health settles, the warm pool is full
        before = {name: cpu_seconds(pid) for name, pid in processes(moor).items()}
        began = time.perf_counter()
        time.sleep(options.seconds)
        length = time.perf_counter() - began
        after = {name: cpu_seconds(pid) for name, pid in processes(moor).items()}
        shares = {name: 100 * (after[name] - before[name]) / length for name in after if name in before}
        print(f"{options.tasks} running tasks, no calls, {length:.0f} s: "
              + ", ".join(f"{name} {share:.2f} %" for name, share in shares.items()), flush=True)  # fmt: skip
        total = sum(shares.values())
        told(f"processor with {options.tasks} running tasks, no calls", f"{total:.1f} % of a core",
             f"≤ {GOAL_CPU:.0f} %", total <= GOAL_CPU)  # fmt: skip
        moor.ecs("UpdateService", {"cluster": "bench", "service": "web", "desiredCount": 0})
    return 0


if __name__ == "__main__":
    sys.exit(main())
