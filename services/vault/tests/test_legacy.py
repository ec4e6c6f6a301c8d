"""Legacy keys: opened as Node sealed them, imported once, and left out with a reason where they do not open."""

import csv
import io
import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

import asyncpg
import pytest
import typer
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CBC
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr
from typer.testing import CliRunner

from common.errors import Unavailable
from vault.command.app import app
from vault.command.legacy import _dry_run, _import
from vault.command.opened import opened_store
from vault.importing import opened_lines
from vault.legacy import LegacyError, LegacyKey
from vault.settings import VaultSettings

pytestmark = pytest.mark.usefixtures("quick_scrypt")

PASSPHRASE = uuid4().hex
Kept = Callable[..., Awaitable[str | None]]
KEY = LegacyKey(SecretStr(PASSPHRASE))
WORKSPACE = uuid4()


def sealed(secret: str | bytes, passphrase: str = PASSPHRASE, salt: bytes = b"salt") -> str:
    """Seal as the legacy system did."""
    key = Scrypt(salt=salt, length=32, n=16_384, r=8, p=1).derive(passphrase.encode())
    iv, padder = os.urandom(16), PKCS7(128).padder()
    padded = padder.update(secret.encode() if isinstance(secret, str) else secret) + padder.finalize()
    encryptor = Cipher(AES256(key), CBC(iv)).encryptor()
    return f"{iv.hex()}:{(encryptor.update(padded) + encryptor.finalize()).hex()}"


def opened(key: LegacyKey, text: str) -> str:
    return key.open(text).get_secret_value()


# The format


def test_what_node_sealed_opens() -> None:
    """Made once with Node 20.20: scryptSync(passphrase, "salt", 32), createCipheriv("aes-256-cbc", key, iv)."""
    vector = "000102030405060708090a0b0c0d0e0f:162d6455d997e320ea1325c54ab58fda"
    assert opened(LegacyKey(SecretStr("correct horse battery staple")), vector) == "plain-words"


NODE = """
const crypto = require("crypto"), [passphrase, salt, secret] = process.argv.slice(1);
const key = crypto.scryptSync(passphrase, salt, 32), iv = crypto.randomBytes(16);
const cipher = crypto.createCipheriv("aes-256-cbc", key, iv);
console.log(iv.toString("hex") + ":" + cipher.update(secret, "utf8", "hex") + cipher.final("hex"));
"""


@pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed: the committed vector alone is checked")
@pytest.mark.parametrize("salt", ["salt", "pèpper"])
def test_what_node_seals_now_opens(salt: str) -> None:
    secret = secrets.token_urlsafe(40)
    made = subprocess.run(["node", "-e", NODE, PASSPHRASE, salt, secret], capture_output=True, text=True, check=True)
    assert opened(LegacyKey(SecretStr(PASSPHRASE), salt), made.stdout) == secret


@given(st.text(st.characters(codec="utf-8"), max_size=100))
def test_any_text_comes_back(text: str) -> None:
    assert opened(KEY, sealed_with_key(text)) == text


def sealed_with_key(text: str) -> str:
    """Seal without deriving the key again: that takes a while."""
    iv, padder = os.urandom(16), PKCS7(128).padder()
    padded = padder.update(text.encode()) + padder.finalize()
    encryptor = Cipher(AES256(KEY._key), CBC(iv)).encryptor()
    return f"{iv.hex()}:{(encryptor.update(padded) + encryptor.finalize()).hex()}"


@given(st.text(max_size=200) | st.from_regex(r"[0-9a-f]{30,34}:[0-9a-f]{0,70}", fullmatch=True))
def test_anything_else_is_refused_with_a_typed_error(text: str) -> None:
    try:
        KEY.open(text)
    except LegacyError:
        return
    # One block in 256 has a padding that fits, by chance.
    assert len(text.strip().partition(":")[2]) % 32 == 0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: "", "iv:encrypted"),
        (lambda text: text.replace(":", ""), "iv:encrypted"),
        (lambda text: text + ":00", "iv:encrypted"),
        (lambda text: "zz" + text[2:], "iv:encrypted"),
        (lambda text: text[2:], "cut"),
        (lambda text: text[:-2], "cut"),
        (lambda text: text.partition(":")[0] + ":", "cut"),
    ],
)
def test_a_spoilt_line_says_what_is_wrong(spoil: Callable[[str], str], said: str) -> None:
    with pytest.raises(LegacyError, match=said):
        KEY.open(spoil(sealed_with_key("words")))


