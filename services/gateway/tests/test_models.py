"""What a model's name means, by what is connected."""

from uuid import UUID, uuid4

import pytest
from pydantic import HttpUrl

from common.contracts.credentials_v1 import KeyView
from common.errors import AmbiguousModel, UnknownModel
from common.providers import Providers, ProviderSpec
from gateway.models import Models

WORKSPACE = uuid4()


def spec(name: str, catalogue: str | None) -> ProviderSpec:
    wire = "anthropic" if name == "anthropic" else "openai"
    return ProviderSpec(name=name, wire=wire, base_url=HttpUrl("http://127.0.0.1:9/v1"), catalogue=catalogue)


PROVIDERS = Providers(
    [spec("openai", "openai"), spec("anthropic", "anthropic"), spec("mirror", "openai"), spec("local", None)]
)


class Shelf:
    """Keys of these providers, one of them inactive."""

    def __init__(self, *active: str, inactive: str = "mirror") -> None:
        self.asked = 0
        self._keys = [self._key(name, name in active) for name in (*active, inactive)]

    def _key(self, provider: str, active: bool) -> KeyView:
        return KeyView(
            id=uuid4(), provider=provider, name="default", preview="abcd", version=1, is_active=active, verified=True,
            created_at=0,
        )  # fmt: skip

    async def keys(self, workspace_id: UUID) -> list[KeyView]:
        assert workspace_id == WORKSPACE
        self.asked += 1
        return self._keys


async def meaning(shelf: Shelf, name: str) -> tuple[str, str]:
    resolved = await Models(shelf, PROVIDERS).resolve(WORKSPACE, name)
    return resolved.spec.name, resolved.model


async def test_a_provider_before_the_first_slash() -> None:
    for name, meant in {
        "openai/gpt-4o": ("openai", "gpt-4o"),
        "local/meta/llama-3": ("local", "meta/llama-3"),
        "anthropic/anything": ("anthropic", "anything"),
    }.items():
        shelf = Shelf()
        assert await meaning(shelf, name) == meant
        assert shelf.asked == 0, "whether it is connected is the run's business"


async def test_a_bare_name_that_one_connected_provider_has() -> None:
    shelf = Shelf("openai", "anthropic", "local")
    assert await meaning(shelf, "gpt-4o") == ("openai", "gpt-4o")
    assert await meaning(shelf, "gpt-4o-2024-08-06") == ("openai", "gpt-4o-2024-08-06")
    assert await meaning(shelf, "claude-sonnet-4-5") == ("anthropic", "claude-sonnet-4-5")
    assert await meaning(Shelf("mirror", inactive="openai"), "gpt-4o") == ("mirror", "gpt-4o")


async def test_a_bare_name_of_several_or_none() -> None:
    with pytest.raises(AmbiguousModel, match="write 'mirror/gpt-4o' or 'openai/gpt-4o'"):
        await meaning(Shelf("openai", "mirror"), "gpt-4o")
    for shelf, name, said in [
        (Shelf("anthropic"), "gpt-4o", "no catalogue of 'anthropic'"),
        (Shelf("local"), "llama", "no catalogue of 'local'"),
        (Shelf("openai"), "nobody/gpt-4o", "no catalogue of 'openai'"),
        (Shelf("openai"), "openai/", "no catalogue of 'openai'"),
        (Shelf("openai"), "", "no catalogue of 'openai'"),
        (Shelf(), "gpt-4o", "no provider is connected"),
    ]:
        with pytest.raises(UnknownModel, match=said) as caught:
            await meaning(shelf, name)
        assert (caught.value.param, caught.value.status, caught.value.code) == ("model", 400, "model_not_found")


async def test_keys_are_asked_for_once_in_a_while() -> None:
    shelf = Shelf("openai")
    models = Models(shelf, PROVIDERS)
    for _ in range(3):
        await models.resolve(WORKSPACE, "gpt-4o")
    assert shelf.asked == 1


async def test_the_list_is_the_catalogue_of_what_is_connected() -> None:
    listed = await Models(Shelf("anthropic", "local"), PROVIDERS).listed(WORKSPACE)
    assert {model.spec.name for model in listed} == {"anthropic"}
    assert "claude-sonnet-4-5" in {model.model for model in listed}
