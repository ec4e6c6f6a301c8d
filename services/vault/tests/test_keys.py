"""The life of a key, on a real database."""

import asyncio
import secrets
from uuid import UUID

import asyncpg
import pytest

from common.contracts.credentials_v1 import Activate, CredentialsChanged, KeyView, SavedKey, SaveKey
from common.errors import Conflict, InvalidRequest, NotFound, Unavailable
from common.ids import new_id, now_ms
from vault.keyring import Keyring
from vault.keys import Keys
from vault.leases import SealedKey
from vault.store import Store


class Broker:
    """Takes announcements; away, it refuses them."""

    def __init__(self) -> None:
        self.announced: list[CredentialsChanged] = []
        self.away = False

    async def announce(self, event: CredentialsChanged) -> None:
        if self.away:
            raise Unavailable("away")
        self.announced.append(event)


@pytest.fixture
def broker() -> Broker:
    return Broker()


@pytest.fixture
def keys(store: Store, keyring: Keyring, broker: Broker) -> Keys:
    return Keys(store, keyring, broker.announce)


def new_secret() -> str:
    return secrets.token_urlsafe(24)


def save_key(secret: str, provider: str = "openai", name: str = "default") -> SaveKey:
    return SaveKey.model_validate({"provider": provider, "name": name, "secret": secret, "actor": "ann"})


async def activate(keys: Keys, workspace: UUID, saved: SavedKey) -> KeyView:
    return await keys.activate(workspace, saved.key_id, saved.version, Activate(verified=True, actor="ann"))


async def connect(keys: Keys, workspace: UUID, secret: str, provider: str = "openai", name: str = "default") -> KeyView:
    return await activate(keys, workspace, await keys.save(workspace, save_key(secret, provider, name)))


async def active(store: Store, workspace: UUID, provider: str = "openai") -> SealedKey | None:
    async with store.transaction() as transaction:
        return await transaction.active(workspace, provider, None)


async def opened(store: Store, keyring: Keyring, workspace: UUID) -> str | None:
    found = await active(store, workspace)
    return None if found is None else (await keyring.open(found.context, found.sealed)).get_secret_value()


async def actions(sql: asyncpg.Connection) -> list[tuple[str, ...]]:
    rows = await sql.fetch("SELECT action, actor, outcome, version FROM audit ORDER BY chain, seq")
    return [tuple(map(str, row)) for row in rows]


# Save


async def test_a_saved_key_waits_for_its_check(keys: Keys, store: Store, workspace: UUID) -> None:
    saved = await keys.save(workspace, save_key(new_secret()))
    assert saved.version == 1
    assert await keys.list(workspace) == []
    assert await active(store, workspace) is None


async def test_what_is_stored_is_sealed(keys: Keys, sql: asyncpg.Connection, workspace: UUID) -> None:
    secret = new_secret()
    await keys.save(workspace, save_key(secret))
    row = await sql.fetchrow("SELECT * FROM key_versions")
    assert row is not None
    assert row["preview"] == secret[-4:]
    assert secret.encode() not in row["sealed"]


async def test_a_short_secret_shows_nothing_of_itself(keys: Keys, workspace: UUID) -> None:
    assert (await connect(keys, workspace, "elevenchars")).preview == ""
    assert (await connect(keys, workspace, "twelve chars")).preview == "hars"


async def test_the_same_name_rotates_another_name_or_provider_or_workspace_adds(keys: Keys, workspace: UUID) -> None:
    first = await keys.save(workspace, save_key(new_secret()))
    again = await keys.save(workspace, save_key(new_secret()))
    assert (again.key_id, again.version) == (first.key_id, 2)
    others = [
        await keys.save(workspace, save_key(new_secret(), name="second")),
        await keys.save(workspace, save_key(new_secret(), provider="anthropic")),
        await keys.save(new_id(), save_key(new_secret())),
    ]
    assert {other.version for other in others} == {1}
    assert len({first.key_id, *(other.key_id for other in others)}) == 4


