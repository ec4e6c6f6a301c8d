"""The model providers: one adapter for each wire format, over its official SDK's connections."""

from common.providers import ProviderSpec
from runner.providers.answer import Answer, CallFailed, Hearing
from runner.providers.anthropic import AnthropicProvider
from runner.providers.openai import OpenAIProvider
from runner.providers.provider import Provider

__all__ = ["Answer", "CallFailed", "Hearing", "Provider", "provider_for"]

ADAPTERS: dict[str, type[OpenAIProvider | AnthropicProvider]] = {
    "openai": OpenAIProvider,
    "anthropic": AnthropicProvider,
}


def provider_for(spec: ProviderSpec) -> Provider:
    """Return the adapter of the provider's wire format. Nothing is connected yet."""
    return ADAPTERS[spec.wire](spec)
