"""Importing legacy keys: each is opened, sealed anew at once, and in use. Nothing that is here already is replaced."""

import csv
import hmac
import os
from collections.abc import Iterable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, Protocol
from uuid import UUID

import orjson
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError

from common.contracts.credentials_v1 import SaveKey
from common.contracts.runs_v1 import Name
from common.errors import InvalidRequest
from vault.audit import DONE, AuditEntry
from vault.envelope import Context
from vault.keys import Key, new_key, preview_of
from vault.leases import SealedKey
from vault.legacy import LegacyError, LegacyKey

ACTOR = "import"
DEFAULT_NAME = "default"
LONGEST_SECRET = 4096

Outcome = Literal["opens", "imported", "unchanged", "taken", "refused"]
"""`unchanged`: the key is here already. `taken`: a key of this name is here, with another secret, and stays."""


class LegacyRow(BaseModel):
    """A line of the file. Other columns are passed over."""

    model_config = ConfigDict(frozen=True, extra="ignore", hide_input_in_errors=True)

    workspace_id: UUID
    provider: Name
    name: Annotated[str, Field(min_length=1, max_length=64), BeforeValidator(lambda name: name or DEFAULT_NAME)] = (
        DEFAULT_NAME
    )
    encrypted: str

    @property
    def place(self) -> tuple[UUID, str, str]:
        """What no two keys share."""
        return self.workspace_id, self.provider, self.name


@dataclass(frozen=True)
class Opened:
    """A line of the file (numbered from 1) and its secret, or why there is none."""

    line: int
    row: LegacyRow | None
    secret: SecretStr | None
    why: str = ""


@dataclass(frozen=True)
class Result:
    """What became of a line."""

    line: int
    row: LegacyRow | None
    outcome: Outcome
    why: str = ""


class Transaction(Protocol):
    """What happens together or not at all."""

    async def next_version(self, key: Key) -> Key:
        """Add this key, or where its name is taken by a live one raise that one's latest version and revision."""

    async def add_pending(self, key: Key, sealed: bytes, preview: str, expires_at: int | None) -> None:
        """Add the key's latest version."""

    async def activate(self, key: Key, *, verified: bool) -> Key | None:
        """Make the latest version the active one."""

    async def active(self, workspace_id: UUID, provider: str, key_id: UUID | None) -> SealedKey | None:
        """Return the active version of that key."""

    async def primary_kek(self) -> int:
        """Return the version of the key-encryption key that seals."""

    async def audit(self, entry: AuditEntry) -> None:
        """Write it down."""


