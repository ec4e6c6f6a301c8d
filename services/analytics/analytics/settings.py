"""What analytics reads from its environment."""

from pydantic import Field, SecretStr

from common.settings import GroupSettings, IdentitySettings, SchemaSettings


class DatabaseSettings(SchemaSettings):
    """All that `python -m analytics migrate` needs."""

    clickhouse_dsn: SecretStr = Field(
        description="http://user:password@host:8123, or chdb:///path for the engine in-process"
    )
    clickhouse_database: str = "tallyrun"


class Settings(GroupSettings, IdentitySettings, DatabaseSettings):
    """Times are in seconds unless the name says otherwise."""

    analytics_port: int = 8082
    consumer_group: str = "analytics"
    text_retention_days: int = Field(90, ge=1, le=36_500, description="how long outputs and prompt previews are kept")
    drain_seconds: int = 10
