"""Settings that more than one service has, under the same environment variable."""

import os
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SecretsSettingsSource, SettingsConfigDict

SECRETS_DIR = "SECRETS_DIR"
"""The variable that names a folder of files, each named after a variable whose value it holds: what is secret need not
stand in the environment. A variable that is set as well wins."""

Sampler = Literal[
    "always_on",
    "always_off",
    "traceidratio",
    "parentbased_always_on",
    "parentbased_always_off",
    "parentbased_traceidratio",
]
"""As OpenTelemetry names them. `parentbased_…` believes what a caller says of its own trace."""


class ServiceSettings(BaseSettings):
    """What every service reads from its environment. Times are in seconds, sizes in bytes."""

    # Without hide_input_in_errors, one missing variable would print all the others, secrets included.
    model_config = SettingsConfigDict(extra="ignore", frozen=True, hide_input_in_errors=True)

    host: str = Field("127.0.0.1", description="the address to listen at; 0.0.0.0 in a container")
    log_level: str = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")
    otel_exporter_otlp_endpoint: str | None = Field(
        None, description="where traces go by OTLP over HTTP: http://collector:4318; without it there are none"
    )
    otel_traces_sampler: Sampler = Field("parentbased_always_on", description="which runs are traced")
    otel_traces_sampler_arg: float | None = Field(None, ge=0, le=1, description="the share of them, for …traceidratio")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - there is no .env file
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - its folder would be fixed at import
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment, then the files of `SECRETS_DIR`."""
        files = SecretsSettingsSource(settings_cls, secrets_dir=os.environ.get(SECRETS_DIR))
        return init_settings, env_settings, files


class SchemaSettings(ServiceSettings):
    """A service with a database of its own."""

    migrate_on_start: bool = Field(
        True, description="bring the database up at the start; false: `python -m <service> migrate` has to, before"
    )


class KafkaSettings(ServiceSettings):
    """A service that speaks to Kafka."""

    kafka_bootstrap_servers: str = Field(description="host:port[,host:port]")
    kafka_replication: int = Field(3, ge=1, description="replicas of each topic; 1 on a single broker")


class GroupSettings(KafkaSettings):
    """A service whose replicas share partitions as members of one consumer group."""

    session_seconds: float = Field(10, ge=1, description="how long the group waits for a member that went silent")


class CallSettings(ServiceSettings):
    """A service that must know when a call to a provider is over: the runner ends it then."""

    call_seconds: float = Field(600, gt=0, description="the longest call to a provider; the same in every service")


class IdentitySettings(ServiceSettings):
    """A service that proves who it is, or checks who others are: by keys of ours, or by what its cluster says."""

    identity_dir: Path = Field(description="folder with <service>.key (own, private) and <service>.pub files")
    service_token_dir: Path | None = Field(
        None, description="folder with projected service-account tokens, one file for each audience: used instead"
    )
    cluster_issuer: str | None = Field(None, description="the `iss` of service-account tokens that are believed")
    cluster_jwks: str | None = Field(None, description="file or URL of the cluster's public keys (/openid/v1/jwks)")
    cluster_services: dict[str, str] = Field(
        {}, description='which account stands for which service: {"<namespace>:<account>": "runner"}'
    )

    @model_validator(mode="after")
    def _whole_cluster(self) -> Self:
        given = [bool(self.cluster_issuer), bool(self.cluster_jwks), bool(self.cluster_services)]
        if any(given) and not all(given):
            raise ValueError("CLUSTER_ISSUER, CLUSTER_JWKS and CLUSTER_SERVICES belong together: set all, or none")
        return self
