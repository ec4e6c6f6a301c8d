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


def test_the_oldest_is_forgotten_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, "REMEMBERED", 2)
    runs, ids = RecentRuns(), [uuid4() for _ in range(3)]
    for run_id in ids:
        runs.first_time(run_id)
    assert runs.first_time(ids[0])
    assert not runs.first_time(ids[2])
