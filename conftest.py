"""The fixtures of the whole run, and how it is shared out."""

from pathlib import Path

import pytest

pytest_plugins = ["common.testing"]

WHOLE_PATH = Path(__file__).parent / "tests"


@pytest.hookimpl(tryfirst=True)  # before the groups are read
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each file to one process, and all of `tests/` to the same, since they share a stack; that goes first."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group("whole-path" if _is_whole_path(item) else item.path.stem))
    items.sort(key=lambda item: not _is_whole_path(item))


def _is_whole_path(item: pytest.Item) -> bool:
    return WHOLE_PATH in item.path.parents
