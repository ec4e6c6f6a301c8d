"""What analytics reads from its environment."""

from pydantic import Field, SecretStr

from analytics.retention import SHORTEST_DAYS
from common.providers import ProviderSettings
from common.settings import CallSettings, GroupSettings, IdentitySettings, SchemaSettings


class DatabaseSettings(SchemaSettings):
    """All that `python -m analytics migrate` needs."""

    clickhouse_dsn: SecretStr = Field(
        description="http://user:password@host:8123, or chdb:///path for the engine in-process"
    )
    clickhouse_database: str = "tallyrun"
    clickhouse_cluster: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="a cluster's name on the servers: tables are replicated, sharded",
    )


class Settings(GroupSettings, CallSettings, IdentitySettings, ProviderSettings, DatabaseSettings):
    """Times are in seconds unless the name says otherwise."""

    analytics_port: int = 8082
    consumer_group: str = "analytics"
    text_retention_days: int = Field(90, ge=1, le=36_500, description="how long outputs and prompt previews are kept")
    run_retention_days: int | None = Field(
        None,
        ge=SHORTEST_DAYS,
        le=36_500,
        description="how long single runs are kept after the end of their month; what they add up to stays",
    )
    drain_seconds: int = 10
