"""The fixtures of the whole run, and how it is shared out."""

from pathlib import Path

import pytest

pytest_plugins = ["common.testing"]

WHOLE_PATH = Path(__file__).parent / "tests"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each file to one process, and all of `tests/` to the same, since they share a stack; that goes first."""
    for item in items:
        whole = WHOLE_PATH in item.path.parents
        item.add_marker(pytest.mark.xdist_group(str(WHOLE_PATH if whole else item.path)))
    items.sort(key=lambda item: WHOLE_PATH not in item.path.parents)
