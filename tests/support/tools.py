"""Programs that some tests need and not every machine has."""

import os
import shutil

import pytest


def found(tool: str) -> str:
    """Return where a program is; without it skip and say so, or fail where CI or TALLYRUN_REQUIRE ask for it."""
    if (path := shutil.which(tool)) is not None:
        return path
    reason = f"NOT RUN: {tool} is not on the PATH"
    print(reason)
    assert not os.environ.get("CI"), reason
    assert tool not in os.environ.get("TALLYRUN_REQUIRE", "").split(","), reason
    pytest.skip(reason)
