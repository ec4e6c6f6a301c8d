"""The contracts are what was committed, for ever."""

from pathlib import Path

import pytest

from common.contracts.__main__ import CONTRACTS, drifted
from common.contracts.runs_v1 import RunCompleted

EXAMPLES = Path(__file__).parents[1] / "common" / "contracts" / "examples"


def test_the_committed_schemas_are_those_of_the_code() -> None:
    assert drifted() == []


def test_every_contract_has_an_example() -> None:
    assert {path.name.rsplit(".", 2)[0] for path in EXAMPLES.glob("*.json")} == set(CONTRACTS)


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.json")), ids=lambda path: path.name)
def test_every_example_ever_committed_still_parses(path: Path) -> None:
    CONTRACTS[path.name.rsplit(".", 2)[0]].model_validate_json(path.read_bytes())


def test_fields_of_a_later_version_are_ignored() -> None:
    example = (EXAMPLES / "runs.v1.completed.1.json").read_text()
    later = example.replace("{", '{"field_of_a_later_version": 1,', 1)
    assert RunCompleted.model_validate_json(later) == RunCompleted.model_validate_json(example)


def test_money_keeps_every_digit_on_the_wire() -> None:
    event = RunCompleted.model_validate_json((EXAMPLES / "runs.v1.completed.1.json").read_bytes())
    assert RunCompleted.model_validate_json(event.encode()).cost == event.cost
    assert b'"total":"0.000435000000000001"' in event.encode()
