"""OpenAI's chat completions, and every provider that speaks them, over the official SDK's connections."""

from typing import Any

import httpx2
from openai import AsyncOpenAI, DefaultAioHttpClient
from pydantic import SecretStr
from pydantic_core import to_json

from common.contracts.runs_v1 import Operation
from common.providers import ProviderSpec
from runner.providers.allowance import limits_in, wait_seconds
from runner.providers.answer import Answer, Hearing
from runner.providers.assembly import ChatAssembly
from runner.providers.batching import Caller
from runner.providers.connections import CHECK_SECONDS, bearer, fixed, pooled, timeouts
from runner.providers.failures import Callee, check_body, check_key, json_object, listed, reach, unreadable
from runner.providers.openai_batches import OpenAIBatches
from runner.providers.stream import is_stream, streamed
from runner.usage import openai_usage, text


class OpenAIProvider:
    """Sends each body verbatim, under the run's own key, over one pool of connections."""

    def __init__(self, spec: ProviderSpec) -> None:
        self._name = spec.name
        self._url = str(spec.base_url).rstrip("/")
        self._http = pooled(DefaultAioHttpClient)
        sdk = AsyncOpenAI(api_key="of-each-call", base_url=self._url, http_client=self._http)
        # The SDK takes these from its environment, and would send them along with every tenant's key.
        sdk.organization = sdk.project = None
        self._http.headers.update(fixed(sdk.default_headers))
        self.batches = OpenAIBatches(Caller(self._name, self._url, self._http), _answer)

    async def call(
        self, operation: Operation, body: dict[str, Any], secret: SecretStr, timeout_seconds: float
    ) -> Answer:
        """Complete a chat."""
        callee = Callee(self._name, str(body.get("model", "")), secret)
        check_body(operation, "chat", callee)
        sending = self._http.post(
            f"{self._url}/chat/completions",
            content=to_json(body),
            headers=bearer(secret),
            timeout=timeouts(timeout_seconds),
        )
        return _answer(await reach(sending, callee, timeout_seconds), callee)

    async def stream(
        self, operation: Operation, body: dict[str, Any], secret: SecretStr, timeout_seconds: float, hearing: Hearing
    ) -> Answer:
        """Complete a chat in chunks. Their usage is always asked for: without it no price is known."""
        callee = Callee(self._name, str(body.get("model", "")), secret)
        check_body(operation, "chat", callee)
        url, chunks = f"{self._url}/chat/completions", ChatAssembly()
        response = await streamed(self._http, url, _with_usage(body), callee, timeout_seconds, chunks, hearing)
        return _heard(chunks.whole(), response, callee) if is_stream(response) else _answer(response, callee)

    async def check(self, secret: SecretStr) -> bool:
        """List the models: it proves the key and costs nothing."""
        callee = Callee(self._name, "", secret)
        check_key(callee)
        sending = self._http.get(f"{self._url}/models", headers=bearer(secret), timeout=timeouts(CHECK_SECONDS))
        return await listed(reach(sending, callee, CHECK_SECONDS))

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()


def _with_usage(body: dict[str, Any]) -> dict[str, Any]:
    options = body.get("stream_options")
    asked = options if isinstance(options, dict) else {}
    return {**body, "stream_options": {**asked, "include_usage": True}}


def _answer(response: httpx2.Response, callee: Callee) -> Answer:
    said = callee.said(response)
    return _read(said, json_object(said), response, callee)


def _heard(body: dict[str, Any], response: httpx2.Response, callee: Callee) -> Answer:
    return _read(callee.hide(to_json(body).decode()), body, response, callee)


def _read(said: str, body: dict[str, Any], response: httpx2.Response, callee: Callee) -> Answer:
    if not isinstance(choices := body.get("choices"), list):
        raise unreadable(response, callee)
    first = choices[0] if choices and isinstance(choices[0], dict) else {}
    message = first.get("message")
    usage, context = openai_usage(body)
    return Answer(
        response=said,
        output=text(message, "content") if isinstance(message, dict) else None,
        finish_reason=text(first, "finish_reason"),
        served_model=text(body, "model"),
        service_tier=text(body, "service_tier"),
        usage=usage,
        price_context=context,
        wait_seconds=wait_seconds(response.headers, usage.input + usage.output if usage else 0),
        limits=limits_in(response.headers),
    )
