"""The one check that decides whether a record is a run. Pure, so that runner and analytics can never disagree."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from uuid import UUID

from pydantic import ValidationError

from common.contracts.event import GRANT_HEADER
from common.contracts.runs_v1 import RunRequested
from common.contracts.topics import DAY_MS, OWN_REPLIES, REPLIES
from common.errors import Unauthenticated
from common.identity import Grant, Verifier

OLDEST_MS = 8 * DAY_MS
NEWEST_MS = 5 * 60_000
"""accepted_at lies within [append time - 8 d, + 5 min]: retention plus a day, and a clock that runs ahead."""

GRANTS_REMEMBERED = 4096


@dataclass(frozen=True)
class Admitted:
    """A run. Its grant is genuine, though it may have expired since."""

    request: RunRequested
    grant: Grant
    token: str


@dataclass(frozen=True)
class NeverAccepted:
    """Appended after its `publish_by`: its caller was told that the outcome was unknown, and that it may retry."""


@dataclass(frozen=True)
class Rejected:
    """No run, and somebody should know. `workspace_id`: of the valid grant that it carries, if it does."""

    reason: str
    workspace_id: UUID | None = None


Headers = Sequence[tuple[str, bytes]]
Verdict = Admitted | NeverAccepted | Rejected


class Admission:
    """Judges records by their bytes, headers and append time alone."""

    def __init__(self, verifier: Verifier) -> None:
        # A grant serves many runs; its signature is checked once.
        self._grant = lru_cache(maxsize=GRANTS_REMEMBERED)(verifier.grant)

    def judge(self, value: bytes | None, headers: Headers, appended_at: int) -> Verdict:
        """Parse, then check grant, workspace, provider, operation and times (`appended_at`: the broker's, UTC ms)."""
        try:
            request = RunRequested.model_validate_json(value or b"")
            token = dict(headers).get(GRANT_HEADER, b"").decode()
            return self._judge(request, self._grant(token), token, appended_at)
        except (ValidationError, UnicodeDecodeError) as error:
            return Rejected(f"malformed: {_first(error)}", self.granted_to(headers))
        except Unauthenticated as error:
            return Rejected(f"grant: {error.message}")

    def _judge(self, request: RunRequested, grant: Grant, token: str, appended_at: int) -> Verdict:
        if grant.workspace_id != request.workspace_id:
            return Rejected("grant: it is for another workspace")
        if request.provider not in grant.providers:
            return Rejected(f"grant: it does not cover provider '{request.provider}'")
        if request.operation not in grant.operations:
            return Rejected(f"grant: it does not cover operation '{request.operation}'")
        if fault := _reply_fault(request):
            return Rejected(fault, grant.workspace_id)
        if not appended_at - OLDEST_MS <= request.accepted_at <= appended_at + NEWEST_MS:
            reason = "accepted_at is not within 8 days before and 5 minutes after the append"
            return Rejected(reason, grant.workspace_id)
        return NeverAccepted() if appended_at > request.publish_by else Admitted(request, grant, token)

    def granted_to(self, headers: Headers) -> UUID | None:
        """Return the workspace of the valid grant that a record carries, if it does."""
        try:
            return self._grant(dict(headers).get(GRANT_HEADER, b"").decode()).workspace_id
        except (UnicodeDecodeError, Unauthenticated):
            return None


def _reply_fault(request: RunRequested) -> str | None:
    """Return what is wrong with where the reply shall go: nobody may have a runner write into others' topics."""
    if (reply_to := request.reply_to) is None:
        return None
    if reply_to.topic is None:
        missing = reply_to.partition >= REPLIES.partitions
        return f"reply_to.partition: {REPLIES.name} has {REPLIES.partitions} partitions" if missing else None
    own = f"{OWN_REPLIES}{request.workspace_id}"
    if reply_to.topic == own or reply_to.topic.startswith(f"{own}."):
        return None
    return f"reply_to.topic: it must be {own}, or begin with that and a dot"


def _first(error: ValidationError | UnicodeDecodeError) -> str:
    """Return the first fault's place and kind: never the input, which may hold a prompt."""
    if isinstance(error, UnicodeDecodeError):
        return "a header is not UTF-8"
    fault = error.errors(include_input=False, include_url=False, include_context=False)[0]
    return f"{'.'.join(map(str, fault['loc'])) or 'value'}: {fault['msg']}"
