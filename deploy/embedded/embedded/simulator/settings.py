"""What the simulator reads from its environment."""

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


class SimulatorSettings(BaseSettings):
    """Where it listens, and how it behaves until it is told otherwise."""

    model_config = SettingsConfigDict(env_prefix="SIMULATOR_", extra="ignore", frozen=True)

    host: str = "127.0.0.1"
    port: int = 8090
    latency_ms: float = Field(0, ge=0)
    jitter_ms: float = Field(0, ge=0)
    failure_rate: float = Field(
        0, ge=0, le=1, description="share of calls that fail, in equal parts by each transient way"
    )
    seed: int = 0
    batch_seconds: float = Field(0.5, ge=0, description="how long a provider's own batch takes; a real one up to a day")
