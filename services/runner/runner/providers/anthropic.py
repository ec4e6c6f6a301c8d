"""Anthropic's messages, over the official SDK's connections."""

from typing import Any

import httpx2
from anthropic import AsyncAnthropic, DefaultAioHttpClient
from pydantic import SecretStr
from pydantic_core import to_json

from common.contracts.runs_v1 import Operation
from common.providers import ProviderSpec
from runner.providers.allowance import limits_in, wait_seconds
from runner.providers.answer import Answer, Hearing
from runner.providers.anthropic_batches import AnthropicBatches
from runner.providers.assembly import MessageAssembly
from runner.providers.batching import Caller
from runner.providers.connections import CHECK_SECONDS, bearer, fixed, pooled, timeouts
from runner.providers.failures import Callee, check_body, check_key, json_object, listed, reach, unreadable
from runner.providers.stream import is_stream, streamed
from runner.usage import anthropic_usage, text


class AnthropicProvider:
    """Sends each body verbatim, under the run's own key, over one pool of connections."""

    def __init__(self, spec: ProviderSpec) -> None:
        self._name = spec.name
        self._url = str(spec.base_url).rstrip("/")
        self._http = pooled(DefaultAioHttpClient)
        sdk = AsyncAnthropic(api_key="of-each-call", base_url=self._url, http_client=self._http)
        self._http.headers.update(fixed(sdk.default_headers))
        self.batches = AnthropicBatches(Caller(self._name, f"{self._url}/v1", self._http), _answer)

    async def call(
        self, operation: Operation, body: dict[str, Any], secret: SecretStr, timeout_seconds: float
    ) -> Answer:
        """Write a message."""
        callee = Callee(self._name, str(body.get("model", "")), secret)
        check_body(operation, "messages", callee)
        sending = self._http.post(
            f"{self._url}/v1/messages",
            content=to_json(body),
            headers=bearer(secret),
            timeout=timeouts(timeout_seconds),
        )
        return _answer(await reach(sending, callee, timeout_seconds), callee)

    async def stream(
        self, operation: Operation, body: dict[str, Any], secret: SecretStr, timeout_seconds: float, hearing: Hearing
    ) -> Answer:
        """Write a message in events."""
        callee = Callee(self._name, str(body.get("model", "")), secret)
        check_body(operation, "messages", callee)
        url, events = f"{self._url}/v1/messages", MessageAssembly()
        response = await streamed(self._http, url, body, callee, timeout_seconds, events, hearing)
        return _heard(events.whole(), response, callee) if is_stream(response) else _answer(response, callee)

    async def check(self, secret: SecretStr) -> bool:
        """List the models: it proves the key and costs nothing."""
        callee = Callee(self._name, "", secret)
        check_key(callee)
        sending = self._http.get(f"{self._url}/v1/models", headers=bearer(secret), timeout=timeouts(CHECK_SECONDS))
        return await listed(reach(sending, callee, CHECK_SECONDS))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _answer(response: httpx2.Response, callee: Callee) -> Answer:
    said = callee.said(response)
    return _read(said, json_object(said), response, callee)


def _heard(body: dict[str, Any], response: httpx2.Response, callee: Callee) -> Answer:
    return _read(callee.hide(to_json(body).decode()), body, response, callee)


def _read(said: str, body: dict[str, Any], response: httpx2.Response, callee: Callee) -> Answer:
    if not isinstance(blocks := body.get("content"), list):
        raise unreadable(response, callee)
    usage, context = anthropic_usage(body)
    return Answer(
        response=said,
        output=_text(blocks),
        finish_reason=text(body, "stop_reason"),
        served_model=text(body, "model"),
        service_tier=_tier(body),
        usage=usage,
        price_context=context,
        wait_seconds=wait_seconds(response.headers, usage.input + usage.output if usage else 0),
        limits=limits_in(response.headers),
    )


def _text(blocks: list[Any]) -> str | None:
    texts = [block["text"] for block in blocks if isinstance(block, dict) and isinstance(block.get("text"), str)]
    return "".join(texts) if texts else None


def _tier(body: dict[str, Any]) -> str | None:
    usage = body.get("usage")
    return text(usage, "service_tier") if isinstance(usage, dict) else None
