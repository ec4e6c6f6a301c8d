"""Which master keys the vault starts with."""

import base64
import os
import secrets
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import SecretStr, ValidationError

from vault.app import create_app
from vault.envelope import Envelope
from vault.master_key import MasterKey, MasterKeyRefused, read_master_key, unlock
from vault.settings import VaultSettings
from vault.store import Store


@pytest.mark.parametrize(
    ("passphrase", "reason"),
    [
        (None, "No master key is set"),
        ("", "fewer than 16 characters"),
        ("short", "fewer than 16 characters"),
        ("fifteen letters", "fewer than 16 characters"),
        ("aaaaaaaaaaaaaaaaaaaaaaaa", "repeats itself"),
        ("passwordpassword", "repeats itself"),
        ("1234567890abcdef1234567890abcdef", "repeats itself"),
    ],
)
def test_a_missing_or_weak_passphrase_is_refused_with_advice(passphrase: str | None, reason: str) -> None:
    with pytest.raises(MasterKeyRefused, match=reason) as refused:
        read_master_key(None if passphrase is None else SecretStr(passphrase), None)
    assert "openssl rand -base64 32" in refused.value.message
    assert not passphrase or passphrase not in refused.value.message


def test_what_the_advice_makes_is_accepted(tmp_path: Path) -> None:
    made = base64.b64encode(os.urandom(32)).decode()
    assert read_master_key(SecretStr(made), None).material == made.encode()


@pytest.mark.parametrize("form", [bytes, lambda key: key.hex().encode(), base64.b64encode])
@pytest.mark.parametrize("end", [b"", b"\n"])
def test_a_file_holds_its_key_raw_or_as_text(tmp_path: Path, form: type[bytes], end: bytes) -> None:
    file, key = tmp_path / "key", os.urandom(32)
    file.write_bytes(form(key) if form is bytes else form(key) + end)
    assert read_master_key(None, file).material == key


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
    with pytest.raises(MasterKeyRefused, match="exactly one"):
        read_master_key(SecretStr(secrets.token_urlsafe()), tmp_path / "key")


async def test_a_later_start_derives_the_same_key(store: Store) -> None:
    master, first, later = MasterKey(os.urandom(32)), Envelope(), Envelope()
    await unlock(first, master, store)
    await unlock(later, master, store)
    assert first._newest == later._newest


async def test_a_start_with_another_master_key_is_refused(store: Store) -> None:
    await unlock(Envelope(), MasterKey(os.urandom(32)), store)
    with pytest.raises(MasterKeyRefused, match="another master key"):
        await unlock(Envelope(), MasterKey(os.urandom(32)), store)


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