async def test_simultaneous_saves_of_a_new_name_are_versions_of_one_key(keys: Keys, workspace: UUID) -> None:
    saved = await asyncio.gather(*(keys.save(workspace, save_key(new_secret())) for _ in range(5)))
    assert len({one.key_id for one in saved}) == 1
    assert sorted(one.version for one in saved) == [1, 2, 3, 4, 5]


async def test_a_name_that_cannot_be_stored_is_the_callers_fault(keys: Keys, workspace: UUID) -> None:
    with pytest.raises(InvalidRequest):
        await keys.save(workspace, save_key(new_secret(), name="nul\0"))


# Activate


async def test_an_activated_key_can_be_used(keys: Keys, store: Store, keyring: Keyring, workspace: UUID) -> None:
    secret = new_secret()
    view = await connect(keys, workspace, secret)
    assert (view.is_active, view.verified, view.version, view.preview) == (True, True, 1, secret[-4:])
    assert await opened(store, keyring, workspace) == secret


async def test_an_unverified_key_says_so(keys: Keys, workspace: UUID) -> None:
    saved = await keys.save(workspace, save_key(new_secret()))
    await keys.activate(workspace, saved.key_id, saved.version, Activate(verified=False, actor="ann"))
    assert [view.verified for view in await keys.list(workspace)] == [False]


async def test_a_rotation_leaves_the_old_version_in_use_until_it_is_activated(
    keys: Keys, store: Store, keyring: Keyring, workspace: UUID
) -> None:
    old, new = new_secret(), new_secret()
    before = await connect(keys, workspace, old)
    rotation = await keys.save(workspace, save_key(new))
    assert await opened(store, keyring, workspace) == old
    after = await activate(keys, workspace, rotation)
    assert await opened(store, keyring, workspace) == new
    assert (after.id, after.version, after.created_at) == (before.id, 2, before.created_at)


async def test_a_replaced_version_is_wiped(keys: Keys, sql: asyncpg.Connection, workspace: UUID) -> None:
    await connect(keys, workspace, new_secret())
    await connect(keys, workspace, new_secret())
    assert await sql.fetchval("SELECT array_agg(sealed IS NULL ORDER BY version) FROM key_versions") == [True, False]


async def test_activating_again_changes_nothing(keys: Keys, store: Store, workspace: UUID) -> None:
    saved = await keys.save(workspace, save_key(new_secret()))
    first = await activate(keys, workspace, saved)
    before = await active(store, workspace)
    assert await activate(keys, workspace, saved) == first
    assert await active(store, workspace) == before


async def test_only_the_newest_version_can_be_activated(keys: Keys, workspace: UUID) -> None:
    older = await keys.save(workspace, save_key(new_secret()))
    newer = await keys.save(workspace, save_key(new_secret()))
    with pytest.raises(Conflict):
        await activate(keys, workspace, older)
    assert (await activate(keys, workspace, newer)).version == 2


async def test_an_erased_version_cannot_be_activated_nor_its_number_reused(keys: Keys, workspace: UUID) -> None:
    await connect(keys, workspace, new_secret())
    erased = await keys.save(workspace, save_key(new_secret()))
    await keys.erase(workspace, erased.key_id, erased.version, "ann")
    with pytest.raises(Conflict):
        await activate(keys, workspace, erased)
    assert (await keys.save(workspace, save_key(new_secret()))).version == 3


async def test_nothing_can_be_done_to_another_workspaces_key(keys: Keys, workspace: UUID) -> None:
    saved = await keys.save(workspace, save_key(new_secret()))
    with pytest.raises(NotFound):
        await activate(keys, new_id(), saved)
    await keys.erase(new_id(), saved.key_id, saved.version, "eve")
    await activate(keys, workspace, saved)
    with pytest.raises(NotFound):
        await keys.deactivate(new_id(), saved.key_id, "eve")
    assert [view.is_active for view in await keys.list(workspace)] == [True]


# Erase and sweep


async def test_an_erased_key_leaves_nothing(keys: Keys, sql: asyncpg.Connection, workspace: UUID) -> None:
    saved = await keys.save(workspace, save_key(new_secret()))
    await keys.erase(workspace, saved.key_id, saved.version, "ann")
    await keys.erase(workspace, saved.key_id, saved.version, "ann")
    assert await sql.fetchval("SELECT (SELECT count(*) FROM keys) + (SELECT count(*) FROM key_versions)") == 0
    assert [action for action, *_ in await actions(sql)] == ["save", "erase"]


