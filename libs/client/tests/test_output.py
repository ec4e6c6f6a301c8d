"""What is written, where, and in which shape."""

import json
import sys

import pytest
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from tallyrun.command.output import note, write, write_json


class Row(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    run_id: str
    model: str | None


ROWS = [Row(run_id="a", model="gpt"), Row(run_id="b\t\n\x1b[31m[red]", model=None)]


def test_piped_it_is_separated_by_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    write(ROWS, ["run_id", "model"])
    assert capsys.readouterr() == ("run_id\tmodel\na\tgpt\nb   [31m[red]\t\n", "")


def test_on_a_terminal_it_is_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    write(ROWS, ["run_id", "model"])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["run", "id", "model"], ["a", "gpt"], ["b", "[31m[red]"]]


def test_json_has_the_names_of_the_api(capsys: pytest.CaptureFixture[str]) -> None:
    write_json(ROWS)
    assert json.loads(capsys.readouterr().out)[0] == {"runId": "a", "model": "gpt"}


def test_nothing_is_written_before_there_is_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        write((Row(run_id=str(1 // n), model=None) for n in (0, 1)), ["run_id"])
    assert capsys.readouterr().out == ""
    write([], ["run_id"])
    assert capsys.readouterr().out == "run_id\n"


def test_a_note_is_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    note("[bold]mind\x1b this")
    assert capsys.readouterr() == ("", "[bold]mind  this\n")
