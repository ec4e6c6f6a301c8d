"""The contracts are what was committed, for ever."""

from common.contracts.registry import CONTRACTS, FOLDER, drifted, examples, parse_examples
from common.contracts.runs_v1 import RunCompleted

EXAMPLE = FOLDER / "examples" / "runs.v1.completed.1.json"


def test_the_committed_schemas_are_those_of_the_code() -> None:
    assert drifted() == []


def test_every_contract_has_an_example() -> None:
    assert {model for model, _ in examples()} == set(CONTRACTS.values())


def test_every_example_ever_committed_still_parses() -> None:
    parse_examples()


def test_fields_of_a_later_version_are_ignored() -> None:
    example = EXAMPLE.read_text()
    later = example.replace("{", '{"field_of_a_later_version": 1,', 1)
    assert RunCompleted.model_validate_json(later) == RunCompleted.model_validate_json(example)


def test_money_keeps_every_digit_on_the_wire() -> None:
    event = RunCompleted.model_validate_json(EXAMPLE.read_bytes())
    assert RunCompleted.model_validate_json(event.encode()).cost == event.cost
    assert b'"total":"0.000435000000000001"' in event.encode()
