"""The fixtures of the whole run, and how it is shared out among processes."""

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

pytest_plugins = ["common.testing"]

WHOLE_PATH = "tests/"


class ByFile(LoadScopeScheduling):
    """Each file to one process, and all of `tests/` to the same one, since they share a stack."""

    def _split_scope(self, nodeid: str) -> str:
        return WHOLE_PATH if nodeid.startswith(WHOLE_PATH) else nodeid.partition("::")[0]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let analytics' tests be run over HTTP as well, and the whole-path tests on containers."""
    parser.addoption(
        "--clickhouse",
        default="chdb",
        metavar="chdb|http|URL",
        help="where analytics' tests have their database: in the process, behind HTTP over the same engine, or"
        " on a server of yours (http://user:password@host:8123)",
    )
    parser.addoption("--stack", choices=("embedded", "compose"), default="embedded", help="what tests/ drive")


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByFile:
    """Share the tests out by file."""
    return ByFile(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the whole path: nothing takes longer."""
    items.sort(key=lambda item: not item.nodeid.startswith(WHOLE_PATH))
