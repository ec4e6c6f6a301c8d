"""From what went wrong with a call to the one typed failure: its code, whether to retry, what may have been paid."""

import asyncio
import math
import time
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any

import aiohttp
import httpx2
import orjson
from pydantic import SecretStr

from runner.providers.answer import LONGEST_WAIT_SECONDS, CallFailed
from runner.usage import text

NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
"""What aiohttp raises before a request leaves: refused, unknown host, no TLS, no connection in time."""

TRANSPORT = (aiohttp.ClientError, httpx2.HTTPError, OSError)
"""What goes wrong on the way; a timeout is an OSError."""

OUT_OF_CREDIT = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "billing_error"}
"""Error codes and types of accounts without credit, of both providers."""

TRY_AGAIN = {408, 409}
"""Like 5xx, these say nothing against the request itself: a timeout, and a conflict with another call."""

SAID_CHARACTERS = 500


@dataclass(frozen=True)
class Callee:
    """Whom a call goes to: what a failure must name, and the key that it must not."""

    provider: str
    model: str
    secret: SecretStr

    def said(self, response: httpx2.Response) -> str:
        """Return the response's body, verbatim but for the key, should it be in there."""
        return self.hide(response.content.decode(errors="replace"))

    def hide(self, said: str) -> str:
        """Return what was said without the key."""
        for written in self._key:
            said = said.replace(written, "[key]")
        return said

    @cached_property
    def _key(self) -> set[str]:
        return _written(self.secret.get_secret_value())


HTML_IN_JSON = str.maketrans({character: f"\\u{ord(character):04x}" for character in "<>&'+="})
"""What encoders write otherwise so that their JSON may stand in HTML: Go's, Rails', .NET's."""


def _written(key: str) -> set[str]:
    """Return the key as it is, and as JSON writes it; a key of letters, digits and dashes has one form only."""
    quoted = orjson.dumps(key)[1:-1].decode()
    escaped = quoted.translate(HTML_IN_JSON)
    upper = quoted.translate({code: text.upper().replace("U", "u") for code, text in HTML_IN_JSON.items()})
    plain = {key, quoted, escaped, upper}
    return plain | {form.replace("/", "\\/") for form in plain}