class Store(Protocol):
    """Where keys are kept."""

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Commit at the end of the block, or roll back if it raises."""


class Sealing(Protocol):
    """Closes and opens secrets."""

    async def seal(self, kek_version: int, context: Context, secret: SecretStr) -> bytes:
        """Return what opens in this context alone, under that version of the key-encryption key."""

    async def open(self, context: Context, sealed: bytes) -> SecretStr:
        """Return what was sealed for this context."""


class _NameTakenError(Exception):
    """Rolls back the claim on a name that has a live key."""

    def __init__(self, key: Key) -> None:
        self.key = key


class Import:
    """Imports row by row; one that was imported before changes nothing, so that a broken-off import is repeated."""

    def __init__(self, store: Store, sealing: Sealing) -> None:
        self._store = store
        self._sealing = sealing

    async def take(self, opened: Opened) -> Result:
        """Seal the secret as an active key of its own; leave a key that has its name as it is."""
        if opened.row is None or opened.secret is None:
            return Result(opened.line, opened.row, "refused", opened.why)
        try:
            await self._add(opened.row, opened.secret)
        except _NameTakenError as taken:
            return await self._compared(opened.line, opened.row, opened.secret, taken.key)
        return Result(opened.line, opened.row, "imported")

    async def _add(self, row: LegacyRow, secret: SecretStr) -> None:
        request = SaveKey(provider=row.provider, name=row.name, secret=secret, actor=ACTOR)
        async with self._store.transaction() as transaction:
            key = await transaction.next_version(new_key(row.workspace_id, request))
            if key.latest_version > 1:
                raise _NameTakenError(key)
            sealed = await self._sealing.seal(await transaction.primary_kek(), key.context(1), secret)
            await transaction.add_pending(key, sealed, preview_of(secret), None)
            await transaction.activate(key, verified=False)
            await transaction.audit(_entry(key, DONE))

    async def _compared(self, line: int, row: LegacyRow, secret: SecretStr, key: Key) -> Result:
        async with self._store.transaction() as transaction:
            there = await transaction.active(row.workspace_id, row.provider, key.id)
            same = there is not None and await self._same(there, secret)
            await transaction.audit(_entry(key, "unchanged" if same else "taken"))
        if same:
            return Result(line, row, "unchanged", "it was imported before")
        return Result(line, row, "taken", f"key {key.id} has this name and another secret: give the line another name")

    async def _same(self, there: SealedKey, secret: SecretStr) -> bool:
        kept = await self._sealing.open(there.context, there.sealed)
        return hmac.compare_digest(kept.get_secret_value().encode(), secret.get_secret_value().encode())


class DryRun:
    """Says what would become of each line as far as the file tells; neither reads nor writes a database."""

    def __init__(self) -> None:
        self._seen: dict[tuple[UUID, str, str], tuple[int, bytes]] = {}
        self._blind = os.urandom(32)

    def take(self, opened: Opened) -> Result:
        """Look at the next line."""
        if opened.row is None or opened.secret is None:
            return Result(opened.line, opened.row, "refused", opened.why)
        digest = hmac.digest(self._blind, opened.secret.get_secret_value().encode(), "sha256")
        line, first = self._seen.setdefault(opened.row.place, (opened.line, digest))
        if first != digest:
            why = f"line {line} has this workspace, provider and name, and another secret: give this one another name"
            return Result(opened.line, opened.row, "taken", why)
        return Result(opened.line, opened.row, "opens" if line == opened.line else "unchanged", "")


def opened_lines(path: Path, key: LegacyKey) -> Iterator[Opened]:
    """Yield every line of the file, opened: JSON lines, or CSV with a header where its name ends in .csv."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        for number, fields in _csv(file) if path.suffix.lower() == ".csv" else _json(file):
            yield _opened(number, fields, key)


def _csv(file: Iterable[str]) -> Iterator[tuple[int, object]]:
    reader = csv.DictReader(file, restkey="too many")
    try:
        for row in reader:
            yield reader.line_num, row
    except csv.Error as error:
        raise InvalidRequest(f"line {reader.line_num} is no CSV: {error}. Nothing from there on was read") from error


def _json(file: Iterable[str]) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(file, 1):
        if line.strip():
            try:
                yield number, orjson.loads(line)
            except orjson.JSONDecodeError:
                yield number, None


def _opened(number: int, fields: object, key: LegacyKey) -> Opened:
    if not isinstance(fields, dict):
        return Opened(number, None, None, "not a JSON object")
    try:
        row = LegacyRow.model_validate(fields)
    except ValidationError as error:
        fault = error.errors(include_input=False)[0]
        return Opened(number, None, None, f"{fault['loc'][0]}: {fault['msg']}")
    try:
        return Opened(number, row, _sendable(key.open(row.encrypted)))
    except LegacyError as error:
        return Opened(number, row, None, str(error))


def _sendable(secret: SecretStr) -> SecretStr:
    """Return the secret without the space around it, if a provider could be sent it."""
    text = secret.get_secret_value().strip()
    if not text or len(text) > LONGEST_SECRET or not text.isascii() or not text.isprintable() or " " in text:
        raise LegacyError("what it holds is no provider key: another passphrase or salt, or damaged")
    return SecretStr(text)


def _entry(key: Key, outcome: str) -> AuditEntry:
    return AuditEntry(
        "import", ACTOR, outcome, workspace_id=key.workspace_id, provider=key.provider, key_id=key.id, version=1
    )
