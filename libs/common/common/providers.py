"""Which providers this installation knows: operator configuration that gateway and runner share."""

from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, TypeAdapter
from pydantic_settings import BaseSettings, SettingsConfigDict

from common.errors import InvalidRequest

Wire = Literal["openai", "anthropic"]


class ProviderSpec(BaseModel):
    """One provider: its name, the wire format it speaks, where it lives, and whose prices it charges.

    `catalogue` is the provider id in the price catalogue; None means that its runs are unpriced. `batches`: it has the
    batch endpoint of its wire format.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]{0,31}$")
    wire: Wire
    base_url: HttpUrl
    catalogue: str | None = None
    batches: bool = False


class ProviderSettings(BaseSettings):
    """The two well-known providers, and a file that adds any number of compatible ones."""

    model_config = SettingsConfigDict(extra="ignore", frozen=True)

    openai_base_url: HttpUrl = HttpUrl("https://api.openai.com/v1")
    anthropic_base_url: HttpUrl = HttpUrl("https://api.anthropic.com")
    providers_file: Path | None = Field(None, description="JSON list of {name, wire, base_url, catalogue, batches}")


class Providers:
    """The known providers by name."""

    def __init__(self, specs: list[ProviderSpec]) -> None:
        self._by_name = {spec.name: spec for spec in specs}

    @classmethod
    def load(cls, settings: ProviderSettings) -> Self:
        """Read the settings' providers; a later one of the same name replaces an earlier one."""
        known = [
            _known("openai", settings.openai_base_url),
            _known("anthropic", settings.anthropic_base_url),
        ]
        return cls(known + _read(settings.providers_file))

    def names(self) -> list[str]:
        """Return the known names, sorted."""
        return sorted(self._by_name)

    def all(self) -> list[ProviderSpec]:
        """Return every known provider."""
        return list(self._by_name.values())

    def find(self, name: str) -> ProviderSpec:
        """Return the provider of that name, or raise `InvalidRequest` that lists the known ones."""
        if (spec := self._by_name.get(name)) is None:
            raise InvalidRequest(f"provider: '{name[:64]}' is unknown; allowed: {', '.join(self.names())}")
        return spec


def _known(wire: Wire, base_url: HttpUrl) -> ProviderSpec:
    return ProviderSpec(name=wire, wire=wire, base_url=base_url, catalogue=wire, batches=True)


def _read(path: Path | None) -> list[ProviderSpec]:
    if path is None:
        return []
    return TypeAdapter(list[ProviderSpec]).validate_json(path.read_bytes())
