"""`tallyrun config`: profiles, and completion for the shell."""

from typing import Annotated, Literal

import typer
from typer.completion import get_completion_script  # type: ignore[attr-defined] # it is theirs to use

from tallyrun import credentials
from tallyrun.command.session import Session, command
from tallyrun.errors import NotUnderstood
from tallyrun.profiles import Profiles
from tallyrun.wire import Told

app = typer.Typer(help="Read and set what the profile says; completion for the shell.", no_args_is_help=True)

Name = Literal["url", "profile"]
Shell = Literal["bash", "zsh", "fish"]


class Setting(Told):
    """One setting and where it stands."""

    name: str
    value: str | None


@command(app)
def get(
    session: Session, name: Annotated[Name | None, typer.Argument(help="url or profile; both without")] = None
) -> None:
    """Write what is set: the address that is called, and the profile that is used. Never a token."""
    profiles = Profiles.load()
    chosen = session.profile or profiles.current
    values = {"url": credentials.address(None, profiles.get(chosen)), "profile": chosen}
    if name is not None:
        print(values[name])
    else:
        session.write([Setting(name=key, value=value) for key, value in values.items()], ("name", "value"))


@command(app, "set")
def set_(
    session: Session,
    name: Annotated[str, typer.Argument(help="url, of the profile at hand; or profile, used where none is named")],
    value: Annotated[str, typer.Argument()],
) -> None:
    """Set the profile's address, or which profile is used."""
    profiles = Profiles.load()
    match name:
        case "url":
            profiles.move(session.profile or profiles.current, value)
        case "profile" if value in profiles.names():
            profiles.use(value)
        case "profile":
            raise NotUnderstood(f"there is no profile {value}: tallyrun login --profile {value}")
        case _:
            raise NotUnderstood(f"{name} is not set here: url and profile are; a token comes by `tallyrun login`")


@command(app)
def path(_: Session) -> None:
    """Write where the profiles' file is."""
    print(Profiles.load().path)


@command(app)
def completion(_: Session, shell: Annotated[Shell, typer.Argument()]) -> None:
    """Write the shell's completion: `source <(tallyrun config completion bash)`."""
    print(get_completion_script(prog_name="tallyrun", complete_var="_TALLYRUN_COMPLETE", shell=shell))
