"""The audit on a real database, changed by somebody who may change all of it: `vault audit verify` finds it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest
import typer
from sqlalchemy import text

from common.contracts.audit_v1 import AuditHeads
from common.identity import Signer, new_key_pair
from common.ids import new_id
from vault.audit import AuditEntry
from vault.audit_key import AuditKeyRefused
from vault.chain import NO_WORKSPACE, AuditKey, Head, Row, columns
from vault.command.audit import _export, _verify
from vault.command.opened import opened_store
from vault.heads import Heads
from vault.settings import VaultSettings
from vault.store import Store
from vault.store.audit import AuditReader, Period
from vault.verify import Walk

pytestmark = pytest.mark.usefixtures("quick_scrypt")

PUBLISHED, NEWER = 6, 2
ONE, OTHER = new_id(), new_id()
"""Two workspaces. The attacks are on the first one's chain: six rows whose last was published, and two newer ones."""


@dataclass
class Audited:
    """A database with an audit, and the file of its published heads."""

    settings: VaultSettings
    store: Store
    key: AuditKey
    file: Path


async def write(store: Store, workspace: UUID | None, rows: int) -> None:
    for number in range(rows):
        async with store.transaction() as transaction:
            entry = AuditEntry("lease", f"runner {number}", workspace_id=workspace, provider="openai", key_id=new_id())
            await transaction.audit(entry)


@pytest.fixture
async def audited(settings: VaultSettings, identity_dir: Path, tmp_path: Path) -> AsyncIterator[Audited]:
    file = tmp_path / "heads.jsonl"

    async def publish(heads: AuditHeads) -> None:
        with file.open("ab") as kept:
            kept.write(heads.encode() + b"\n")

    async with opened_store(settings) as (store, _, key):
        heads = Heads(store, Signer.load("vault", identity_dir), publish)
        for workspace in (ONE, OTHER, None):
            await write(store, workspace, 3)
        await heads.publish()
        for workspace in (ONE, OTHER, None):
            await write(store, workspace, PUBLISHED - 3)
        await heads.publish()
        await write(store, ONE, NEWER)
        yield Audited(settings, store, key, file)


async def verdict(
    audited: Audited, capsys: pytest.CaptureFixture[str], workspace: UUID | None = None
) -> tuple[int, list[str]]:
    """Return what `vault audit verify` exits with, and the lines that it prints."""
    capsys.readouterr()
    try:
        await _verify(audited.settings, workspace, audited.file, compare=True)
        code = 0
    except typer.Exit as end:
        code = end.exit_code
    out, err = capsys.readouterr()
    print(out, err)
    return code, out.splitlines()


async def stored(audited: Audited) -> list[Row]:
    """Return the first workspace's rows."""
    async with audited.store.audit_reader() as reader:
        return [row async for row in reader.rows(Period(ONE))]


Sql = asyncpg.Connection
Attack = Callable[[Audited, Sql], Awaitable[None]]


async def edit(_: Audited, sql: Sql) -> None:
    await sql.execute("UPDATE audit SET actor = 'nobody' WHERE chain = $1 AND seq = 4", ONE)


async def delete(_: Audited, sql: Sql) -> None:
    await sql.execute("DELETE FROM audit WHERE chain = $1 AND seq = 4", ONE)


async def reorder(_: Audited, sql: Sql) -> None:
    for seq, to in ((4, 99), (5, 4), (99, 5)):
        await sql.execute("UPDATE audit SET seq = $3 WHERE chain = $1 AND seq = $2", ONE, seq, to)


async def reorder_with_links(audited: Audited, sql: Sql) -> None:
    """Swap two rows' contents, and leave their places as they were."""
    for row, seq in zip((await stored(audited))[3:5], (5, 4), strict=True):
        found = "chain = $1 AND seq = $2"
        await sql.execute(f"UPDATE audit SET actor = $3, key_id = $4, at = $5 WHERE {found}", ONE, seq,
                          row.entry.actor, row.entry.key_id, row.entry.at)  # fmt: skip


async def insert(audited: Audited, sql: Sql, seq: int = 9, key: AuditKey | None = None) -> None:
    """Append a lease that never was, without the key."""
    head = (await stored(audited))[seq - 2].head
    await put(sql, (key or AuditKey(bytes(32))).append(head, AuditEntry("lease", "nobody", workspace_id=ONE)))


