"""Where the gateway is, and as whom one calls it: from the environment, a profile, the system's keyring."""

import os
from dataclasses import dataclass, field

from tallyrun import keyrings
from tallyrun.errors import NotUnderstood
from tallyrun.profiles import Profile, Profiles

DEFAULT_URL = "http://127.0.0.1:8080"
"""Of a gateway on this machine, as `make run` starts it."""


@dataclass(frozen=True)
class Credentials:
    """A gateway's address and a token for it; without one only what needs none is answered."""

    url: str
    token: str | None = field(default=None, repr=False)

    def headers(self) -> dict[str, str]:
        """Return what goes with every request."""
        return {"authorization": f"Bearer {self.token}"} if self.token else {}


def find(url: str | None = None, token: str | None = None, profile: str | None = None) -> Credentials:
    """Return what is given; else what the environment says, else the profile, else the keyring.

    A token that was stored for one address is never sent to another one.
    """
    stored = Profiles.load().get(profile or os.environ.get("TALLYRUN_PROFILE") or None)
    where = address(url, stored)
    secret = token or os.environ.get("TALLYRUN_TOKEN")
    if not secret and where == stored.url:
        secret = stored.token or keyrings.get(stored.name, where)
    return Credentials(where, checked(secret) if secret and secret.strip() else None)


def address(url: str | None, stored: Profile) -> str:
    """Return which gateway is called."""
    return url or os.environ.get("TALLYRUN_URL") or stored.url or DEFAULT_URL


def checked(secret: str) -> str:
    """Return the token without the space around it; raise `NotUnderstood` where no header could carry it."""
    text = secret.strip()
    if not text or not text.isascii() or not text.isprintable() or " " in text:
        raise NotUnderstood("an access token is a word of printable ASCII characters; this one is not")
    return text
