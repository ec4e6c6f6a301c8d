"""What the migrations read like in a cluster, as text: none can be started here. The engine parses every statement."""

import re
from collections.abc import Iterator

import pytest

from analytics import clickhouse as adapter
from analytics import schema
from analytics.clickhouse import ClickHouse
from analytics.cluster import ON_EVERY_NODE, SETTINGS, Cluster
from analytics.retention import OF_RUNS

CLUSTER = Cluster("main", "tallyrun")
ON = "ON CLUSTER 'main'"


def _originals() -> Iterator[str]:
    yield adapter._sql("create_migrations")
    for _, statements in schema.migrations():
        yield from statements
    yield from schema.statements(adapter._sql("retain_texts") % {"days": 90})


ORIGINALS = [re.sub(r"^\s*--[^\n]*\n", "", text, flags=re.MULTILINE).strip() for text in _originals()]
CREATED = [text for text in ORIGINALS if text.startswith("CREATE TABLE")]


def _plain(statement: str) -> str:
    """Take out of a statement what made it one of the cluster."""
    text = re.sub(r"Replicated(\w+)\('[^']*', '[^']*'(?:, )?(.*?)\)\n", _engine, statement)
    return text.replace(f" {ON}", "").replace("_local", "").removesuffix(" SYNC")


def _engine(found: re.Match[str]) -> str:
    return f"{found[1]}({found[2]})\n" if found[2] else f"{found[1]}\n"


def _name(statement: str) -> str:
    found = re.search(r"TABLE (?:IF NOT EXISTS )?(\w+)", statement)
    assert found is not None, statement
    return found[1]


@pytest.mark.parametrize("statement", ORIGINALS, ids=range(len(ORIGINALS)))
def test_a_statement_says_the_same_for_every_node(statement: str) -> None:
    made = CLUSTER.statements(statement)
    if statement.startswith("INSERT INTO"):
        assert made == [statement]
        return
    assert all(each.count(ON) == 1 for each in made)
    assert _plain(made[0]) == statement


@pytest.mark.parametrize("statement", CREATED, ids=map(_name, CREATED))
def test_a_table_is_replicated_within_its_shard_and_spread_by_workspace(statement: str) -> None:
    name = _name(statement)
    local, *spread = CLUSTER.statements(statement)
    if name in ON_EVERY_NODE:
        assert f"('/clickhouse/tables/all/tallyrun/{name}', '{{shard}}-{{replica}}'" in local
        assert spread == []
        return
    assert f"CREATE TABLE IF NOT EXISTS {name}_local {ON} (" in local
    assert re.search(
        rf"ENGINE = Replicated\w*MergeTree\('/clickhouse/tables/{{shard}}/tallyrun/{name}', '{{replica}}'", local
    )
    assert "workspace_id UUID" in local
    [over] = spread
    assert over.startswith(f"CREATE TABLE IF NOT EXISTS {name} {ON} AS {name}_local")
    assert over.endswith(f"ENGINE = Distributed('main', 'tallyrun', '{name}_local', sipHash64(workspace_id))")


async def test_the_engine_reads_every_statement(database: ClickHouse) -> None:
    made = [each for statement in ORIGINALS for each in CLUSTER.statements(statement)]
    for each in [*made, *CLUSTER.catching_up(("runs", "dirty_hours"))]:
        await database._run(lambda each=each: database._client.command(f"EXPLAIN AST {each}"))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("statement", "tables"),
    [
        ("ALTER TABLE runs\n    ADD COLUMN IF NOT EXISTS more String", ["runs_local", "runs"]),
        ("ALTER TABLE runs MODIFY COLUMN more UInt8 DEFAULT 1", ["runs_local", "runs"]),
        ("ALTER TABLE runs ADD INDEX IF NOT EXISTS i more TYPE minmax", ["runs_local"]),
        ("ALTER TABLE runs MODIFY TTL toDate(hour) + 1 DELETE", ["runs_local"]),
        ("DROP TABLE run_texts", ["run_texts", "run_texts_local"]),
    ],
)
def test_columns_are_changed_on_both_tables_and_what_is_stored_on_its_own(statement: str, tables: list[str]) -> None:
    assert [_name(each) for each in CLUSTER.statements(statement)] == tables


def test_an_insert_waits_for_most_replicas_and_what_is_read_next_for_all() -> None:
    assert SETTINGS["insert_quorum"] == "auto"
    assert SETTINGS["distributed_foreground_insert"] == 1
    assert CLUSTER.catching_up(("runs",)) == [f"SYSTEM SYNC REPLICA {ON} tallyrun.runs_local LIGHTWEIGHT"]


async def test_marks_and_runs_are_caught_up_with_before_they_are_read(
    database: ClickHouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    class Client:
        def command(self, statement: str, *_: object) -> None:
            said.append(statement)

    clustered = ClickHouse("http://127.0.0.1:1", "tallyrun", "main")
    clustered._local.client = Client()
    monkeypatch.setattr(clustered, "_in_thread", lambda work: _done(work()))
    await clustered.catch_up("dirty_hours", "runs")
    await clustered.execute("retain_runs", table=OF_RUNS[0], days=90)
    assert said[:2] == CLUSTER.catching_up(("dirty_hours", "runs"))
    assert said[2].startswith(f"ALTER TABLE runs_local {ON} MODIFY TTL")
    await clustered.close()


async def _done(result: object) -> object:
    return result


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("take_turn", f"CREATE TABLE migrating {ON} (nothing UInt8) ENGINE = Memory"),
        ("beat_turn", f"ALTER TABLE migrating {ON} MODIFY COMMENT %(beat)s"),
        ("end_turn", f"DROP TABLE IF EXISTS migrating {ON} SYNC"),
        ("stale_turn", f"RENAME TABLE migrating TO migrating_stale {ON}"),
        ("forget_stale_turn", f"DROP TABLE IF EXISTS migrating_stale {ON} SYNC"),
    ],
)
def test_whose_turn_it_is_to_migrate_is_told_to_every_node(query: str, told: str) -> None:
    assert CLUSTER.statements(adapter._sql(query)) == [told]
