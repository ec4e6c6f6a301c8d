"""What a caller may ask for, and how that reads in the provider's wire format."""

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel
from pydantic.config import JsonDict
from pydantic_core import PydanticCustomError

from common.contracts.runs_v1 import Labels, Name, Operation
from common.providers import ProviderSpec

ANTHROPIC_MAX_TOKENS = 4096
"""The Messages API requires `max_tokens`; this is what a caller gets who names none."""

Required = Annotated[Name, Field(min_length=1)]
Messages = Annotated[list[dict[str, Any]], Field(min_length=1)]


ONE_OF: JsonDict = {
    "oneOf": [
        {"required": ["input"], "properties": {"input": {"type": "string"}, "messages": {"type": "null"}}},
        {"required": ["messages"], "properties": {"messages": {"type": "array"}, "input": {"type": "null"}}},
    ]
}
"""What `Prompt._one_of` lets through, for the document."""


class Prompt(BaseModel):
    """The body of `POST /api/integrations/run`: exactly one of `input` and `messages`, nothing unknown."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, json_schema_extra=ONE_OF)

    provider: Required
    model: Required
    input: str | None = Field(None, min_length=1)
    messages: Messages | None = None
    system: str | None = None
    temperature: float | None = Field(None, ge=0, le=2, allow_inf_nan=False)
    max_tokens: int | None = Field(None, ge=1, le=2**31 - 1)
    prompt_id: Name | None = None
    labels: Labels = {}

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.input is None) == (self.messages is None):
            raise PydanticCustomError("one_of", "give exactly one of 'input' and 'messages'")
        return self

    def identity(self) -> bytes:
        """Return what makes it the same prompt: neither whitespace nor a field that a release adds makes another."""
        return self.model_dump_json(exclude_defaults=True).encode()

    def wire(self, provider: ProviderSpec) -> tuple[Operation, dict[str, Any]]:
        """Return the operation of the provider's wire format, and the request's body in it."""
        if provider.wire == "anthropic":
            return "messages", self._messages_body()
        # Compatible endpoints know the older name alone; OpenAI's newer models refuse it.
        limit = "max_completion_tokens" if provider.name == "openai" else "max_tokens"
        return "chat", self._chat_body(limit)

    def _chat_body(self, limit: str) -> dict[str, Any]:
        system = [] if self.system is None else [{"role": "system", "content": self.system}]
        return _without_none(
            {
                "model": self.model,
                "messages": system + self._turns(),
                "temperature": self.temperature,
                limit: self.max_tokens,
            }
        )

    def _messages_body(self) -> dict[str, Any]:
        return _without_none(
            {
                "model": self.model,
                "max_tokens": self.max_tokens or ANTHROPIC_MAX_TOKENS,
                "messages": self._turns(),
                "system": self.system,
                "temperature": self.temperature,
            }
        )

    def _turns(self) -> list[dict[str, Any]]:
        return self.messages or [{"role": "user", "content": self.input}]


def _without_none(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}