async def put(sql: Sql, row: Row) -> None:
    values = {name: value for name, value in columns(row).items() if value is not None}
    places = ", ".join(f"${number + 1}" for number in range(len(values)))
    await sql.execute(f"INSERT INTO audit ({', '.join(values)}) VALUES ({places})", *values.values())
    await point(sql, row.head)


async def point(sql: Sql, head: Head) -> None:
    await sql.execute(
        "UPDATE audit_heads SET seq = $2, mac = $3, at = $4 WHERE chain = $1", ONE, head.seq, head.mac, head.at
    )


async def truncate(audited: Audited, sql: Sql) -> None:
    """Take the newest rows away, and leave a chain that is whole."""
    await point(sql, (await stored(audited))[3].head)
    await sql.execute("DELETE FROM audit WHERE chain = $1 AND seq > 4", ONE)


async def truncate_carelessly(_: Audited, sql: Sql) -> None:
    await sql.execute("DELETE FROM audit WHERE chain = $1 AND seq > 7", ONE)


async def truncate_and_go_on(audited: Audited, sql: Sql) -> None:
    """Take the newest rows away, and let the vault write others in their place."""
    await truncate(audited, sql)
    await write(audited.store, ONE, 4)


async def erase(_: Audited, sql: Sql) -> None:
    await sql.execute("DELETE FROM audit WHERE chain = $1", ONE)
    await sql.execute("DELETE FROM audit_heads WHERE chain = $1", ONE)


async def recompute(audited: Audited, sql: Sql, key: AuditKey | None = None) -> None:
    """Change a row and write all that follows anew, with a key of one's own."""
    rows = await stored(audited)
    await sql.execute("DELETE FROM audit WHERE chain = $1 AND seq >= 4", ONE)
    head = rows[2].head
    for row in rows[3:]:
        forged = (key or AuditKey(bytes(32))).append(head, row.entry if row.seq > 4 else AuditEntry(
            "lease", "nobody", workspace_id=ONE))  # fmt: skip
        await put(sql, forged)
        head = forged.head


async def recompute_with_the_key(audited: Audited, sql: Sql) -> None:
    await recompute(audited, sql, audited.key)


async def move(_: Audited, sql: Sql) -> None:
    """Give a row to another workspace."""
    await sql.execute("UPDATE audit SET workspace_id = $2, seq = 7 WHERE chain = $1 AND seq = 4", ONE, OTHER)


async def move_head(audited: Audited, sql: Sql) -> None:
    """Let the next row be written as if the last two had not been: the vault would refuse to write over them."""
    await point(sql, (await stored(audited))[5].head)


ATTACKS: list[tuple[Attack, set[str]]] = [
    (edit, {"edited row 4"}),
    (delete, {"missing row 4"}),
    (reorder, {"unlinked row 4", "unlinked row 5", "unlinked row 6", "edited row 4", "edited row 5"}),
    (reorder_with_links, {"edited row 4", "edited row 5"}),
    (insert, {"edited row 9"}),
    (truncate, {"truncated row 6"}),
    (truncate_carelessly, {"truncated row 8"}),
    (truncate_and_go_on, {"replaced row 6"}),
    (erase, {"truncated row 6"}),
    (recompute, {f"edited row {seq}" for seq in range(4, 9)} | {"replaced row 6"}),
    (recompute_with_the_key, {"replaced row 6"}),
    (move, {"missing row 4", "unlinked row 7", "edited row 7", "head row 7"}),
    (move_head, {"head row 8"}),
]


