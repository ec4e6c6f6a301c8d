"""One tree of errors: each class carries the code and the status that a caller sees."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar


class TallyrunError(Exception):
    """An error with a stable code. Raise a subclass: this one is the unexpected.

    `retry_after` is in seconds and becomes the `Retry-After` header; `run_id` is set once a run may exist; `param` is
    the field at fault.
    """

    code: ClassVar[str] = "internal_error"
    status: ClassVar[int] = 500
    headers: Mapping[str, str] = MappingProxyType({})
    """What its answer's headers say beside those that every error has."""

    def __init__(
        self, message: str, *, retry_after: float | None = None, run_id: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after = retry_after
        self.run_id = run_id
        self.param = param

    def body(self) -> dict[str, Any]:
        """Return the wire shape: `{success, error, code}` and `runId` where a run may exist."""
        wire: dict[str, Any] = {"success": False, "error": self.message, "code": self.code}
        return wire if self.run_id is None else {**wire, "runId": self.run_id}


class InvalidRequest(TallyrunError):
    """The request cannot be understood; the message names the field and what is allowed."""

    code, status = "invalid_request", 422


class Unsupported(TallyrunError):
    """The request is understood, and the provider it is meant for has nothing like `param`: it is never left out."""

    code, status = "unsupported", 422


class UnknownModel(TallyrunError):
    """No connected provider has a model of this name, as far as the price catalogue knows."""

    code, status = "model_not_found", 400


class AmbiguousModel(TallyrunError):
    """Several connected providers have a model of this name: the request has to say which is meant."""

    code, status = "model_ambiguous", 400


class Unauthenticated(TallyrunError):
    """No credential, or one that is wrong or expired."""

    code, status = "unauthenticated", 401


class Forbidden(TallyrunError):
    """The caller is known and may not do this."""

    code, status = "forbidden", 403


class LockedOut(TallyrunError):
    """Too many failed tokens came from this address; the next is looked at after `retry_after`."""

    code, status = "locked_out", 429


class NotFound(TallyrunError):
    """No such path, or no such thing in the caller's workspace."""

    code, status = "not_found", 404


class MethodNotAllowed(TallyrunError):
    """The path exists, the method does not."""

    code, status = "method_not_allowed", 405


class TooLarge(TallyrunError):
    """The body is over the limit, which the message says."""

    code, status = "too_large", 413


class IdempotencyConflict(TallyrunError):
    """The idempotency key was used before, with another body."""

    code, status = "idempotency_conflict", 409


class Conflict(TallyrunError):
    """The thing changed meanwhile, or its state does not allow this."""

    code, status = "conflict", 409


class Unavailable(TallyrunError):
    """A part that is needed is away; the same request may succeed later."""

    code, status = "unavailable", 503


class QuotaExceeded(TallyrunError):
    """The workspace has used what it may; `limit` of how many, none of which is left until `reset` seconds from now."""

    code, status = "quota_exceeded", 429

    def __init__(self, message: str, *, retry_after: float, limit: int, reset: float | None = None) -> None:
        super().__init__(message, retry_after=retry_after)
        known = {"limit": str(limit), "remaining": "0", **({} if reset is None else {"reset": f"{reset:.3g}s"})}
        self.headers = {f"x-ratelimit-{name}-requests": value for name, value in known.items()}


class StorageExceeded(TallyrunError):
    """The workspace keeps as many bytes as it may: time alone helps only where something expires."""

    code, status = "storage_exceeded", 413


class Overloaded(TallyrunError):
    """More comes in than this replica can take; nothing of the request was begun."""

    code, status = "overloaded", 503


class SchemaMismatch(TallyrunError):
    """The database's tables and this version of the service do not fit; the message says what to do."""

    code = "schema_mismatch"


class StreamBroken(TallyrunError):
    """A piece of a streamed answer was lost after others had been sent; the whole of it comes under the run id."""

    code, status = "stream_broken", 502


class StillRunning(TallyrunError):
    """No result within the wait; it comes later, under the run id."""

    code, status = "still_running", 504


class RunFailed(TallyrunError):
    """A run that ended without an output. Subclasses are the codes that `RunCompleted.error` may carry."""

    code, status = "run_failed", 502


class InvalidApiKey(RunFailed):
    """The provider refused the key."""

    code, status = "invalid_api_key", 424


class ApiKeyRefused(TallyrunError):
    """The provider refused the key when it was tried: to connect it, and nothing was saved, or again."""

    code, status = "invalid_api_key", 400


class RateLimited(RunFailed):
    """The provider kept answering 429 until the deadline."""

    code, status = "rate_limited", 429


class InsufficientQuota(RunFailed):
    """The account behind the key has no credit left."""

    code, status = "insufficient_quota", 402


class NoApiKey(RunFailed):
    """The workspace has no active key for this provider."""

    code, status = "no_api_key", 409


class ApiKeyExpired(RunFailed):
    """The key's expiry date has passed; its owners have to rotate it."""

    code, status = "api_key_expired", 424


class ModelNotFound(RunFailed):
    """The provider does not know the model."""

    code, status = "model_not_found", 404


class ProviderTimeout(RunFailed):
    """The provider did not answer in time."""

    code, status = "provider_timeout", 504


class ProviderUnavailable(RunFailed):
    """The provider could not be reached, or answered 5xx."""

    code, status = "provider_unavailable", 502


class ProviderRejected(RunFailed):
    """The provider refused the request itself (a 4xx that is none of the above)."""

    code, status = "provider_rejected", 400


class GrantRefused(RunFailed):
    """The run's grant had expired, or was revoked, when the run's turn came; or it does not cover the run."""

    code, status = "grant_refused", 403


class DeadlineExceeded(RunFailed):
    """The deadline passed before an attempt could start."""

    code, status = "deadline_exceeded", 504


class BatchWasCancelled(RunFailed):
    """The run's batch was cancelled before the run's call began."""

    code, status = "batch_cancelled", 409


class CallOutcomeUnknown(RunFailed):
    """The provider may have received, and charged, a call whose answer never came; the run asked not to repeat it."""

    code, status = "outcome_unknown", 502


class NotServed(RunFailed):
    """The provider's batch ended without an answer to this row, and charged nothing for it."""

    code, status = "not_served", 502


class RunnerFault(RunFailed):
    """A fault of ours, not the caller's and not the provider's."""

    code, status = "runner_fault", 500


def _leaves(root: type[TallyrunError]) -> list[type[TallyrunError]]:
    return [root, *(leaf for child in root.__subclasses__() for leaf in _leaves(child))]


RUN_ERRORS: dict[str, type[TallyrunError]] = {cls.code: cls for cls in _leaves(RunFailed)}
"""Code of a failed run → the error its caller receives."""

_BY_STATUS_AND_CODE = {(cls.status, cls.code): cls for cls in _leaves(TallyrunError)}


def from_wire(status: int, body: dict[str, Any], retry_after: float | None = None) -> TallyrunError:
    """Rebuild the error another service answered; an unknown one becomes `Unavailable`."""
    cls = _BY_STATUS_AND_CODE.get((status, str(body.get("code"))), Unavailable)
    return cls(str(body.get("error", f"status {status}")), retry_after=retry_after)
