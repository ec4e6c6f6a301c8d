"""Prompts in each wire format."""

import pytest
from services.gateway.tests.conftest import Body

from common.providers import Providers, ProviderSettings, ProviderSpec
from gateway.prompts import ANTHROPIC_MAX_TOKENS, Prompt

KNOWN = Providers.load(ProviderSettings())
LOCAL = ProviderSpec.model_validate({"name": "local", "wire": "openai", "base_url": "http://127.0.0.1:9"})
TURNS = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}], "x": None}]


def prompt(**fields: object) -> Prompt:
    return Prompt.model_validate({"provider": "openai", "model": "m", **fields})


def test_input_becomes_one_turn() -> None:
    assert prompt(input="hi").wire(KNOWN.find("openai")) == (
        "chat",
        {"model": "m", "messages": [{"role": "user", "content": "hi"}]},
    )


def test_messages_travel_unharmed() -> None:
    assert prompt(messages=TURNS).wire(LOCAL)[1]["messages"] == TURNS
    assert prompt(messages=TURNS).wire(KNOWN.find("anthropic"))[1]["messages"] == TURNS


@pytest.mark.parametrize(("provider", "limit"), [("openai", "max_completion_tokens"), ("local", "max_tokens")])
def test_the_limit_has_the_name_the_provider_knows(provider: str, limit: str) -> None:
    spec = LOCAL if provider == "local" else KNOWN.find(provider)
    body = prompt(input="hi", maxTokens=7).wire(spec)[1]
    assert {name: value for name, value in body.items() if name.startswith("max")} == {limit: 7}


def test_system_is_the_first_turn_of_a_chat() -> None:
    body = prompt(messages=TURNS, system="be brief").wire(LOCAL)[1]
    assert body["messages"] == [{"role": "system", "content": "be brief"}, *TURNS]


def test_anthropic_has_system_apart_and_requires_a_limit() -> None:
    operation, body = prompt(input="hi", system="be brief", temperature=0).wire(KNOWN.find("anthropic"))
    expected: Body = {"model": "m", "max_tokens": ANTHROPIC_MAX_TOKENS, "system": "be brief", "temperature": 0}
    assert (operation, body) == ("messages", {**expected, "messages": [{"role": "user", "content": "hi"}]})
    assert prompt(input="hi", maxTokens=3).wire(KNOWN.find("anthropic"))[1]["max_tokens"] == 3
