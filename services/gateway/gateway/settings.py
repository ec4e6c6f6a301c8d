"""What the gateway reads from its environment."""

from pathlib import Path

from pydantic import Field, SecretStr

from common.lockout import ALLOWED
from common.providers import ProviderSettings
from common.settings import IdentitySettings, KafkaSettings, SchemaSettings


class DatabaseSettings(SchemaSettings):
    """All that `python -m gateway migrate` needs."""

    database_url: SecretStr = Field(
        description="SQLAlchemy URL, postgresql+asyncpg://…: a database of the gateway's own"
    )


class GatewaySettings(KafkaSettings, IdentitySettings, ProviderSettings, DatabaseSettings):
    """Times are in seconds."""

    gateway_port: int = 8080
    vault_url: str
    analytics_url: str
    admin_token_file: Path = Field(description="holds the operator's access token; the file is the truth")
    files_url: str = Field("files", description="where files are kept: a folder, or s3://bucket/prefix with AWS_… set")
    failed_tokens: int = Field(ALLOWED, ge=1, description="from one address within a minute, then it waits a minute")
    sync_wait_seconds: float = Field(30, gt=0, description="how long a synchronous caller waits for its result")
    online_wait_seconds: float = Field(600, gt=0, description="the same under /v1; in a stream, for its next piece")
    keep_alive_seconds: float = Field(15, gt=0, description="after so long a silence, a stream says that it goes on")
    publish_seconds: float = Field(5, gt=0, description="bound of a send; appended later, a run was never accepted")
    drain_seconds: int = Field(10, ge=0, description="how long requests may go on after SIGTERM")
