"""How a data file of an older version becomes one of this version, one numbered step at a time.

A step is a function over the open SQLite connection; all missing steps run in one transaction. Add a step at the end,
never change one that was released. What most steps need is `rewrite`: records as plain dictionaries, one by one. A new
member with a default, or a member that is no more, needs no step: msgspec reads such records as they are.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from moorage.domain.errors import Permanent

# "moor" in ASCII: SQLite's application_id, so that a stranger's file is told apart from ours.
APPLICATION_ID = 0x6D6F6F72


class Migration(NamedTuple):
    name: str
    apply: Callable[[sqlite3.Connection], None]


def _first(connection: sqlite3.Connection) -> None:
    for statement in (
        "CREATE TABLE records (kind TEXT NOT NULL, key TEXT NOT NULL, place INTEGER NOT NULL, data BLOB NOT NULL,"
        " PRIMARY KEY (kind, key)) WITHOUT ROWID",
        "CREATE TABLE history (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, key TEXT NOT NULL, data BLOB NOT NULL)",
        "CREATE TABLE history_entries (kind TEXT NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL,"
        " id INTEGER NOT NULL, PRIMARY KEY (kind, name, value, id)) WITHOUT ROWID",
    ):
        connection.execute(statement)


def _entries_of_history(connection: sqlite3.Connection) -> None:
    """Under which values a record of history is found (msgpack; 0x90 is the empty list), so that it can be forgotten."""
    connection.execute("ALTER TABLE history ADD COLUMN entries BLOB NOT NULL DEFAULT x'90'")


MIGRATIONS: tuple[Migration, ...] = (
    Migration("records and history", _first),
    Migration("entries of history", _entries_of_history),
)


def rewrite(
    connection: sqlite3.Connection, kind: str, change: Callable[[dict[str, Any]], dict[str, Any] | None]
) -> None:
    """For migrations: every live record of a table through `change` (None: it is deleted). Keys stay as they are."""
    for key, data in connection.execute("SELECT key, data FROM records WHERE kind = ?", (kind,)).fetchall():
        after = change(msgspec.msgpack.decode(data))
        if after is None:
            connection.execute("DELETE FROM records WHERE kind = ? AND key = ?", (kind, key))
        else:
            connection.execute(
                "UPDATE records SET data = ? WHERE kind = ? AND key = ?", (msgspec.msgpack.encode(after), kind, key)
            )


def migrate(connection: sqlite3.Connection, migrations: Sequence[Migration], path: object) -> None:
    """Brings the file to the version of `migrations`, or refuses a file of a newer version or of somebody else."""
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    empty = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0
    if application != APPLICATION_ID and not empty:
        raise Permanent(
            f"{path} is not a Moorage data file", "Another program made it", "Choose another directory with --data-dir"
        )
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("CREATE TABLE IF NOT EXISTS migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL)")
        version = connection.execute("SELECT coalesce(max(version), 0) FROM migrations").fetchone()[0]
        if version > len(migrations):
            raise Permanent(
                f"The data in {path} was written by a newer Moorage",
                f"It has schema version {version}, this program knows up to {len(migrations)}",
                "Upgrade with `pip install --upgrade moorage`, or choose another directory with --data-dir",
            )
        for number, migration in enumerate(migrations[version:], start=version + 1):
            migration.apply(connection)
            connection.execute("INSERT INTO migrations VALUES (?, ?)", (number, migration.name))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
