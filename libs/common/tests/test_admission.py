"""The one check that decides whether a record is a run."""

from typing import Any
from uuid import uuid4

import pytest

from common.admission import NEWEST_MS, OLDEST_MS, Admission, Admitted, Headers, NeverAccepted, Rejected, Verdict
from common.contracts.event import GRANT_HEADER
from common.contracts.runs_v1 import ReplyTo, RunRequested
from common.identity import Signer, Verifier

NOW = 1_795_448_484_123
WORKSPACE = uuid4()
REQUEST = RunRequested(
    run_id=uuid4(), workspace_id=WORKSPACE, operation="chat", provider="openai", model="gpt-4o-mini",
    body={"model": "gpt-4o-mini", "messages": [], "tools": [{"a": [1, None, "ü"]}]},
    deadline=NOW + 30_000, publish_by=NOW + 5_000, accepted_at=NOW,
)  # fmt: skip


@pytest.fixture
def admission(verifier: Verifier) -> Admission:
    return Admission(verifier)


@pytest.fixture
def headers(gateway_signer: Signer) -> list[tuple[str, bytes]]:
    return [(GRANT_HEADER, gateway_signer.grant(WORKSPACE, ("openai",), 2_000_000_000).encode())]


def judge(admission: Admission, headers: Headers, appended_at: int = NOW, **changes: Any) -> Verdict:
    return admission.judge(REQUEST.model_copy(update=changes).encode(), headers, appended_at)


def test_a_run_is_admitted_with_its_body_verbatim(admission: Admission, headers: Headers) -> None:
    verdict = judge(admission, headers)
    assert isinstance(verdict, Admitted)
    assert verdict.request == REQUEST
    assert verdict.grant.workspace_id == WORKSPACE


def test_appended_after_publish_by_was_never_accepted(admission: Admission, headers: Headers) -> None:
    assert isinstance(judge(admission, headers, REQUEST.publish_by), Admitted)
    assert isinstance(judge(admission, headers, REQUEST.publish_by + 1), NeverAccepted)


def test_an_expired_grant_is_still_a_run(admission: Admission, gateway_signer: Signer) -> None:
    """It ends as failed, in the books, instead of vanishing among the rejected."""
    grant = gateway_signer.grant(WORKSPACE, ("openai",), 1)
    assert isinstance(judge(admission, [(GRANT_HEADER, grant.encode())]), Admitted)


@pytest.mark.parametrize(("changes", "reason"), [
    ({"workspace_id": uuid4()}, "another workspace"),
    ({"provider": "anthropic"}, "does not cover provider 'anthropic'"),
    ({"accepted_at": NOW - OLDEST_MS - 1}, "accepted_at"),
    ({"accepted_at": NOW + NEWEST_MS + 1}, "accepted_at"),
])  # fmt: skip
def test_what_does_not_fit_is_rejected(
    admission: Admission, headers: Headers, changes: dict[str, Any], reason: str
) -> None:
    verdict = judge(admission, headers, **changes)
    assert isinstance(verdict, Rejected)
    assert reason in verdict.reason


@pytest.mark.parametrize("topic", ["", ".mine", ".mine.too-1_2"])
def test_a_reply_topic_of_the_workspace_is_admitted(admission: Admission, headers: Headers, topic: str) -> None:
    reply_to = ReplyTo(partition=70, topic=f"runs.replies.{WORKSPACE}{topic}")
    assert isinstance(judge(admission, headers, reply_to=reply_to), Admitted)


@pytest.mark.parametrize(("reply_to", "reason"), [
    (ReplyTo(partition=0, topic="runs.replies.v1"), "must be runs.replies."),
    (ReplyTo(partition=0, topic=f"runs.replies.{uuid4()}"), "must be runs.replies."),
    (ReplyTo(partition=0, topic=f"runs.replies.{WORKSPACE}x"), "must be runs.replies."),
    (ReplyTo.model_construct(partition=0, instance="", topic="runs.completed.v1"), "malformed: reply_to.topic"),
    (ReplyTo.model_construct(partition=0, instance="", topic="runs.replies.a/b"), "malformed: reply_to.topic"),
    (ReplyTo(partition=12, instance="me"), "runs.replies.v1 has 12 partitions"),
])  # fmt: skip
def test_no_reply_goes_into_topics_of_others(
    admission: Admission, headers: Headers, reply_to: ReplyTo, reason: str
) -> None:
    verdict = judge(admission, headers, reply_to=reply_to)
    assert isinstance(verdict, Rejected)
    assert reason in verdict.reason
    assert verdict.workspace_id == WORKSPACE


@pytest.mark.parametrize("headers", [[], [(GRANT_HEADER, b"forged")], [(GRANT_HEADER, b"\xff\xfe")]])
def test_no_genuine_grant_is_rejected(admission: Admission, headers: Headers) -> None:
    assert isinstance(judge(admission, headers), Rejected)


@pytest.mark.parametrize("value", [None, b"", b"{", b"[]", b'{"run_id": "secret prompt"}', b"\xff"])
def test_malformed_bytes_are_rejected_without_repeating_them(
    admission: Admission, headers: Headers, value: bytes | None
) -> None:
    verdict = admission.judge(value, headers, NOW)
    assert isinstance(verdict, Rejected)
    assert "secret prompt" not in verdict.reason
