"""Which master keys the vault starts with, on a keyring in which state."""

import asyncio
import base64
import os
import secrets
import subprocess
import sys
from pathlib import Path

import asyncpg
import pytest
from pydantic import SecretStr, ValidationError
from tests.support.keyring import QuickMasterKey

from common.ids import new_id
from vault.app import create_app
from vault.envelope import Context
from vault.kek_versions import add, promote, retire
from vault.keyring import Keyring
from vault.keys import Key
from vault.master_key import MasterKey, MasterKeyRefused, read_master_key
from vault.settings import VaultSettings
from vault.sources import read_sources, unlock
from vault.store import Store


@pytest.mark.parametrize(
    ("passphrase", "reason"),
    [
        ("", "fewer than 16 characters"),
        ("short", "fewer than 16 characters"),
        ("fifteen letters", "fewer than 16 characters"),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", "repeats itself"),
        ("passwordpassword", "repeats itself"),
        ("1234567890abcdef1234567890abcdef", "repeats itself"),
    ],
)
def test_a_weak_passphrase_is_refused_with_advice(passphrase: str, reason: str) -> None:
    with pytest.raises(MasterKeyRefused, match=reason) as refused:
        read_master_key(SecretStr(passphrase), None)
    assert "openssl rand -base64 32" in refused.value.message
    assert not passphrase or passphrase not in refused.value.message


def test_what_the_advice_makes_is_accepted(tmp_path: Path) -> None:
    made = base64.b64encode(os.urandom(32)).decode()
    assert material(read_master_key(SecretStr(made), None)) == made.encode()


def material(key: MasterKey | None) -> bytes:
    assert key is not None
    return key._material


@pytest.mark.parametrize("form", [bytes, lambda key: key.hex().encode(), base64.b64encode])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_file_holds_its_key_raw_or_as_text(tmp_path: Path, form: type[bytes], end: bytes) -> None:
    file, key = tmp_path / "key", os.urandom(32)
    file.write_bytes(form(key) if form is bytes else form(key) + end)
    assert material(read_master_key(None, file)) == key


@pytest.mark.parametrize(
    "content", [b"", bytes(range(31)), bytes(range(33)), b"not a key at all, but some sentence here"]
)
def test_a_file_without_32_bytes_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(MasterKeyRefused, match="does not hold 32 bytes"):
        read_master_key(None, tmp_path / "key")


def test_a_file_of_zeros_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(bytes(32))
    with pytest.raises(MasterKeyRefused, match="repeats itself"):
        read_master_key(None, tmp_path / "key")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MasterKeyRefused, match="cannot be read"):
        read_master_key(None, tmp_path / "nowhere")


def test_two_master_keys_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MasterKeyRefused, match="both set"):
        read_master_key(SecretStr(secrets.token_urlsafe()), tmp_path / "key")


def test_a_refused_one_is_called_by_its_variable() -> None:
    with pytest.raises(MasterKeyRefused, match="API_KEY_ENCRYPTION_KEY_PREVIOUS"):
        read_master_key(SecretStr("short"), None, "API_KEY_ENCRYPTION_KEY_PREVIOUS")


def test_nothing_set_is_refused_with_advice(settings: VaultSettings) -> None:
    bare = settings.model_copy(update={"api_key_encryption_key_file": None})
    with pytest.raises(MasterKeyRefused, match=r"No master key is set.*openssl rand -base64 32"):
        read_sources(bare)


def test_a_transit_server_needs_a_token(settings: VaultSettings) -> None:
    with pytest.raises(MasterKeyRefused, match="set TRANSIT_TOKEN_FILE"):
        read_sources(settings.model_copy(update={"transit_url": "http://127.0.0.1:1"}))


@pytest.mark.parametrize("url", ["http://transit.example:8200", "transit.example:8200", "ftp://127.0.0.1", ""])
def test_data_keys_travel_encrypted_or_not_at_all(settings: VaultSettings, tmp_path: Path, url: str) -> None:
    with pytest.raises(MasterKeyRefused, match="must be https"):
        read_sources(settings.model_copy(update={"transit_url": url, "transit_token_file": tmp_path / "token"}))


# Starts


CONTEXT = Context(new_id(), "openai", new_id(), 1)
SECRET = SecretStr("an ordinary secret")


async def start(store: Store, *masters: QuickMasterKey) -> Keyring:
    keyring = Keyring(store, masters)
    await unlock(keyring, store, masters)
    return keyring


