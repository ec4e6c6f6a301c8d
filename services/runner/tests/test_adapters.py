"""An SDK is loaded when it is first needed, once, whoever asks."""

import asyncio
import subprocess
import sys

import pytest

from common.errors import ProviderRejected
from common.providers import Providers, ProviderSettings
from runner.providers import Adapters

LOADED = "import sys, runner.app; print(*sorted({'openai', 'anthropic'} & set(sys.modules)))"


async def test_all_who_ask_at_once_get_the_same() -> None:
    adapters = Adapters(Providers.load(ProviderSettings()).all())
    try:
        first, *others = await asyncio.gather(*(adapters.of("openai") for _ in range(10)))
        assert all(other is first for other in others)
        assert await adapters.of("anthropic") is not first
    finally:
        await adapters.close()


async def test_an_unknown_provider_is_told_with_those_that_are_known() -> None:
    with pytest.raises(ProviderRejected, match="'nowhere' is not configured; known: anthropic, openai"):
        await Adapters(Providers.load(ProviderSettings()).all()).of("nowhere")


def test_a_runner_starts_without_an_sdk() -> None:
    loaded = subprocess.run([sys.executable, "-c", LOADED], check=True, capture_output=True, text=True)
    assert loaded.stdout.split() == []