async def test_erasing_a_rotation_leaves_the_key(keys: Keys, store: Store, keyring: Keyring, workspace: UUID) -> None:
    secret = new_secret()
    await connect(keys, workspace, secret)
    rotation = await keys.save(workspace, save_key(new_secret()))
    await keys.erase(workspace, rotation.key_id, rotation.version, "ann")
    assert await opened(store, keyring, workspace) == secret


async def test_a_version_in_use_cannot_be_erased(keys: Keys, workspace: UUID) -> None:
    view = await connect(keys, workspace, new_secret())
    with pytest.raises(Conflict):
        await keys.erase(workspace, view.id, view.version, "ann")


async def test_a_replaced_version_is_not_erased_it_stays_on_record(
    keys: Keys, sql: asyncpg.Connection, workspace: UUID
) -> None:
    replaced = await connect(keys, workspace, new_secret())
    await connect(keys, workspace, new_secret())
    await keys.erase(workspace, replaced.id, replaced.version, "ann")
    assert await sql.fetchval("SELECT count(*) FROM key_versions") == 2


async def test_the_sweep_takes_what_waits_too_long_and_nothing_else(keys: Keys, workspace: UUID) -> None:
    await connect(keys, workspace, new_secret())
    stale = await keys.save(workspace, save_key(new_secret()))
    fresh = await keys.save(workspace, save_key(new_secret(), name="second"))
    await asyncio.sleep(0.002)  # the clock passes a millisecond
    await keys.sweep(created_before=now_ms() - 600_000)
    assert (await activate(keys, workspace, fresh)).is_active
    await keys.sweep(created_before=now_ms())
    with pytest.raises(Conflict):
        await activate(keys, workspace, stale)
    assert len(await keys.list(workspace)) == 2


# List


async def test_a_workspace_without_keys_lists_none(keys: Keys, workspace: UUID) -> None:
    assert await keys.list(workspace) == []


async def test_the_list_shows_this_workspaces_keys_the_oldest_first(keys: Keys, workspace: UUID) -> None:
    await connect(keys, new_id(), new_secret())
    mine = [
        await connect(keys, workspace, new_secret(), name="one"),
        await connect(keys, workspace, new_secret(), name="two"),
        await connect(keys, workspace, new_secret(), provider="anthropic"),
    ]
    assert await keys.list(workspace) == mine


async def test_the_list_shows_the_version_in_use_not_the_one_that_waits(keys: Keys, workspace: UUID) -> None:
    view = await connect(keys, workspace, new_secret())
    await keys.save(workspace, save_key(new_secret()))
    assert await keys.list(workspace) == [view]


# Deactivate


async def test_a_deactivated_key_stays_in_the_list_and_opens_no_more(keys: Keys, store: Store, workspace: UUID) -> None:
    view = await connect(keys, workspace, new_secret())
    await keys.deactivate(workspace, view.id, "ann")
    assert await keys.list(workspace) == [view.model_copy(update={"is_active": False, "state": "inactive"})]
    assert await active(store, workspace) is None


async def test_a_deactivated_key_cannot_come_back_and_frees_its_name(keys: Keys, workspace: UUID) -> None:
    view = await connect(keys, workspace, new_secret())
    rotation = await keys.save(workspace, save_key(new_secret()))
    await keys.deactivate(workspace, view.id, "ann")
    with pytest.raises(Conflict):
        await activate(keys, workspace, rotation)
    again = await connect(keys, workspace, new_secret())
    assert again.id != view.id
    assert [key.is_active for key in await keys.list(workspace)] == [False, True]


async def test_a_key_that_was_never_active_cannot_be_deactivated(keys: Keys, workspace: UUID) -> None:
    saved = await keys.save(workspace, save_key(new_secret()))
    with pytest.raises(NotFound):
        await keys.deactivate(workspace, saved.key_id, "ann")


# Evictions