async def use(store: Store, keyring: Keyring, kek_version: int) -> None:
    """Let something be sealed under this version."""
    async with store.transaction() as transaction:
        key = Key(new_id(), CONTEXT.workspace_id, "openai", str(kek_version), 1, None, 1, 0, None)
        await transaction.next_version(key)
        await transaction.add_pending(key, await keyring.seal(kek_version, key.context(1), SECRET), "", None)


async def test_a_later_start_opens_what_an_earlier_one_sealed(store: Store) -> None:
    material = os.urandom(32)
    first, later = [Keyring(store, [MasterKey(material)]) for _ in range(2)]
    for keyring in (first, later):
        await unlock(keyring, store, keyring._sources)
    assert await later.open(CONTEXT, await first.seal(1, CONTEXT, SECRET)) == SECRET


async def test_simultaneous_first_starts_agree_on_one_version(store: Store, master: QuickMasterKey) -> None:
    first, second = await asyncio.gather(start(store, master), start(store, master))
    assert await second.open(CONTEXT, await first.seal(1, CONTEXT, SECRET)) == SECRET
    assert [record.version for record in await store.keks()] == [1]


async def test_a_start_with_another_master_key_is_refused(store: Store, master: QuickMasterKey) -> None:
    await start(store, master)
    with pytest.raises(MasterKeyRefused, match="another master key"):
        await start(store, QuickMasterKey())


async def test_a_new_master_key_that_was_not_added_is_refused(store: Store, master: QuickMasterKey) -> None:
    await start(store, master)
    new = QuickMasterKey()
    with pytest.raises(MasterKeyRefused, match=r"opens no version .* `vault keyring add`"):
        await start(store, new, master)
    await add(store, new)
    await start(store, new, master)


async def test_before_a_promotion_a_replica_with_the_old_key_alone_starts(store: Store, master: QuickMasterKey) -> None:
    await use(store, await start(store, master), 1)
    await add(store, QuickMasterKey())
    await start(store, master)


async def test_after_a_promotion_both_keys_are_needed_until_the_old_version_is_unused(
    store: Store, master: QuickMasterKey, sql: asyncpg.Connection
) -> None:
    await use(store, await start(store, master), 1)
    new = QuickMasterKey()
    await add(store, new)
    await promote(store, Keyring(store, [new, master]), 2)
    await start(store, new, master)
    with pytest.raises(MasterKeyRefused, match=r"version 2 .* primary, and 0 stored secrets"):
        await start(store, master)
    with pytest.raises(MasterKeyRefused, match=r"version 1 .* decrypt-only, and 1 stored secrets"):
        await start(store, new)
    await sql.execute("UPDATE key_versions SET sealed = NULL")
    await start(store, new)
    await retire(store, 1)
    await start(store, new)


async def test_a_key_of_a_retired_version_that_is_still_set_hinders_no_start(
    store: Store, master: QuickMasterKey, caplog: pytest.LogCaptureFixture
) -> None:
    await start(store, master)
    new = QuickMasterKey()
    await add(store, new)
    await promote(store, Keyring(store, [new]), 2)
    await retire(store, 1)
    await start(store, new, master)
    assert "this master key is retired: take it away" in caplog.text


async def test_the_service_does_not_start_with_another_master_key(settings: VaultSettings) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app):
        pass
    other = settings.model_copy(
        update={"api_key_encryption_key": SecretStr(secrets.token_urlsafe()), "api_key_encryption_key_file": None}
    )
    app = create_app(other)
    with pytest.raises(MasterKeyRefused, match="another master key"):
        async with app.router.lifespan_context(app):
            pass


def test_the_command_says_how_to_make_a_key(settings: VaultSettings) -> None:
    environment = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "KAFKA_BOOTSTRAP_SERVERS": settings.kafka_bootstrap_servers,
        "IDENTITY_DIR": str(settings.identity_dir),
        "API_KEY_ENCRYPTION_KEY": "weak",
    }
    command = [sys.executable, "-m", "vault"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("The vault does not start. The master key is weak")
    assert "openssl rand -base64 32" in ended.stderr


def test_a_missing_setting_does_not_print_the_master_key(monkeypatch: pytest.MonkeyPatch) -> None:
    master = secrets.token_urlsafe()
    monkeypatch.setenv("API_KEY_ENCRYPTION_KEY", master)
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(ValidationError) as missing:
        VaultSettings()
    assert "database_url" in str(missing.value)
    assert not any(master[start : start + 8] in str(missing.value) for start in range(len(master) - 7))
