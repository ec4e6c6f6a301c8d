"""The model providers: one adapter for each wire format, over its official SDK's connections."""

from runner.providers.adapters import Adapters, provider_for
from runner.providers.answer import Answer, CallFailed, Hearing
from runner.providers.provider import Provider

__all__ = ["Adapters", "Answer", "CallFailed", "Hearing", "Provider", "provider_for"]
