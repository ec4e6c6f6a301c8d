"""The chain itself: what it is made of, and that nothing of a row can be changed."""

import os
from dataclasses import fields, replace
from typing import get_args
from uuid import UUID, uuid4

from hypothesis import assume, given
from hypothesis import strategies as st

from vault.audit import Action, AuditEntry
from vault.chain import AuditKey, Head, Row

KEY = AuditKey(os.urandom(32))
UUIDS = st.uuids() | st.just(UUID(int=0))
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
NUMBERS = st.integers(0, 2**31 - 1)
ENTRIES = st.builds(
    AuditEntry,
    action=st.sampled_from(get_args(Action)),
    actor=TEXTS,
    outcome=TEXTS,
    workspace_id=st.none() | UUIDS,
    provider=st.none() | TEXTS,
    key_id=st.none() | UUIDS,
    version=st.none() | NUMBERS,
    grant_id=st.none() | UUIDS,
    operation=st.none() | TEXTS,
    at=NUMBERS,
)
HEADS = st.builds(Head, seq=st.integers(0, 2**40), mac=st.binary(min_size=32, max_size=32))


@given(HEADS, ENTRIES)
def test_a_row_follows_its_head(head: Head, entry: AuditEntry) -> None:
    row = KEY.append(head, entry)
    assert (row.seq, row.previous, row.entry) == (head.seq + 1, head.mac, entry)
    assert KEY.made(row)
    assert not AuditKey(os.urandom(32)).made(row)


@given(HEADS, ENTRIES, ENTRIES, st.sampled_from([field.name for field in fields(AuditEntry)]))
def test_a_row_of_which_one_field_is_changed_was_not_made(
    head: Head, entry: AuditEntry, other: AuditEntry, field: str
) -> None:
    row = KEY.append(head, entry)
    changed = replace(row, entry=replace(entry, **{field: getattr(other, field)}))
    # What has no workspace and what the workspace of that number has are one chain, but not one row.
    assume(changed != row)
    assert not KEY.made(changed)


@given(HEADS, ENTRIES, st.integers(1, 2**40), st.binary(max_size=40))
def test_a_row_in_another_place_was_not_made(head: Head, entry: AuditEntry, seq: int, previous: bytes) -> None:
    row = KEY.append(head, entry)
    for moved in (replace(row, seq=seq), replace(row, previous=previous), replace(row, mac=previous)):
        assume(moved != row)
        assert not KEY.made(moved)


def test_a_row_is_good_in_no_other_chain() -> None:
    entry = AuditEntry("lease", "runner", workspace_id=uuid4())
    row = KEY.append(Head(), entry)
    assert not KEY.made(Row(row.seq, row.previous, row.mac, replace(entry, workspace_id=uuid4())))
    assert not KEY.made(Row(row.seq, row.previous, row.mac, replace(entry, workspace_id=None)))


def test_text_cannot_move_from_one_field_into_another() -> None:
    one = AuditEntry("lease", "ab", outcome="c", at=1)
    other = AuditEntry("lease", "a", outcome="bc", at=1)
    assert KEY.append(Head(), one).mac != KEY.append(Head(), other).mac


def test_an_empty_field_is_not_one_that_is_not_set() -> None:
    one, other = (AuditEntry("lease", "runner", provider=provider, at=1) for provider in ("", None))
    assert KEY.append(Head(), one).mac != KEY.append(Head(), other).mac
