"""Tables of a cluster: each statement of the migrations as it reads for replicated, sharded tables.

`runs` becomes `runs_local` on every node, replicated within its shard, and `runs`, which spreads over the shards by
workspace: so a question about one workspace is one shard's, and queries are the same as on a single server. The macros
{shard} and {replica} are the servers' own (https://clickhouse.com/docs/engines/table-engines/mergetree-family/replication).
"""

import re
from typing import NamedTuple

SETTINGS = {
    # An insert is acknowledged by most replicas of its shard, and goes there before it is.
    "insert_quorum": "auto",
    "distributed_foreground_insert": 1,
    # What names a workspace asks its shard alone, and what a query joins lies there too.
    "optimize_skip_unused_shards": 1,
    "distributed_product_mode": "local",
    # A statement for all nodes waits for those that are there; the others carry it out when they return.
    "distributed_ddl_output_mode": "none_only_active",
}

_CREATE = re.compile(
    r"CREATE TABLE IF NOT EXISTS (?P<name>\w+)(?P<columns> \(.*\))\n"
    r"ENGINE = (?P<engine>\w+)(?:\((?P<arguments>.*?)\))?\n(?P<rest>.*)",
    re.DOTALL,
)
_ALTER = re.compile(r"ALTER TABLE (?P<name>\w+)(?P<changes>\s.*)", re.DOTALL)
_DROP = re.compile(r"DROP TABLE (?P<name>\w+)\s*$")
_TURN = re.compile(
    r"(?P<what>CREATE TABLE|ALTER TABLE|DROP TABLE IF EXISTS|RENAME TABLE migrating TO)"
    r" (?P<name>migrating(?:_stale)?)\b(?P<rest>.*)",
    re.DOTALL,
)
"""Of whose turn it is to migrate every node tells the same."""

_COMMENTS = re.compile(r"^\s*--[^\n]*\n", re.MULTILINE)

ON_EVERY_NODE = ("migrations",)
"""Which migrations were applied is the same everywhere."""

OF_COLUMNS = ("ADD COLUMN", "MODIFY COLUMN", "DROP COLUMN")
"""What the table that spreads over the shards must be told as well."""


class Cluster(NamedTuple):
    """A cluster by its name in the servers' configuration, and our database there."""

    name: str
    database: str

    @property
    def on(self) -> str:
        """What makes a statement one for every node."""
        return f"ON CLUSTER '{self.name}'"

    def statements(self, statement: str) -> list[str]:
        """Return what a migration's statement is here; one about rows stays as it is."""
        text = _COMMENTS.sub("", statement).strip()
        if found := _TURN.fullmatch(text):
            return [f"{found['what']} {found['name']} {self.on}{found['rest']}"]
        if found := _CREATE.fullmatch(text):
            return self._created(found)
        if found := _ALTER.fullmatch(text):
            return self._altered(found["name"], found["changes"])
        if found := _DROP.fullmatch(text):
            return [f"DROP TABLE {name} {self.on} SYNC" for name in (found["name"], f"{found['name']}_local")]
        return [statement]

    def catching_up(self, tables: tuple[str, ...]) -> list[str]:
        """Return what brings every replica that is there up to what was acknowledged of these tables."""
        return [f"SYSTEM SYNC REPLICA {self.on} {self.database}.{table}_local LIGHTWEIGHT" for table in tables]

    def _created(self, found: re.Match[str]) -> list[str]:
        name, arguments = found["name"], found["arguments"] or ""
        shared = name in ON_EVERY_NODE
        table = name if shared else f"{name}_local"
        place, replica = ("all", "{shard}-{replica}") if shared else ("{shard}", "{replica}")
        path = f"'/clickhouse/tables/{place}/{self.database}/{name}', '{replica}'"
        engine = f"Replicated{found['engine']}({', '.join(filter(None, (path, arguments)))})"
        local = f"CREATE TABLE IF NOT EXISTS {table} {self.on}{found['columns']}\nENGINE = {engine}\n{found['rest']}"
        return [local] if shared else [local, self._spread(name)]

    def _spread(self, name: str) -> str:
        where = f"'{self.name}', '{self.database}', '{name}_local', sipHash64(workspace_id)"
        return f"CREATE TABLE IF NOT EXISTS {name} {self.on} AS {name}_local\nENGINE = Distributed({where})"

    def _altered(self, name: str, changes: str) -> list[str]:
        of_columns = [change for change in _parts(changes) if change.startswith(OF_COLUMNS)]
        over = [f"ALTER TABLE {name} {self.on} {', '.join(of_columns)}"] if of_columns else []
        return [f"ALTER TABLE {name}_local {self.on}{changes}", *over]


def _parts(changes: str) -> list[str]:
    """Return the changes of an ALTER: what stands between its commas, except for those in brackets or quotes."""
    parts, depth, quoted = [""], 0, False
    for character in changes:
        quoted ^= character == "'"
        depth += 0 if quoted else (character == "(") - (character == ")")
        if character == "," and not depth and not quoted:
            parts.append("")
        else:
            parts[-1] += character
    return [part.strip() for part in parts]