async def test_without_the_broker_a_deactivation_holds_and_is_announced_by_its_repetition(
    keys: Keys, store: Store, broker: Broker, sql: asyncpg.Connection, workspace: UUID
) -> None:
    view = await connect(keys, workspace, new_secret())
    broker.away = True
    with pytest.raises(Unavailable):
        await keys.deactivate(workspace, view.id, "ann")
    assert await active(store, workspace) is None
    broker.away = False
    await keys.deactivate(workspace, view.id, "ann")
    assert [(event.key_id, event.reason) for event in broker.announced] == [(view.id, "deactivated")]
    assert [action for action, *_ in await actions(sql)] == ["save", "activate", "deactivate"]


async def test_without_the_broker_a_rotation_holds_and_is_announced_by_its_repetition(
    keys: Keys, store: Store, keyring: Keyring, broker: Broker, workspace: UUID
) -> None:
    secret = new_secret()
    await connect(keys, workspace, new_secret())
    rotation = await keys.save(workspace, save_key(secret))
    broker.away = True
    with pytest.raises(Unavailable):
        await activate(keys, workspace, rotation)
    assert await opened(store, keyring, workspace) == secret
    broker.away = False
    await activate(keys, workspace, rotation)
    assert [(event.key_id, event.reason) for event in broker.announced] == [(rotation.key_id, "activated")]


async def test_an_eviction_is_newer_than_what_it_evicts_and_no_newer_than_what_follows(
    keys: Keys, store: Store, broker: Broker, workspace: UUID
) -> None:
    await connect(keys, workspace, new_secret())
    before = await active(store, workspace)
    view = await connect(keys, workspace, new_secret())
    after = await active(store, workspace)
    await keys.deactivate(workspace, view.id, "ann")
    rotated, deactivated = broker.announced
    assert before is not None
    assert after is not None
    assert before.revision < rotated.revision <= after.revision < deactivated.revision


async def test_no_lease_is_given_while_the_eviction_is_on_its_way(
    store: Store, keyring: Keyring, workspace: UUID
) -> None:
    reached, acknowledged = asyncio.Event(), asyncio.Event()

    async def slow(_: CredentialsChanged) -> None:
        reached.set()
        await acknowledged.wait()

    keys = Keys(store, keyring, slow)
    view = await connect(keys, workspace, new_secret())
    deactivation = asyncio.create_task(keys.deactivate(workspace, view.id, "ann"))
    await reached.wait()
    assert await active(store, workspace) is None
    assert not deactivation.done()
    acknowledged.set()
    await deactivation


# Audit


async def test_every_change_is_audited(keys: Keys, sql: asyncpg.Connection, workspace: UUID) -> None:
    view = await connect(keys, workspace, new_secret())
    rotation = await keys.save(workspace, save_key(new_secret()))
    await keys.erase(workspace, rotation.key_id, rotation.version, "bob")
    await keys.deactivate(workspace, view.id, "cid")
    assert await actions(sql) == [
        ("save", "ann", "done", "1"),
        ("activate", "ann", "done", "1"),
        ("save", "ann", "done", "2"),
        ("erase", "bob", "done", "2"),
        ("deactivate", "cid", "done", "1"),
    ]


async def test_what_cannot_be_audited_does_not_happen(
    keys: Keys, broker: Broker, sql: asyncpg.Connection, workspace: UUID
) -> None:
    view = await connect(keys, workspace, new_secret())
    waiting = await keys.save(workspace, save_key(new_secret()))
    before = await sql.fetch("SELECT k, v FROM keys k JOIN key_versions v ON v.key_id = k.id ORDER BY v.version")
    await sql.execute("ALTER TABLE audit ADD CONSTRAINT full_disk CHECK (false) NOT VALID")
    for change in (
        keys.save(workspace, save_key(new_secret())),
        activate(keys, workspace, waiting),
        keys.erase(workspace, waiting.key_id, waiting.version, "ann"),
        keys.deactivate(workspace, view.id, "ann"),
    ):
        with pytest.raises(Unavailable):
            await change
    after = await sql.fetch("SELECT k, v FROM keys k JOIN key_versions v ON v.key_id = k.id ORDER BY v.version")
    assert (after, broker.announced) == (before, [])
