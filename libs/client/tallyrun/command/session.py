"""What every command takes beside its own: how it writes, whether it may ask, as whom it calls."""

import inspect
import os
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, fields
from functools import wraps
from typing import Annotated, Any

import typer
from pydantic import BaseModel
from rich.console import Console

from tallyrun.async_client import AsyncClient
from tallyrun.client import Client
from tallyrun.command import exits, output
from tallyrun.command.output import Format
from tallyrun.errors import NotUnderstood, TallyrunError

PATIENCE_SECONDS = 2.0
"""Of somebody who waits for one answer: an address that is wrong is told at once."""

SAID_EVERY_SECONDS = 15.0
SHORTEST_SECONDS = 0.7
"""A shorter wait is not worth a word."""

PANEL = "Everywhere"


def option(*names: str, help: str, **more: Any) -> Any:  # noqa: A002 - Typer's name for it
    """Return an option that every command has."""
    return typer.Option(*names, help=help, rich_help_panel=PANEL, **more)


@dataclass
class Session:
    """How the command at hand was called."""

    as_json: Annotated[bool, option("--json", help="write JSON, with every field")] = False
    format: Annotated[Format | None, option("--format", help="a table on a terminal, TSV when piped")] = None
    quiet: Annotated[bool, option("--quiet", "-q", help="say nothing but data and errors")] = False
    no_input: Annotated[bool, option("--no-input", help="never ask")] = False
    profile: Annotated[
        str | None, option("--profile", envvar="TALLYRUN_PROFILE", help="call as this profile, of `login`")
    ] = None
    console: Console = field(default_factory=lambda: Console(stderr=True), init=False)
    """Where notes and progress go: one of them, so that neither is written over the other."""

    _said: float = field(default=float("-inf"), init=False)

    @property
    def how(self) -> Format | None:
        """How data is written, where it was said."""
        return Format.JSON if self.as_json else self.format

    def client(self) -> Client:
        """Return a client that gives up soon."""
        return Client(profile=self.profile, patience=PATIENCE_SECONDS, waiting=self.say_waiting)

    def async_client(self) -> AsyncClient:
        """Return a client that gives up soon, until it is told otherwise."""
        return AsyncClient(profile=self.profile, patience=PATIENCE_SECONDS, waiting=self.say_waiting)

    def note(self, text: str) -> None:
        """Say something that is not data."""
        if not self.quiet:
            output.note(text, self.console)

    def write(self, rows: Iterable[BaseModel], columns: Sequence[str]) -> None:
        """Write data."""
        output.write(rows, columns, self.how)

    def write_one(self, row: BaseModel, columns: Sequence[str]) -> None:
        """Write one thing: a line for each field on a terminal, an object and no array as JSON."""
        match self.how or (Format.TABLE if sys.stdout.isatty() else Format.TSV):
            case Format.JSON:
                print(output.as_json(row))
            case Format.TABLE:
                output.write_fields(row, columns)
            case _:
                self.write([row], columns)

    def say_waiting(self, error: TallyrunError, seconds: float) -> None:
        """Say that something is away, now and then."""
        if time.monotonic() - self._said > SAID_EVERY_SECONDS and seconds >= SHORTEST_SECONDS:
            self._said = time.monotonic()
            self.note(f"{error.message}; trying again")

    @property
    def may_ask(self) -> bool:
        """Whether somebody is there to answer."""
        return not self.no_input and sys.stdin.isatty() and sys.stderr.isatty()

    def secret(self, what: str, *, stdin: bool, option: str) -> str:
        """Return a secret from standard input, or typed without echo."""
        if not stdin and not self.may_ask:
            raise NotUnderstood(f"there is nobody to ask for the {what}: give it on standard input, with {option}")
        given = sys.stdin.readline() if stdin else str(typer.prompt(what, hide_input=True, err=True))
        if not given.strip():
            raise NotUnderstood(f"the {what} is empty")
        return given.strip()

    def confirm(self, question: str, option: str = "--yes") -> bool:
        """Return whether somebody says yes; Ctrl-C and the end of input are a no."""
        self.must_ask(option)
        try:
            return typer.confirm(question, err=True)
        except typer.Abort:
            return False

    def must_ask(self, option: str = "--yes") -> None:
        """Raise unless somebody is there to answer."""
        if not self.may_ask:
            raise NotUnderstood(f"this asks before it goes on, and there is nobody to answer: pass {option}")


def command(app: typer.Typer, name: str | None = None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Add a command to the app: a function of a `Session` and its own arguments."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        app.command(name)(in_session(function))
        return function

    return add


def in_session(function: Callable[..., None]) -> Callable[..., None]:
    """Return the function as Typer reads it: the session's options stand after its own."""
    own = list(inspect.signature(function).parameters.values())[1:]
    common = [_parameter(name) for name in COMMON]

    @wraps(function)
    def outer(**given: Any) -> None:
        session = Session(**{name: given.pop(name) for name in COMMON})
        try:
            function(session, **given)
            sys.stdout.flush()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left is flushed into nothing
            raise typer.Exit(exits.READER_GONE) from None

    del outer.__wrapped__  # Typer would read the options of what is wrapped
    outer.__signature__ = inspect.Signature([*own, *common])  # type: ignore[attr-defined]
    outer.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *common]}
    return outer


COMMON = tuple(each.name for each in fields(Session) if each.init)


def _parameter(name: str) -> inspect.Parameter:
    default = Session.__dataclass_fields__[name].default
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Session.__annotations__[name]
    )
