"""Refuses modules in a package of pure decisions that could read a clock, roll dice or wait.

    python scripts/no_clock.py src/moorage/decide

What `decide/` needs of time and identifiers is handed in as values; then every decision can be replayed. Exit code 1
and one line per finding when something is imported or called that would break that.
"""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

FORBIDDEN_MODULES = {
    "asyncio": "a decision never waits",
    "random": "randomness is handed in (domain.clock.Ids)",
    "secrets": "randomness is handed in (domain.clock.Ids)",
    "threading": "a decision never waits",
    "time": "the time is an argument (`now`)",
    "uuid": "identifiers are handed in (domain.clock.Ids)",
}
FORBIDDEN_CALLS = {
    ("datetime", "now"): "the time is an argument (`now`)",
    ("datetime", "today"): "the time is an argument (`now`)",
    ("datetime", "utcnow"): "the time is an argument (`now`)",
    ("date", "today"): "the time is an argument (`now`)",
    ("os", "urandom"): "randomness is handed in (domain.clock.Ids)",
}


def imported(node: ast.AST) -> list[str]:
    """Top-level names of the modules that an import statement brings in."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0:
        return [(node.module or "").partition(".")[0]]
    return []


def findings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, sentence) for everything in one module that a pure decision must not use."""
    for node in ast.walk(tree):
        for module in imported(node):
            if module in FORBIDDEN_MODULES:
                yield node.lineno, f"imports {module}: {FORBIDDEN_MODULES[module]}"
        if isinstance(node, ast.Attribute):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if reason := FORBIDDEN_CALLS.get((owner, node.attr)):
                yield node.lineno, f"uses {owner}.{node.attr}: {reason}"


def main(folders: list[str]) -> int:
    found = [
        f"{path}:{line}: {sentence}"
        for folder in folders
        for path in sorted(Path(folder).rglob("*.py"))
        for line, sentence in findings(ast.parse(path.read_text(), str(path)))
    ]
    summary = "\n".join(found) if found else f"No clock, dice or waiting in {', '.join(folders)}."
    sys.stdout.write(summary + "\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
