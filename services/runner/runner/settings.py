"""The runner's settings."""

from pydantic import Field, HttpUrl

from common.settings import CallSettings, GroupSettings, IdentitySettings


class RunnerSettings(GroupSettings, CallSettings, IdentitySettings):
    """What the runner reads from its environment. Times are in seconds."""

    runner_port: int = 8083
    vault_url: HttpUrl
    runner_group: str = "runner"
    runner_slots: int = Field(1000, ge=1, description="runs carried out at once")
    drain_seconds: float = Field(610, ge=0, description="how long calls may finish after SIGTERM")
    files_url: str = Field("files", description="where gateways keep files: a folder or a bucket; only read")
    prompt_previews: bool = Field(True, description="keep the first characters of prompts beside their costs")
