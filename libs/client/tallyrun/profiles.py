"""The file of profiles: each an address, and its token where the system has no keyring."""

import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import platformdirs
import tomlkit
from tomlkit.exceptions import TOMLKitError

from tallyrun.errors import NotUnderstood

DEFAULT = "default"


@dataclass(frozen=True)
class Profile:
    """A name for an address and, where it lies in the file, a token."""

    name: str
    url: str | None = None
    token: str | None = field(default=None, repr=False)


class Profiles:
    """The file as it was read; comments in it stay."""

    def __init__(self, path: Path, content: tomlkit.TOMLDocument) -> None:
        self.path = path
        self._content = content

    @classmethod
    def load(cls) -> Self:
        """Read the file; none is an empty one. Raises `NotUnderstood` where it cannot be read."""
        path = platformdirs.user_config_path("tallyrun") / "config.toml"
        try:
            return cls(path, tomlkit.parse(path.read_text()) if path.exists() else tomlkit.document())
        except (OSError, ValueError, TOMLKitError) as error:
            raise NotUnderstood(f"{path} cannot be read: {error}") from error

    @property
    def current(self) -> str:
        """The profile that is used where none is named."""
        return str(self._content.get("profile", DEFAULT))

    def get(self, name: str | None = None) -> Profile:
        """Return a profile, an empty one where there is none of this name."""
        chosen = name or self.current
        stored = self._table().get(chosen, {})
        return Profile(chosen, *(None if stored.get(key) is None else str(stored[key]) for key in ("url", "token")))

    def names(self) -> list[str]:
        """Return what profiles there are."""
        return list(self._table())

    def put(self, profile: Profile) -> None:
        """Write a profile into the file."""
        table = self._table().setdefault(profile.name, tomlkit.table())
        for key, value in (("url", profile.url), ("token", profile.token)):
            if value is None:
                table.pop(key, None)
            else:
                table[key] = value
        self._save()

    def move(self, name: str, url: str) -> None:
        """Give a profile another address. The token of the old one is none for the new one."""
        before = self.get(name)
        self.put(before if before.url == url else replace(before, url=url, token=None))

    def use(self, name: str) -> None:
        """Use this profile where none is named."""
        self._content["profile"] = name
        self._save()

    def _table(self) -> Any:
        return self._content.setdefault("profiles", tomlkit.table(is_super_table=True))

    def _save(self) -> None:
        """Replace the file whole; nobody but its owner reads it, at no moment."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=stat.S_IRWXU)
        written = self.path.with_suffix(f".{os.getpid()}")
        with os.fdopen(
            os.open(written, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR), "w"
        ) as file:
            file.write(tomlkit.dumps(self._content))
        written.replace(self.path)
