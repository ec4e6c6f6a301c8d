"""Versions of the key-encryption key: added, promoted, retired, as calls and as an operator types them."""

import asyncio
import base64
import os
from dataclasses import dataclass

import asyncpg
import pytest
from tests.support.keyring import QuickMasterKey
from typer.testing import CliRunner, Result

from common.contracts.credentials_v1 import SaveKey
from common.errors import Conflict, NotFound
from common.ids import new_id
from vault.audit_key import read_audit_key
from vault.command.app import app
from vault.kek_versions import add, promote, retire
from vault.keyring import KekMissing, Keyring
from vault.keys import Keys
from vault.master_key import MasterKey
from vault.rewrap import Rewrap
from vault.sources import unlock
from vault.store import Store


async def nobody(_: object) -> None:
    """Announce to nobody."""


async def save(store: Store, keyring: Keyring, times: int = 1) -> None:
    keys = Keys(store, keyring, nobody)
    for _ in range(times):
        secret = f"key-{new_id().hex}"
        await keys.save(new_id(), SaveKey.model_validate({"provider": "openai", "secret": secret, "actor": "ann"}))


async def states(store: Store) -> list[str]:
    return [record.state for record in await store.keks()]


@pytest.fixture
def new() -> QuickMasterKey:
    return QuickMasterKey()


@pytest.fixture
async def both(store: Store, keyring: Keyring, master: QuickMasterKey, new: QuickMasterKey) -> Keyring:
    """The keyring of a replica that has both keys, the new one added as version 2."""
    await add(store, new)
    return Keyring(store, [new, master])


async def test_a_new_version_only_decrypts_until_it_is_promoted(store: Store, both: Keyring) -> None:
    assert await states(store) == ["primary", "decrypt-only"]
    await save(store, both)
    assert await store.kek_uses() == {1: 1}
    await promote(store, both, 2)
    assert await states(store) == ["decrypt-only", "primary"]
    await save(store, both)
    assert await store.kek_uses() == {1: 1, 2: 1}


async def test_a_promotion_can_be_taken_back_and_repeated(store: Store, both: Keyring) -> None:
    for version in (2, 2, 1, 2):
        await promote(store, both, version)
    assert await states(store) == ["decrypt-only", "primary"]


async def test_one_key_is_not_two_versions(store: Store, both: Keyring, new: QuickMasterKey) -> None:
    known = QuickMasterKey()
    known.keks = new.keks
    with pytest.raises(Conflict, match="is version 2 already"):
        await add(store, known)


async def test_a_database_without_a_keyring_is_no_place_for_a_second_version(store: Store, new: QuickMasterKey) -> None:
    with pytest.raises(Conflict, match="first start makes version 1"):
        await add(store, new)


async def test_what_does_not_open_here_is_not_promoted(store: Store, keyring: Keyring, both: Keyring) -> None:
    with pytest.raises(KekMissing, match="version 2"):
        await promote(store, keyring, 2)
    assert await states(store) == ["primary", "decrypt-only"]


async def test_a_version_that_is_not_there_is_not_found(store: Store, both: Keyring) -> None:
    with pytest.raises(NotFound, match="version 3"):
        await promote(store, both, 3)
    with pytest.raises(NotFound, match="version 3"):
        await retire(store, 3)


async def test_a_version_in_use_is_not_retired_and_says_how_often_and_what_to_do(store: Store, both: Keyring) -> None:
    await save(store, both, times=3)
    with pytest.raises(Conflict, match="version 1 is the primary one"):
        await retire(store, 1)
    await promote(store, both, 2)
    with pytest.raises(Conflict, match=r"3 stored secrets still use version 1: run `vault rewrap`"):
        await retire(store, 1)
    await Rewrap(store, both).run(lambda _: None)
    await retire(store, 1)
    await retire(store, 1)
    assert await states(store) == ["retired", "primary"]
    with pytest.raises(Conflict, match="was retired"):
        await promote(store, both, 1)


async def test_while_something_is_being_sealed_its_version_is_neither_replaced_nor_retired(
    store: Store, both: Keyring, sql: asyncpg.Connection
) -> None:
    async with store.transaction() as sealing:
        assert await sealing.primary_kek() == 1
        promotion = asyncio.create_task(promote(store, both, 2))
        await until_one_waits(sql)
        assert not promotion.done()
    await promotion
    assert await primary(store) == 2


