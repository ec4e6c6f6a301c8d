"""What is written, where, and in which shape."""

import csv
import io
import json
import sys
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow.parquet
import pytest
from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel

from tallyrun.command.output import Format, note, write
from tallyrun.errors import NotUnderstood


class Row(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    run_id: str
    model: str | None
    cost: Decimal | None = None
    at: datetime | None = None


COLUMNS = ["run_id", "model"]
ALL = [*COLUMNS, "cost", "at"]
ROWS = [Row(run_id="a", model="gpt"), Row(run_id="b\t\n\x1b[31m[red]", model=None)]
PRICED = Row(run_id='a "b"\nc', model="é", cost=Decimal("0.00001005"), at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC))


def test_piped_it_is_separated_by_tabs(capsys: pytest.CaptureFixture[str]) -> None:
    write(ROWS, COLUMNS)
    assert capsys.readouterr() == ("run_id\tmodel\na\tgpt\nb   [31m[red]\t\n", "")


def test_on_a_terminal_it_is_a_table(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("TERM", "dumb")
    write(ROWS, COLUMNS)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["run", "id", "model"], ["a", "gpt"], ["b", "[31m[red]"]]


def test_json_has_the_names_of_the_api_and_every_digit(capsys: pytest.CaptureFixture[str]) -> None:
    write([PRICED, *ROWS], COLUMNS, Format.JSON)
    told = capsys.readouterr().out
    assert '"cost":0.00001005' in told
    assert json.loads(told)[0] == {"runId": 'a "b"\nc', "model": "é", "cost": 0.00001005, "at": "2026-01-02T03:04:05Z"}
    write([PRICED, *ROWS], COLUMNS, Format.JSONL)
    assert [json.loads(line)["runId"] for line in capsys.readouterr().out.splitlines()][1] == "a"
    write([], COLUMNS, Format.JSON)
    assert json.loads(capsys.readouterr().out) == []


def test_csv_is_read_back_as_it_was(capsys: pytest.CaptureFixture[str]) -> None:
    write([PRICED], ALL, Format.CSV)
    read = list(csv.reader(io.StringIO(capsys.readouterr().out, newline="")))
    assert read == [ALL, ['a "b"\nc', "é", "0.00001005", "2026-01-02T03:04:05.000+00:00"]]


def test_parquet_keeps_types(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "rows.parquet").open("w") as file:
        write([PRICED], ALL, Format.PARQUET, file)
    (row,) = pyarrow.parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert (row["run_id"], row["cost"], row["at"]) == (PRICED.run_id, PRICED.cost, PRICED.at)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(NotUnderstood, match="pip install pyarrow"):
        write([PRICED], ALL, Format.PARQUET)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    with pytest.raises(NotUnderstood, match="no text"):
        write([PRICED], ALL, Format.PARQUET)


def test_nothing_is_written_before_there_is_an_answer(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        write((Row(run_id=str(1 // n), model=None) for n in (0, 1)), ["run_id"])
    assert capsys.readouterr().out == ""
    write([], ["run_id"])
    assert capsys.readouterr().out == "run_id\n"


def test_a_note_is_no_data(capsys: pytest.CaptureFixture[str]) -> None:
    note("[bold]mind\x1b this")
    assert capsys.readouterr() == ("", "[bold]mind  this\n")
