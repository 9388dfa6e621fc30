"""Runs every benchmark one after the other and ends with a table: figure, goal, met or not.

    .venv/bin/python benchmarks [--only NAME ...]

The table is made of the lines that benchmarks print as "RESULT | what | figure | goal | met"; other lines that name a goal
stand below it as they are. A goal that is not met is shown, not an error: these are measurements, whatever else the
machine is doing. A benchmark that does not run to its end is an error.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent


def names() -> list[str]:
    return sorted(path.stem for path in HERE.glob("[a-z]*.py"))


def run(name: str) -> tuple[bool, list[list[str]], list[str]]:
    """Whether it ran to its end, its results, and other lines about goals. What it prints is passed on as it comes."""
    process = subprocess.Popen(
        [sys.executable, str(HERE / f"{name}.py")], stdout=subprocess.PIPE, text=True, env=os.environ, bufsize=1
    )
    assert process.stdout is not None
    results: list[list[str]] = []
    others: list[str] = []
    for line in process.stdout:
        sys.stdout.write(line)
        sys.stdout.flush()
        if line.startswith("RESULT |"):
            results.append([part.strip() for part in line.split("|")[1:]])
        elif "goal" in line:
            others.append(f"{name}: {line.strip()}")
    return process.wait() == 0, results, others


def table(rows: list[list[str]]) -> str:
    heads = ["what", "measured", "goal", ""]
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(4)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in [heads, *rows]]
    return "\n".join(line.rstrip() for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=names(), metavar="NAME", help=", ".join(names()))
    options = parser.parse_args()
    rows: list[list[str]] = []
    notes: list[str] = []
    failed: list[str] = []
    began = time.perf_counter()
    for name in options.only or names():
        print(f"\n== {name}  (load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores)", flush=True)
        done, results, others = run(name)
        rows += results
        notes += others
        if not done:
            failed.append(name)
    print("\n" + "\n".join([table(rows), "", *notes, ""]))
    print(f"{time.perf_counter() - began:.0f} s in all; load average {os.getloadavg()[0]:.1f}")
    if failed:
        print(f"did not run to the end: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
