"""What the vault reads from its environment."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from common.settings import IdentitySettings, KafkaSettings


class VaultSettings(KafkaSettings, IdentitySettings):
    """The vault's settings. The master key is one of the last two; `vault.master_key` says what is good enough."""

    # A missing field must not print the others: the master key is among them.
    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True, hide_input_in_errors=True)

    vault_port: int = Field(8081, ge=0, le=65_535)
    drain_seconds: int = Field(10, ge=0)
    database_url: SecretStr = Field(description="postgresql+asyncpg://user:password@host/database, the vault's own")
    api_key_encryption_key: SecretStr | None = Field(None, description="the master key as a passphrase")
    api_key_encryption_key_file: Path | None = Field(None, description="the master key as 32 random bytes")
