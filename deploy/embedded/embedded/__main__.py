"""`python -m embedded run|demo`: the whole product on this machine, on real engines."""

import argparse
import asyncio
import os
import sys
from functools import partial
from pathlib import Path

from rich.console import Console

from common.engines.kafka import fetch_kafka
from embedded.api import RefusedError
from embedded.demo import demo
from embedded.home import AlreadyRunningError, Home
from embedded.ports import GATEWAY, PortError
from embedded.run import Stack, run
from embedded.welcome import show_addresses


class FetchError(Exception):
    """What runs on the first start only could not be downloaded."""


def main(arguments: list[str]) -> int:
    """Run the command and return the exit code."""
    options = _parser().parse_args(arguments)
    console = Console()
    try:
        stack = _stack(demo_data=options.command == "demo")
        _fetch(console)
        return asyncio.run(_command(options, stack, console))
    except (AlreadyRunningError, PortError, FetchError, RefusedError) as error:
        print(f"tallyrun: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m embedded", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("run", help="start the stack; the providers are the real ones")
    trial = commands.add_parser("demo", help="start it with a simulated provider, run prompts, show what they cost")
    trial.add_argument("--exit", action="store_true", help="stop after the overview instead of staying up")
    return parser


def _stack(*, demo_data: bool) -> Stack:
    """Read the environment. The demo has a folder of its own: simulated figures never mix with real ones."""
    home = Path(os.environ.get("TALLYRUN_HOME", ".tallyrun")).resolve()
    return Stack(Home(home / "demo" if demo_data else home), _gateway_port(), dict(os.environ), simulated=demo_data)


def _gateway_port() -> int:
    value = os.environ.get("GATEWAY_PORT", str(GATEWAY))
    if not value.isdigit() or not 0 < int(value) < 2**16:
        raise PortError(f"GATEWAY_PORT is '{value}': it must be a port number, 1 to 65535")
    return int(value)


def _fetch(console: Console) -> None:
    try:
        with console.status("Fetching Apache Kafka (46 jars, only the first time)"):
            fetch_kafka()
    except OSError as error:
        raise FetchError(f"Apache Kafka could not be fetched; the first start needs a network: {error}") from error


async def _command(options: argparse.Namespace, stack: Stack, console: Console) -> int:
    addresses = partial(show_addresses, stack, console)
    if options.command == "run":
        return await run(stack, console, addresses, stay=True)
    return await run(stack, console, partial(demo, stack, console, addresses), stay=not options.exit)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
