"""`tallyrun export` and `tallyrun reprice`, against the contract."""

import csv
import io
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from libs.client.tests.double import Double
from libs.client.tests.test_command import Done, Tallyrun, tallyrun

from tallyrun import AsyncClient, Client, TallyrunError
from tallyrun.repricing import Days, Reprice

__all__ = ["tallyrun"]

PIECES = [b"run_id,cost\n", b"1,0.1\n" * 20_000, b"2,0.2\n"]


def page(cursor: int | None, share: float, **models: tuple[str, str]) -> dict[str, Any]:
    counts = {"executions": 10, "changed": 4, "kept": 1, "newlyPriced": 0}
    groups = [
        {"provider": "openai", "model": model, **counts, "was": float(was), "becomes": float(becomes)}
        for model, (was, becomes) in models.items()
    ]
    told = {"start": "2026-11-01", "end": "2026-11-24", "timeZone": "UTC", "catalogue": "c 2", "applied": False}
    return {**told, "groups": groups, "share": share, "nextCursor": cursor}


@pytest.fixture
def pages(double: Double) -> Double:
    double.repriced = [page(1, 0.5, a=("2", "1.5"), b=("1", "1")), page(None, 1, a=("3", "1.5"))]
    return double


def test_an_export_goes_into_a_file_that_is_whole_or_not_there(
    tallyrun: Tallyrun, double: Double, tmp_path: Path
) -> None:
    double.exported, double.cut_after = PIECES, [2]
    out = tmp_path / "runs.csv"
    words = "export", "csv", "--since", "2026-11-01", "--until", "2026-11-24", "-o", str(out), "--label", "team=a"
    cut = tallyrun(*words, "--model", "x", "--model", "y", "--texts")
    assert cut.code == 7
    assert not out.exists()
    done = tallyrun(*words, "--model", "x", "--model", "y", "--texts")
    assert (done.code, done.out) == (0, "")
    assert out.read_bytes() == b"".join(PIECES)
    assert list(tmp_path.glob("*.part")) == []
    assert double.sent[-1] == {
        "from": ["2026-11-01"],
        "to": ["2026-11-24"],
        "tz": ["UTC"],
        "format": ["csv"],
        "texts": ["true"],
        "model": ["x", "y"],
        "label": ["team=a"],
    }


def test_an_export_goes_to_standard_output(tallyrun: Tallyrun, double: Double) -> None:
    double.exported = PIECES
    assert tallyrun("export", "focus", "--since", "7d").out.encode() == b"".join(PIECES)
    assert double.sent[-1] == {"period": ["7d"], "tz": ["UTC"], "format": ["focus"]}


def test_a_dry_run_shows_the_differences_and_asks_for_nothing(tallyrun: Tallyrun, pages: Double) -> None:
    done = tallyrun("reprice", "--since", "90d", "--dry-run", "--discount", "a=12.5%", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(done.out)))
    assert [(row["model"], row["executions"], row["changed"], row["was"], row["difference"]) for row in rows] == [
        ("a", "20", "8", "5.0", "-2.0"),
        ("b", "10", "4", "1.0", "0.0"),
    ]
    assert done.said == "Dry run, nothing was changed: 12 runs · $6.00 → $4.00\n"
    assert [sent["apply"] for sent in pages.sent] == [False, False]
    sent = {"period": "90d", "tz": "UTC", "catalogue": "installed", "discounts": {"a": "12.5"}, "reason": ""}
    assert pages.sent[0] == {**sent, "apply": False}


def test_it_is_applied_when_somebody_says_so(tallyrun: Tallyrun, pages: Double) -> None:
    nobody = tallyrun("reprice")
    assert (nobody.code, "--yes" in nobody.said) == (2, True)
    assert all(not sent["apply"] for sent in pages.sent)
    done = tallyrun("reprice", "--yes", "--catalogue", "recorded", "--reason", "undo")
    assert done.code == 0
    assert done.said.endswith("done: 12 runs · $6.00 → $4.00\n")
    applied = [sent for sent in pages.sent if sent["apply"]]
    assert [sent.get("cursor") for sent in applied] == [None, 1]
    assert {(sent["catalogue"], sent["reason"]) for sent in applied} == {("recorded", "undo")}


def test_a_broken_connection_repeats_the_page_and_changes_nothing_twice(tallyrun: Tallyrun, pages: Double) -> None:
    pages.faults = [(503, {"retry-after": "0"}), None]
    assert tallyrun("reprice", "--yes").code == 0


@pytest.mark.parametrize("wrong", ["a", "a=x", "=3", "a=101", "a=-1"])
def test_a_discount_that_is_none_is_said(tallyrun: Tallyrun, double: Double, wrong: str) -> None:
    done: Done = tallyrun("reprice", "--discount", wrong)
    assert (done.code, "MODEL=PERCENT" in done.said) == (2, True)
    assert double.sent == []


async def test_both_clients_export_and_reprice(pages: Double) -> None:
    pages.exported = PIECES
    which = Reprice(Days("7d"), discounts={"a": Decimal(10)})
    with Client(pages.url, pages.token) as client:
        assert b"".join(client.export("csv", user=["ada"])) == b"".join(PIECES)
        told = list(client.reprice(which))
    awaited = AsyncClient(pages.url, pages.token)
    assert b"".join([piece async for piece in awaited.export("csv", user=["ada"])]) == b"".join(PIECES)
    assert [page async for page in awaited.reprice(which)] == told
    pages.faults = [(403, {})]
    with pytest.raises(TallyrunError):
        [piece async for piece in awaited.export()]
    await awaited.close()
