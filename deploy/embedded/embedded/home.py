"""The stack's folder: data, secrets, logs, and the lock that keeps a second stack out."""

import fcntl
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from common.identity import new_key_pair

IDENTITIES = ("gateway", "runner", "vault", "analytics")
MASTER_KEY_BYTES = 32


class AlreadyRunningError(Exception):
    """Another stack holds this folder; the message names its process and where it listens."""


@dataclass(frozen=True)
class Home:
    """Where everything of one stack lives. Kept between runs; secrets have mode 600."""

    path: Path

    @property
    def logs(self) -> Path:
        """The folder with one log for each process."""
        return self.path / "logs"

    @property
    def admin_token(self) -> Path:
        """The file with the token that may do everything."""
        return self.path / "admin-token"

    @property
    def master_key(self) -> Path:
        """The file with the 32 random bytes that wrap every provider key."""
        return self.path / "master-key"

    @property
    def processes(self) -> Path:
        """The record of processes started, see `leftovers`."""
        return self.path / "processes"

    def identity(self, service: str) -> Path:
        """Return the folder with this service's private key and everybody's public ones."""
        return self.path / "identity" / service

    def prepare(self) -> None:
        """Create what is missing; what exists is never changed."""
        self.logs.mkdir(parents=True, exist_ok=True)
        _create_secret(self.admin_token, lambda: secrets.token_urlsafe(32).encode())
        _create_secret(self.master_key, lambda: secrets.token_bytes(MASTER_KEY_BYTES))
        for service in IDENTITIES:
            self.identity(service).mkdir(parents=True, exist_ok=True)
        for service in IDENTITIES:
            _create_secret(self.identity(service) / f"{service}.key", partial(self._new_identity, service))

    def _new_identity(self, service: str) -> bytes:
        """Tell everybody the public key, then return the private one: where that exists, all is complete."""
        private, public = new_key_pair()
        for reader in IDENTITIES:
            (self.identity(reader) / f"{service}.pub").write_bytes(public)
        return private

    @contextmanager
    def lock(self, url: str) -> Iterator[None]:
        """Hold the folder, or raise `AlreadyRunningError`. The lock ends with our process, however that ends."""
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / "stack.lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise AlreadyRunningError(_who_holds(file.name)) from None
            file.truncate(0)
            file.write(json.dumps({"pid": os.getpid(), "url": url}))
            file.flush()
            yield
            file.truncate(0)


def _who_holds(lock: str) -> str:
    try:
        holder = json.loads(Path(lock).read_text())
    except ValueError:  # it is being written, or emptied
        return "a stack is starting or stopping on this folder"
    return f"a stack is already running here: process {holder['pid']}, {holder['url']}"


def _create_secret(path: Path, make: Callable[[], bytes]) -> None:
    """Write the file unless it exists; it appears whole, and readable for its owner alone."""
    if path.exists():
        return
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(make())
    draft.rename(path)