async def test_an_audit_that_nobody_touched_is_whole(audited: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    assert await verdict(audited, capsys) == (0, [])
    assert await verdict(audited, capsys, workspace=ONE) == (0, [])


@pytest.mark.parametrize(("attack", "expected"), ATTACKS, ids=[attack.__name__ for attack, _ in ATTACKS])
async def test_what_was_done_to_the_audit_is_found(
    audited: Audited, sql: Sql, capsys: pytest.CaptureFixture[str], attack: Attack, expected: set[str]
) -> None:
    await attack(audited, sql)
    code, lines = await verdict(audited, capsys)
    assert code == 3
    assert {fault_of(line) for line in lines} == expected


def fault_of(line: str) -> str:
    """Return `<kind> row <number>` of a line: `workspace <id> <kind> <time> row <number>: <what is wrong>`."""
    head, _, row = line.partition(": ")[0].partition(" row")
    return f"{head.split()[2]} row{row}"


CHANGES = {
    "seq": "seq + 100", "previous": "set_byte(previous, 31, 255 - get_byte(previous, 31))",
    "mac": "set_byte(mac, 0, 255 - get_byte(mac, 0))", "at": "at + 1", "action": "'save'", "outcome": "'refused'",
    "actor": "actor || ' '", "workspace_id": "gen_random_uuid()", "provider": "NULL", "key_id": "gen_random_uuid()",
    "version": "1", "grant_id": "gen_random_uuid()", "operation": "''",
}  # fmt: skip


async def test_every_change_of_every_field_of_every_row_is_found(audited: Audited, sql: Sql) -> None:
    there = await sql.fetch("SELECT column_name FROM information_schema.columns WHERE table_name = 'audit'")
    assert {row["column_name"] for row in there} == {*CHANGES, "chain"}, "chain follows from workspace_id"
    macs = [row["mac"] for row in await sql.fetch("SELECT mac FROM audit")]
    async with audited.store._connection() as connection:
        assert await faults(audited.key, AuditReader(connection)) == 0
        for mac in macs:
            for column, change in CHANGES.items():
                changed = await connection.begin_nested()
                update = text(f"UPDATE audit SET {column} = {change} WHERE mac = :mac")
                assert (await connection.execute(update, {"mac": mac})).rowcount == 1
                assert await faults(audited.key, AuditReader(connection)), (mac, column)
                await changed.rollback()
        assert await faults(audited.key, AuditReader(connection)) == 0
    print(f"{len(macs)} rows, {len(macs) * len(CHANGES)} changes, each found")


async def faults(key: AuditKey, reader: AuditReader) -> int:
    walk = Walk(key, await reader.heads())
    found = [fault async for row in reader.rows(Period()) for fault in walk.row(row)]
    return len(found) + len(list(walk.end()))


async def test_every_start_reads_the_same_audit_key_and_one_that_does_not_open_is_refused(
    audited: Audited, sql: Sql, capsys: pytest.CaptureFixture[str]
) -> None:
    async with opened_store(audited.settings) as (store, _, _):
        await write(store, ONE, 1)
    assert await verdict(audited, capsys) == (0, [])
    await sql.execute("UPDATE key_versions SET sealed = set_byte(sealed, 90, 255 - get_byte(sealed, 90))")
    with pytest.raises(AuditKeyRefused, match="from a backup"):
        async with opened_store(audited.settings):
            pass


async def test_verification_needs_a_published_head_or_is_told_to_do_without(
    audited: Audited, capsys: pytest.CaptureFixture[str]
) -> None:
    stranger = Signer("vault", new_key_pair()[0])
    audited.file.write_text(json.dumps({"statement": stranger.statement("audit-heads", {"at": 1, "heads": []})}))
    assert await verdict(audited, capsys) == (1, [])
    await _verify(audited.settings, None, None, compare=False)


async def test_heads_are_read_out_of_the_vaults_log_too(audited: Audited, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [{"message": "audit heads", **json.loads(line)} for line in audited.file.read_text().splitlines()]
    audited.file.write_text("\n".join(["no JSON", '{"message": "something else"}', *map(json.dumps, lines)]))
    assert await verdict(audited, capsys) == (0, [])


async def test_the_export_is_every_row_or_those_of_a_workspace_and_a_time(
    audited: Audited, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    async def exported(period: Period) -> list[dict[str, object]]:
        await _export(audited.settings, period)
        return [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]

    assert len(await exported(Period())) == 3 * PUBLISHED + NEWER
    mine = await exported(Period(ONE))
    assert [row["seq"] for row in mine] == list(range(1, PUBLISHED + NEWER + 1))
    assert [row["previous"] for row in mine] == [Head().mac.hex(), *(row["mac"] for row in mine[:-1])]
    assert (mine[1]["actor"], mine[1]["workspace_id"], mine[1]["version"]) == ("runner 1", str(ONE), None)
    third = int(str(mine[2]["at"]))
    assert all(int(str(row["at"])) < third for row in await exported(Period(ONE, until=third)))
    assert {row["seq"] for row in await exported(Period(ONE, since=third))} >= set(range(3, PUBLISHED + NEWER + 1))
    (nobodys, *_) = await exported(Period(NO_WORKSPACE))
    assert nobodys["workspace_id"] is None