async def test_who_waited_for_a_promotion_seals_under_the_new_version(
    store: Store, both: Keyring, sql: asyncpg.Connection
) -> None:
    async with store.keyring_transaction() as promoting:
        await promoting.locked_keks()
        await promoting.set_kek_state(1, "decrypt-only")
        await promoting.set_kek_state(2, "primary")
        late = asyncio.create_task(primary(store))
        await until_one_waits(sql)
    assert await late == 2


async def primary(store: Store) -> int:
    async with store.transaction() as transaction:
        return await transaction.primary_kek()


async def until_one_waits(sql: asyncpg.Connection) -> None:
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    async with asyncio.timeout(10):
        while not await sql.fetchval(waiting):
            await asyncio.sleep(0.005)


# As typed


@dataclass(frozen=True)
class Shell:
    """A shell with an environment of its own."""

    environment: dict[str, str]

    def vault(self, *arguments: str, **changed: str | None) -> Result:
        """Run `vault …` with these variables changed, or taken away."""
        return CliRunner().invoke(app, arguments, env={**self.environment, **changed})


def drawn() -> str:
    return base64.b64encode(os.urandom(32)).decode()


def test_an_operator_rotates_the_master_key(database: str) -> None:
    old, new = drawn(), drawn()
    shell = Shell({"DATABASE_URL": database, "API_KEY_ENCRYPTION_KEY": old})
    both = {"API_KEY_ENCRYPTION_KEY": new, "API_KEY_ENCRYPTION_KEY_PREVIOUS": old}
    assert shell.vault("keyring", "list").stdout.splitlines() == ["version\tstate\tkind\tsecrets\tcreated\treference"]
    early = shell.vault("keyring", "add")
    assert (early.exit_code, "first start makes version 1" in early.stderr) == (1, True)
    asyncio.run(first_start(database, old))

    again = shell.vault("keyring", "add")
    assert (again.exit_code, "is version 1 already (primary)" in again.stderr) == (1, True)
    added = shell.vault("keyring", "add", **both)
    assert (added.exit_code, "Added version 2" in added.stderr) == (0, True)
    blind = shell.vault("keyring", "promote", "2")
    assert (blind.exit_code, "version 2" in blind.stderr) == (7, True)
    assert shell.vault("keyring", "promote", "2", **both).exit_code == 0
    used = shell.vault("keyring", "retire", "1")
    assert (used.exit_code, "6 stored secrets still use version 1" in used.stderr) == (1, True)
    rewrapped = shell.vault("rewrap", **both)
    assert rewrapped.exit_code == 0
    assert "6 rewrapped, 0 changed meanwhile, 0 do not open.\nSealed now: 6 under version 2" in rewrapped.stderr
    assert shell.vault("keyring", "retire", "1").exit_code == 0
    listed = shell.vault("keyring", "list", API_KEY_ENCRYPTION_KEY=None)
    lines = [line.split("\t")[:4] for line in listed.stdout.splitlines()]
    assert lines == [
        ["version", "state", "kind", "secrets"],
        ["1", "retired", "local", "0"],
        ["2", "primary", "local", "6"],
    ]
    everything = [early, again, added, blind, used, rewrapped, listed]
    assert not any(key in run.stdout + run.stderr for key in (old, new) for run in everything)


async def first_start(database: str, passphrase: str) -> None:
    """Start a vault, and store five secrets; the audit key is the sixth."""
    master, store = MasterKey(passphrase.encode()), Store(database)
    keyring = Keyring(store, [master])
    await unlock(keyring, store, [master])
    store.audit_with(await read_audit_key(keyring, store))
    await save(store, keyring, times=5)
    await store.close()


def test_what_is_not_set_is_named_and_nothing_else_is_shown(database: str) -> None:
    shell = Shell({"DATABASE_URL": database})
    key = drawn()
    for command, variables, named in (
        (("keyring", "list"), {"DATABASE_URL": None, "API_KEY_ENCRYPTION_KEY": key}, "DATABASE_URL"),
        (("keyring", "add"), {}, "No master key is set"),
        (("keyring", "add", "--transit"), {"API_KEY_ENCRYPTION_KEY": key}, "TRANSIT_URL"),
        (("rewrap",), {"API_KEY_ENCRYPTION_KEY": "weak"}, "The master key is weak"),
    ):
        failed = shell.vault(*command, **variables)
        assert failed.exit_code == 1
        assert named in failed.stderr
        assert "Traceback" not in failed.stderr
        assert key not in failed.stderr


def test_a_database_that_is_away_is_exit_7(database: str) -> None:
    away = Shell({"DATABASE_URL": "postgresql+asyncpg://nobody@127.0.0.1:1/vault"}).vault("keyring", "list")
    assert (away.exit_code, "Traceback" in away.stderr) == (7, False)
