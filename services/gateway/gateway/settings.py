"""What the gateway reads from its environment."""

from pathlib import Path

from pydantic import Field, SecretStr

from common.lockout import ALLOWED
from common.providers import ProviderSettings
from common.settings import IdentitySettings, KafkaSettings, SchemaSettings, ServiceSettings
from gateway.quota.limits import SLOWEST, Limits


class DatabaseSettings(SchemaSettings):
    """All that `python -m gateway migrate` needs."""

    database_url: SecretStr = Field(
        description="SQLAlchemy URL, postgresql+asyncpg://…: a database of the gateway's own"
    )


class LimitSettings(ServiceSettings):
    """What a workspace may use that the operator set nothing for; without a value there is no limit."""

    workspace_runs_per_second: float | None = Field(None, ge=SLOWEST, description="accepted; 0.5 is 30 a minute")
    workspace_burst_runs: int | None = Field(None, ge=1, description="of these at once; ten seconds' worth if not set")
    workspace_waiting_runs: int | None = Field(None, ge=1, description="single runs, accepted and not ended")
    workspace_stored_bytes: int | None = Field(None, ge=1, description="uploads and results of batches")
    workspace_body_bytes: int | None = Field(None, ge=1024, description="of one run, at most 8 MiB")

    def workspace_limits(self) -> Limits:
        """Return them as one."""
        return Limits(
            runs_per_second=self.workspace_runs_per_second,
            burst_runs=self.workspace_burst_runs,
            waiting_runs=self.workspace_waiting_runs,
            stored_bytes=self.workspace_stored_bytes,
            body_bytes=self.workspace_body_bytes,
        )


class LoadSettings(ServiceSettings):
    """What a replica takes on at a time; a run beyond that is answered 503 with Retry-After."""

    entering_requests: int = Field(256, ge=1, description="requests for runs on their way to the broker")
    open_requests: int = Field(10_000, ge=1, description="the same and those that wait for their results")
    open_bytes: int = Field(256 * 1024 * 1024, ge=1, description="the bodies of all these")


class GatewaySettings(KafkaSettings, IdentitySettings, ProviderSettings, DatabaseSettings, LimitSettings, LoadSettings):
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
    simulated: bool = Field(False, description="the providers are played: the dashboard says so")
