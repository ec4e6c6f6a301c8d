"""What compose file and manifests set, the services know; what these must be told, they set; a page names it all."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
import yaml
from deploy.k8s.tests.manifests import SERVICES, Manifest, containers, literals, of_kind, written
from pydantic_settings import BaseSettings

from analytics.settings import DatabaseSettings as AnalyticsDatabase
from analytics.settings import Settings as AnalyticsSettings
from common.providers import ProviderSettings
from common.settings import SECRETS_DIR
from embedded.simulator.settings import SimulatorSettings
from gateway.settings import DatabaseSettings as GatewayDatabase
from gateway.settings import GatewaySettings
from runner.settings import RunnerSettings
from vault.settings import KeyringSettings, VaultSettings

ROOT = Path(__file__).parents[3]

SETTINGS: dict[str, tuple[type[BaseSettings], ...]] = {
    "gateway": (GatewaySettings,),
    "vault": (VaultSettings,),
    "runner": (RunnerSettings, ProviderSettings),
    "analytics": (AnalyticsSettings,),
    "gateway-migrate": (GatewayDatabase,),
    "vault-migrate": (KeyringSettings,),
    "analytics-migrate": (AnalyticsDatabase,),
    "simulator": (SimulatorSettings,),
}

OTHERS = {SECRETS_DIR, "FORWARDED_ALLOW_IPS"}
"""Read by our code without being settings: where files with settings lie, and uvicorn's list of proxies."""

NEEDED_BESIDE = {"vault": {"API_KEY_ENCRYPTION_KEY_FILE"}, "simulator": set[str]()}
"""What a service refuses to start without, though its settings have a default."""


def fields(name: str) -> dict[str, bool]:
    """Return the variables that a service knows, and whether it must be given them."""
    return {
        settings.model_config.get("env_prefix", "").upper() + field.upper(): info.is_required()
        for settings in SETTINGS[name]
        for field, info in settings.model_fields.items()
    }


def check(name: str, given: Iterable[str]) -> None:
    """Fail if a variable is one that the service does not know, or if one is missing that it needs."""
    known = fields(name)
    assert set(given) - set(known) <= OTHERS, "the service reads no such variable"
    needed = {variable for variable, required in known.items() if required} | NEEDED_BESIDE.get(name, set())
    assert needed <= set(given), "the service does not start without it"


def mounted(pod: Manifest) -> set[str]:
    """Return what stands in files of SECRETS_DIR: their names are those of variables."""
    secrets = [volume["secret"] for volume in pod["volumes"] if "secret" in volume]
    return {item["path"] for secret in secrets for item in secret["items"] if item["path"].isupper()}


@pytest.mark.parametrize("name", [name for name in SETTINGS if name != "simulator"])
def test_a_pod_is_given_what_its_service_knows_and_needs(name: str) -> None:
    migration = name.endswith("-migrate")
    kind, folder = ("Job", "migrate") if migration else ("Deployment", "base")
    pod = of_kind(written(folder), kind)[name]["spec"]["template"]["spec"]
    (container,) = containers(pod)
    maps = literals("base")
    given = {variable["name"] for variable in container["env"]} | mounted(pod)
    for values in container.get("envFrom", []):
        given |= set(maps[values["configMapRef"]["name"]])
    check(name, given)


@pytest.mark.parametrize("overlay", ["overlays/dev", "overlays/production"])
def test_an_overlay_changes_variables_that_there_are(overlay: str) -> None:
    readers = {
        "tallyrun": SERVICES,
        "tallyrun-providers": ("gateway", "runner", "analytics"),
        "tallyrun-files": ("gateway", "runner"),
        "tallyrun-gateway": ("gateway",),
        "tallyrun-cluster": ("vault", "analytics"),
    }
    for name, values in literals(overlay).items():
        for service in readers.get(name, ()):
            assert set(values) <= set(fields(service)) | OTHERS, (name, service)


def composed() -> Manifest:
    return dict(yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"])


@pytest.mark.parametrize("name", SETTINGS)
def test_a_container_is_given_what_its_service_knows_and_needs(name: str) -> None:
    service = composed()[name]
    files = {secret["target"] for secret in service.get("secrets", []) if isinstance(secret, dict)}
    check(name, set(service["environment"]) | {file for file in files if file.isupper()})


def test_the_image_sets_variables_that_there_are() -> None:
    recipe = (ROOT / "Dockerfile").read_text()
    set_there = set(re.findall(r"\b([A-Z_]+)=", recipe.partition("\nENV PATH=")[2].partition("\nEXPOSE")[0]))
    python = {"HOME", "PYTHONDONTWRITEBYTECODE"}
    assert set_there - python <= {variable for name in SETTINGS for variable in fields(name)}


def tabled(text: str, *columns: int) -> set[str]:
    """Return the variables in these columns of a page's tables."""
    cells = [row.split("|")[column] for row in text.splitlines() if row.startswith("| ") for column in columns]
    return {variable for cell in cells for variable in re.findall(r"`([A-Z][A-Z_]+)`", cell)}


def test_every_variable_is_on_its_page_and_no_other() -> None:
    environment = (ROOT / "docs" / "run-it.md").read_text().partition("## Environment")[2]
    limits = (ROOT / "docs" / "operate" / "limits.md").read_text()
    named = tabled(environment, 1) | tabled(limits, 1, 2)
    services = [name for name in SETTINGS if name != "simulator"]
    assert named - {"LEGACY_API_KEY_ENCRYPTION_KEY", *OTHERS} == {v for name in services for v in fields(name)}