async def reach(sending: Awaitable[httpx2.Response], callee: Callee, timeout_seconds: float) -> httpx2.Response:
    """Await an answer for at most so long; raise `CallFailed` for a refusal, and for anything the transport raises.

    It is raised outside the handler, so that no cause hangs on it: the transport's errors hold the request and its key.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            response = await sending
    except CallFailed as error:  # what was heard of a stream says it
        failed = error
    except Exception as error:  # noqa: BLE001 - the transport lets errors of three libraries through; all become one
        failed = _failure(error, callee, timeout_seconds)
    else:
        if response.is_success:
            return response
        failed = refusal(response, callee)
    raise failed


async def listed(listing: Awaitable[httpx2.Response]) -> bool:
    """Return True for a models list, False where the provider has none (404, 405); other failures are raised."""
    try:
        await listing
    except CallFailed as failed:
        if failed.status_code not in {404, 405}:
            raise
        return False
    return True


def _failure(error: Exception, callee: Callee, timeout_seconds: float) -> CallFailed:
    causes = _causes(error)
    if not any(isinstance(cause, TRANSPORT) for cause in causes):
        message = f"the call to {callee.provider} failed on our side: {type(causes[-1]).__name__}"
        return CallFailed("runner_fault", message, outcome_known=False)
    if any(isinstance(cause, TimeoutError | httpx2.ReadTimeout) for cause in causes):
        return _timed_out(causes, callee, timeout_seconds)
    sent = not any(isinstance(cause, NOT_SENT) for cause in causes)
    how = "lost the connection before it answered; it may have charged the call" if sent else "cannot be reached"
    return CallFailed("provider_unavailable", f"{callee.provider} {how}", retryable=True, outcome_known=not sent)


def _causes(error: BaseException | None) -> list[BaseException]:
    # The innermost one tells: on its way out, the transport makes a connect timeout of every lost connection.
    causes = []
    while error is not None:
        causes.append(error)
        error = error.__cause__
    return causes


def _timed_out(causes: list[BaseException], callee: Callee, timeout_seconds: float) -> CallFailed:
    if any(isinstance(cause, NOT_SENT) for cause in causes):
        message = f"{callee.provider} accepted no connection in time"
        return CallFailed("provider_timeout", message, retryable=True)
    message = f"{callee.provider} did not answer within {timeout_seconds:g} s; it may have charged the call"
    return CallFailed("provider_timeout", message, retryable=True, outcome_known=False)


@dataclass(frozen=True)
class Refusal:
    """An answer that is an error, in either provider's shape or a compatible server's."""

    status: int
    words: str
    kinds: frozenset[str]
    retry_after: float | None
    final: bool


def refusal(response: httpx2.Response, callee: Callee) -> CallFailed:
    """Return the failure that an error status means; its outcome is always known."""
    read = _read(response, callee)
    code, message, retryable = _meaning(read, callee)
    return CallFailed(
        code,
        message,
        status_code=read.status,
        retryable=retryable and not read.final,
        retry_after=read.retry_after,
    )


def _meaning(read: Refusal, callee: Callee) -> tuple[str, str, bool]:
    who, status, said = callee.provider, read.status, f": {read.words}" if read.words else ""
    if read.kinds & OUT_OF_CREDIT or status == 402 or "credit balance is too low" in read.words:
        return "insufficient_quota", f"Insufficient API credits at {who}{said}", False
    if "model_not_found" in read.kinds or (status == 404 and _about_model(read, callee.model)):
        return "model_not_found", f"{who} does not know the model '{callee.model}', or not for this API key", False
    if status in {401, 403}:
        return "invalid_api_key", f"Invalid API key: {who} refused it ({status}), connect again{said}", False
    if status == 429:
        return "rate_limited", f"Rate limit exceeded at {who}{said}", True
    if status >= 500 or status in TRY_AGAIN:
        return "provider_unavailable", f"{who} answered {status}{said}", True
    return "provider_rejected", f"{who} rejected the request ({status}){said}", False


def _about_model(read: Refusal, model: str) -> bool:
    return "not_found_error" in read.kinds or "model" in read.words.lower() or bool(model and model in read.words)


def _read(response: httpx2.Response, callee: Callee) -> Refusal:
    body = json_object(callee.said(response))
    error = body.get("error", body)
    fields: Mapping[str, Any] = error if isinstance(error, dict) else {"message": error}
    return Refusal(
        status=response.status_code,
        words=(text(fields, "message") or "")[:SAID_CHARACTERS],
        kinds=frozenset(filter(None, (text(fields, "code"), text(fields, "type")))),
        retry_after=retry_after(response.headers),
        final=response.headers.get("x-should-retry") == "false",
    )


def json_object(content: str) -> dict[str, Any]:
    """Return the JSON object, or an empty one where it is none."""
    try:
        body = orjson.loads(content)
    except orjson.JSONDecodeError:
        return {}
    return body if isinstance(body, dict) else {}


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the wait that was asked for, in seconds and a month at most.

    It is `retry-after-ms`, or `Retry-After` in seconds or as a date.
    """
    wait = _asked(headers)
    return None if wait is None else min(wait, LONGEST_WAIT_SECONDS)


def _asked(headers: Mapping[str, str]) -> float | None:
    if (exact := _number(headers.get("retry-after-ms"))) is not None:
        return exact / 1000
    asked = headers.get("retry-after")
    return _until(asked) if asked and _number(asked) is None else _number(asked)


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "")
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _until(date: str) -> float | None:
    try:
        return max(0.0, parsedate_to_datetime(date).timestamp() - time.time())
    except ValueError:
        return None


def unreadable(response: httpx2.Response, callee: Callee) -> CallFailed:
    """Return the failure of an answer that is none: the call was carried out, and paid, so it is not repeated."""
    read = _read(response, callee)
    message = (
        f"{callee.provider} answered {read.status} with something that is no answer, and may have charged the call"
    )
    return CallFailed(
        "provider_unavailable", f"{message}: {read.words}" if read.words else message, status_code=read.status
    )


def broken_off(callee: Callee, why: str = "") -> CallFailed:
    """Return the failure of an answer that began and never came to its end; what was written of it may be charged."""
    message = f"{callee.provider} broke its answer off; it may have charged the call"
    said = f"{message}: {why[:SAID_CHARACTERS]}" if why else message
    return CallFailed("provider_unavailable", said, status_code=200, retryable=True, outcome_known=False)


def check_body(operation: str, spoken: str, callee: Callee) -> None:
    """Raise `CallFailed` for what must not be sent: the other wire's operation, a key that is no header."""
    if operation != spoken:
        message = f"{callee.provider} takes runs of operation '{spoken}', not '{operation}'"
        raise CallFailed("provider_rejected", message)
    check_key(callee)


def check_key(callee: Callee) -> None:
    """Raise `CallFailed` for a key that no header can carry; the transports would quote it in their errors."""
    key = callee.secret.get_secret_value()
    if not key or not key.isascii() or not key.isprintable():
        message = f"Invalid API key: it is empty or has characters that no key of {callee.provider} has, connect again"
        raise CallFailed("invalid_api_key", message)
