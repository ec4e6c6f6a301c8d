"""`tallyrun login`, `connect` and `keys`: who one is, and with which provider keys runs are made."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated

import typer

from tallyrun import credentials, keyrings
from tallyrun.client import Client
from tallyrun.command.session import PATIENCE_SECONDS, Session, command, in_session
from tallyrun.command.times import aware, moment
from tallyrun.errors import TallyrunError
from tallyrun.keys import Key
from tallyrun.profiles import Profiles

LISTED = ("id", "provider", "name", "preview", "state", "usage_count", "last_used_at", "expires_at")

KeyStdin = Annotated[bool, typer.Option("--key-stdin", help="read the key from standard input")]
KeyId = Annotated[str, typer.Argument(metavar="ID", help="a key's id, from `tallyrun keys`")]

app = typer.Typer(help="List provider keys, deactivate or rotate one.")


def login(
    session: Session,
    url: Annotated[str | None, typer.Option(metavar="URL", help="where the gateway is")] = None,
    token_stdin: Annotated[bool, typer.Option("--token-stdin", help="read the token from standard input")] = False,
) -> None:
    """Keep an access token, after trying it: in the system's keyring, or in the profile's file where there is none."""
    profiles = Profiles.load()
    profile = profiles.get(session.profile)
    address = credentials.address(url, profile)
    token = credentials.checked(session.secret("access token", stdin=token_stdin, option="--token-stdin"))
    with Client(address, token, patience=PATIENCE_SECONDS, waiting=session.say_waiting) as client:
        (workspace, *more) = client.workspaces()
    kept = keyrings.put(profile.name, address, token)
    profiles.put(replace(profile, url=address, token=None if kept else token))
    where = "the system's keyring" if kept else f"{profiles.path}, which you alone may read: there is no keyring here"
    whom = "the operator" if more else f"workspace {workspace.name}"
    session.note(f"{address} knows you as {whom}; the token is kept in {where}")


def connect(
    session: Session,
    provider: Annotated[str, typer.Argument(help="openai, anthropic, or another one that the gateway knows")],
    name: Annotated[str | None, typer.Option(help="tells keys of one provider apart; the same name rotates")] = None,
    expires_at: Annotated[datetime | None, moment("from then on no run uses it")] = None,
    key_stdin: KeyStdin = False,
) -> None:
    """Connect a provider key: asked for without echo, tried at the provider, then kept."""
    key = session.secret(f"{provider} key", stdin=key_stdin, option="--key-stdin")
    with session.client() as client:
        client.connect(provider, key, name=name, expires_at=aware(expires_at))
    session.note(f"the {provider} key ending in {key[-4:]} works, and is kept")


@app.callback(invoke_without_command=True)
@in_session
def keys(session: Session, context: typer.Context) -> None:
    """List the workspace's provider keys: never more of them than the last characters."""
    if context.invoked_subcommand is None:
        with session.client() as client:
            session.write(client.keys(), LISTED)


@command(app)
def deactivate(
    session: Session, key_id: KeyId, yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False
) -> None:
    """Stop every use of a key. It stays in the list."""
    with session.client() as client:
        key = _key(client, key_id)
        if yes or session.confirm(f"Deactivate {key.provider} key {key.name} ({key.preview})?"):
            client.deactivate(key_id)
            session.note("deactivated: no run uses it any more")


@command(app)
def rotate(session: Session, key_id: KeyId, key_stdin: KeyStdin = False) -> None:
    """Give a key a new secret: asked for without echo, tried at the provider, then used in the old one's place."""
    with session.client() as client:
        key = _key(client, key_id)
        secret = session.secret(f"new {key.provider} key", stdin=key_stdin, option="--key-stdin")
        client.connect(key.provider, secret, name=key.name)
    session.note(f"{key.provider} key {key.name} is rotated; the new one ends in {secret[-4:]}")


def _key(client: Client, key_id: str) -> Key:
    listed = client.keys()
    for key in listed:
        if key.id == key_id:
            return key
    raise TallyrunError(f"there is no key {key_id}: see `tallyrun keys`", code="not_found", status=404)
