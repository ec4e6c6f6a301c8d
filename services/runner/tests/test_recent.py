"""The deduplication window."""

from uuid import uuid4

import pytest

from runner import recent
from runner.recent import RecentRuns


def test_a_run_is_new_once() -> None:
    runs, run_id = RecentRuns(), uuid4()
    assert runs.first_time(run_id)
    assert not runs.first_time(run_id)
    assert run_id in runs


def test_what_the_journal_knows_is_not_new() -> None:
    ended = uuid4()
    assert not RecentRuns([ended]).first_time(ended)


def test_the_window_is_kept_and_twice_the_window_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "REMEMBERED", 50)
    runs, ids = RecentRuns(), [uuid4() for _ in range(1000)]
    for seen, run_id in enumerate(ids):
        assert runs.first_time(run_id)
        assert all(known in runs for known in ids[max(0, seen - 49) : seen + 1])
        assert not any(old in runs for old in ids[: max(0, seen - 99)])


def test_the_journals_ids_widen_the_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "REMEMBERED", 2)
    ended, later = [uuid4() for _ in range(3)], [uuid4() for _ in range(2)]
    runs = RecentRuns(iter(ended))
    assert all(map(runs.first_time, later))
    assert not any(map(runs.first_time, [*ended, *later]))
