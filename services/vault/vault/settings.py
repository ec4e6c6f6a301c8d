"""What the vault reads from its environment."""

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from common.settings import IdentitySettings, KafkaSettings, SchemaSettings


class KeyringSettings(SchemaSettings):
    """The database and what opens its keyring: all that the operator's commands need.

    At least one master key or a transit server; `vault.sources` says what is good enough.
    """

    # A missing field must not print the others: the master key is among them.
    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True, hide_input_in_errors=True)

    database_url: SecretStr = Field(description="postgresql+asyncpg://user:password@host/database, the vault's own")
    api_key_encryption_key: SecretStr | None = Field(None, description="the master key as a passphrase")
    api_key_encryption_key_file: Path | None = Field(None, description="the master key as 32 random bytes")
    api_key_encryption_key_previous: SecretStr | None = Field(None, description="the one before, while it is in use")
    api_key_encryption_key_previous_file: Path | None = Field(None, description="the same, as 32 random bytes")
    transit_url: str | None = Field(None, description="a HashiCorp Vault or OpenBao server, https://host:8200")
    transit_mount: str = Field("transit", description="where its transit engine is mounted")
    transit_key: str = Field("tallyrun", pattern=r"^[\w.-]+$", description="the name of its key")
    transit_token_file: Path | None = Field(None, description="a file with a token; read at each use")


class VaultSettings(KeyringSettings, KafkaSettings, IdentitySettings):
    """The vault's settings."""

    vault_port: int = Field(8081, ge=0, le=65_535)
    drain_seconds: int = Field(10, ge=0)