# The import


def line(secret: str | bytes, **fields: object) -> dict[str, object]:
    return {"workspace_id": str(WORKSPACE), "provider": "openai", "encrypted": sealed(secret), **fields}


@dataclass
class Importing:
    """Runs the import on a file of these lines, and says what it printed and exited with."""

    settings: VaultSettings
    folder: Path
    capsys: pytest.CaptureFixture[str]

    async def run(self, lines: list[dict[str, object]], *, dry: bool = False) -> tuple[int, list[list[str]], str]:
        file = self.folder / "legacy.jsonl"
        file.write_text("\n".join(map(json.dumps, lines)))
        found = opened_lines(file, KEY)
        self.capsys.readouterr()
        try:
            await (_dry_run(found) if dry else _import(self.settings, found))
            code = 0
        except typer.Exit as end:
            code = end.exit_code
        out, err = self.capsys.readouterr()
        print(out, err)
        return code, [row.split("\t") for row in out.splitlines()[1:]], err


@pytest.fixture
def importing(settings: VaultSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Importing:
    return Importing(settings, tmp_path, capsys)


@pytest.fixture
def kept(settings: VaultSettings) -> Kept:
    """What the vault would lease."""

    async def kept(workspace: UUID = WORKSPACE, provider: str = "openai", key_id: UUID | None = None) -> str | None:
        async with opened_store(settings) as (store, keyring, _), store.transaction() as transaction:
            found = await transaction.active(workspace, provider, key_id)
            return None if found is None else (await keyring.open(found.context, found.sealed)).get_secret_value()

    return kept


async def tables(sql: asyncpg.Connection) -> list[object]:
    counts = "SELECT (SELECT count(*) FROM keys), (SELECT count(*) FROM key_versions), (SELECT count(*) FROM audit)"
    return list(await sql.fetchrow(counts) or ())


async def test_a_dry_run_says_which_lines_open_and_writes_nothing(
    importing: Importing, sql: asyncpg.Connection
) -> None:
    secret, other = secrets.token_urlsafe(), sealed(secrets.token_urlsafe(), passphrase="another")
    lines: list[dict[str, object]] = [
        line(secret),
        line(secret),
        line(secrets.token_urlsafe()),
        line(secrets.token_urlsafe(), name="second"),
        line("", encrypted=other),
        line("two words"),
        line(b"\xff\xfe"),
        line(secrets.token_urlsafe(), workspace_id="42"),
        line(secrets.token_urlsafe(), encrypted="nonsense"),
        {"provider": "openai"},
    ]
    code, left_out, told = await importing.run(lines, dry=True)
    assert code == 3
    assert [(row[0], row[4]) for row in left_out] == [
        ("3", "taken"), *((str(number), "refused") for number in range(5, 11))
    ]  # fmt: skip
    why = [row[5] for row in left_out]
    assert "line 1 has this workspace" in why[0]
    assert "another passphrase or salt" in why[1] or "no provider key" in why[1]
    assert why[2] == "what it holds is no provider key: another passphrase or salt, or damaged"
    assert why[4].startswith("workspace_id: ")
    assert why[5] == "not of the form iv:encrypted, both in hex"
    assert "2  opens      openai" in told
    assert "1  unchanged  openai" in told
    assert secret not in told
    assert await sql.fetchval("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'") == 0


async def test_an_imported_key_is_in_use_and_audited(importing: Importing, sql: asyncpg.Connection, kept: Kept) -> None:
    secret, second = secrets.token_urlsafe(), secrets.token_urlsafe()
    assert (await importing.run([line(f" {secret}\n"), line(second, provider="anthropic", name="")]))[0] == 0
    assert await kept() == secret
    assert await kept(provider="anthropic") == second
    rows = await sql.fetch("SELECT action, actor, outcome, provider, version FROM audit ORDER BY seq")
    assert [tuple(row) for row in rows] == [
        ("import", "import", "done", "openai", 1),
        ("import", "import", "done", "anthropic", 1),
    ]
    stored = await sql.fetch("SELECT sealed FROM key_versions")
    assert all(secret.encode() not in row["sealed"] for row in stored)
    views = await sql.fetch("SELECT name, preview, verified FROM keys JOIN key_versions ON key_id = id WHERE name > ''")
    assert {tuple(row) for row in views} == {("default", secret[-4:], False), ("default", second[-4:], False)}


async def test_the_same_line_twice_gives_one_key(importing: Importing, sql: asyncpg.Connection, kept: Kept) -> None:
    secret = secrets.token_urlsafe()
    again = line(secret)
    assert (await importing.run([again, again, line(secret)]))[0] == 0
    keys, versions, _ = await tables(sql)
    code, left_out, told = await importing.run([again])
    assert (code, left_out) == (0, [])
    assert "1  unchanged  openai" in told
    assert (await tables(sql))[:2] == [keys, versions]
    assert await sql.fetchval("SELECT count(*) FROM keys WHERE workspace_id = $1", WORKSPACE) == 1
    assert [row[0] for row in await sql.fetch("SELECT outcome FROM audit ORDER BY seq")] == [
        "done", "unchanged", "unchanged", "unchanged",
    ]  # fmt: skip
    assert await kept() == secret


async def test_a_key_that_is_here_already_is_never_replaced(
    importing: Importing, sql: asyncpg.Connection, kept: Kept
) -> None:
    newer = secrets.token_urlsafe()
    await importing.run([line(newer)])
    before = await sql.fetch("SELECT latest_version, active_version, revision FROM keys")
    code, ((_, *place, outcome, why),), _ = await importing.run([line(secrets.token_urlsafe())])
    assert (code, place, outcome) == (3, [str(WORKSPACE), "openai", "default"], "taken")
    assert "another secret: give the line another name" in why
    assert await sql.fetch("SELECT latest_version, active_version, revision FROM keys") == before
    assert await kept() == newer


async def test_without_an_audit_row_nothing_is_imported(importing: Importing, sql: asyncpg.Connection) -> None:
    await importing.run([])
    before = await tables(sql)
    await sql.execute("ALTER TABLE audit ADD CONSTRAINT full_disk CHECK (false) NOT VALID")
    with pytest.raises(Unavailable):
        await importing.run([line(secrets.token_urlsafe())])
    assert await tables(sql) == before


def test_csv_is_read_by_its_header(tmp_path: Path) -> None:
    text = io.StringIO()
    secret, file = secrets.token_urlsafe(), tmp_path / "legacy.CSV"
    writer = csv.DictWriter(text, ["id", "encrypted", "name", "provider", "workspace_id"])
    writer.writeheader()
    writer.writerow({"id": 1, **line(secret)})
    writer.writerow({"id": 2, **line(secret, name='with "quotes", and\na line')})
    file.write_text("\ufeff" + text.getvalue() + f"3,{sealed_with_key(secret)},,openai,{WORKSPACE},too,many\n")
    found = list(opened_lines(file, KEY))
    assert [one.secret and one.secret.get_secret_value() for one in found] == [secret] * 3
    assert [one.row and one.row.name for one in found] == ["default", 'with "quotes", and\na line', "default"]
    assert [one.line for one in found] == [2, 4, 5]


def test_the_passphrase_comes_from_the_environment_or_standard_input_and_never_from_an_argument(tmp_path: Path) -> None:
    file = tmp_path / "legacy.jsonl"
    file.write_text(json.dumps(line(secrets.token_urlsafe())))
    asked = ["legacy", "import", str(file), "--dry-run"]
    cli, here = CliRunner(), {"LEGACY_API_KEY_ENCRYPTION_KEY": PASSPHRASE}
    assert cli.invoke(app, asked, env=here).exit_code == 0
    assert cli.invoke(app, [*asked, "--passphrase-stdin"], input=f"{PASSPHRASE}\n").exit_code == 0
    assert cli.invoke(app, [*asked, "--passphrase-stdin"], input="another\n").exit_code == 3
    assert cli.invoke(app, asked).exit_code == 2
    assert cli.invoke(app, [*asked, "--passphrase", PASSPHRASE]).exit_code == 2
    assert cli.invoke(app, [*asked, "--salt", "pepper"], env=here).exit_code == 3
