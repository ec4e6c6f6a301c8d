"""Settings that more than one service has, under the same environment variable."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """What every service reads from its environment. Times are in seconds, sizes in bytes."""

    # Without hide_input_in_errors, one missing variable would print all the others, secrets included.
    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    host: str = "127.0.0.1"
    log_level: str = "INFO"


class KafkaSettings(ServiceSettings):
    """A service that speaks to Kafka."""

    kafka_bootstrap_servers: str = Field(description="host:port[,host:port]")
    kafka_replication: int = Field(3, ge=1, description="replicas of each topic; 1 on a single broker")


class GroupSettings(KafkaSettings):
    """A service whose replicas share partitions as members of one consumer group."""

    session_seconds: float = Field(10, ge=1, description="how long the group waits for a member that went silent")


class IdentitySettings(ServiceSettings):
    """A service that proves who it is, or checks who others are."""

    identity_dir: Path = Field(description="folder with <service>.key (own, private) and <service>.pub files")
