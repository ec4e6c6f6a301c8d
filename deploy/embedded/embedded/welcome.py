"""Where the stack listens, and a first command to try."""

import os
from pathlib import Path

from rich.console import Console

from embedded.run import Stack


async def show_addresses(stack: Stack, console: Console) -> int:
    """Print where everything is; a job, so it returns an exit code."""
    home = stack.home
    lines = [
        ("dashboard", f"{stack.url}/"),
        ("sign in with", f"the token that `cat {_short(home.admin_token)}` shows"),
        ("API", f"{stack.url}/api"),
        ("reference", f"{stack.url}/openapi.json"),
        ("logs", _short(home.logs)),
        ("data", f"{_short(home.path)} (kept between runs)"),
        ("stop", "Ctrl-C; once more to stop at once"),
    ]
    for name, value in lines:
        console.print(f"  {name:<12} {value}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"\nTry it:\n{_curl(stack)}\n", highlight=False, markup=False, soft_wrap=True)
    return 0


def _curl(stack: Stack) -> str:
    token = f'-H "Authorization: Bearer $(cat {_short(stack.home.admin_token)})"'
    if stack.simulated:
        return f"  curl -s {token} '{stack.url}/api/analytics/overview?period=7d'"
    body = '\'{"provider": "openai", "apiKey": "\'"$OPENAI_API_KEY"\'"}\''
    return f"  curl -s {token} -H 'Content-Type: application/json' {stack.url}/api/integrations/connect -d {body}"


def _short(path: Path) -> str:
    """Return the path as seen from here, if that is shorter."""
    return min(str(path), os.path.relpath(path), key=len)
