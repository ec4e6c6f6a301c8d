"""The compose file's containers are as closed as the pods, start in the right order, and get secrets as files."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.tools import found

from common.identity import Signer, Verifier

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = ("gateway", "vault", "analytics", "runner")
MIGRATIONS = ("gateway-migrate", "vault-migrate", "analytics-migrate")
SECRETS = ROOT / "deploy" / "compose" / "secrets.sh"


@pytest.mark.parametrize("name", [*SERVICES, *MIGRATIONS, "simulator"])
def test_our_containers_may_write_nowhere_and_do_nothing(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp:size=64m,mode=1777"]
    assert service["user"].startswith("${TALLYRUN_USER:?")


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_no_container_has_a_capability(name: str) -> None:
    service = COMPOSE["services"][name]
    assert (service["cap_drop"], service["security_opt"]) == (["ALL"], ["no-new-privileges:true"])


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_starts_behind_its_migration_and_may_finish(name: str) -> None:
    service = COMPOSE["services"][name]
    if name != "runner":
        assert service["depends_on"][f"{name}-migrate"] == {"condition": "service_completed_successfully"}
        assert service["environment"]["MIGRATE_ON_START"] == "false"
    grace = int(service["stop_grace_period"].removesuffix("s"))
    assert grace >= (620 if name in ("gateway", "runner") else 20)


def test_only_gateway_runner_and_what_is_looked_at_reach_outside() -> None:
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    outside = {name for name, service in COMPOSE["services"].items() if "outside" in service["networks"]}
    assert outside == {"gateway", "runner", "grafana"}


def test_nothing_listens_beyond_this_machine_unless_asked_to() -> None:
    ports = [port for service in COMPOSE["services"].values() for port in service.get("ports", [])]
    assert len(ports) == 2
    assert all(re.match(r"127\.0\.0\.1:|\$\{GATEWAY_ADDRESS:-127\.0\.0\.1}:", port) for port in ports)


def test_no_environment_holds_a_secret() -> None:
    for name, service in COMPOSE["services"].items():
        for variable, value in service.get("environment", {}).items():
            secret = re.search(r"PASSWORD|TOKEN|KEY|DATABASE_URL|DSN", variable)
            assert not secret or str(value).startswith("/run/secrets/"), (name, variable)


def test_the_databases_are_made_as_in_the_cluster() -> None:
    """By two equal files: kustomize reads nothing that lies outside of its folder."""
    there = ROOT / "deploy" / "k8s" / "overlays" / "dev" / "databases.sh"
    assert (ROOT / "deploy" / "compose" / "databases.sh").read_bytes() == there.read_bytes()


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    subprocess.run([SECRETS, tmp_path / "secrets", tmp_path / "env"], check=True, capture_output=True)
    return tmp_path / "secrets"


def test_make_secrets_makes_every_file_that_is_mounted_for_its_owner_alone(secrets: Path) -> None:
    mounted = {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    made = {path.name: path.stat().st_mode & 0o777 for path in secrets.iterdir()}
    assert mounted <= set(made)
    assert set(made.values()) == {0o600}
    assert re.fullmatch(r"TALLYRUN_USER=[1-9]\d*:\d+\n", (secrets.parent / "env").read_text())


def test_what_exists_is_kept(secrets: Path) -> None:
    before = {path.name: path.read_bytes() for path in secrets.iterdir()}
    (secrets / "admin-token").unlink()
    subprocess.run([SECRETS, secrets, secrets.parent / "env"], check=True, capture_output=True)
    after = {path.name: path.read_bytes() for path in secrets.iterdir()}
    assert {name for name in before if before[name] != after[name]} == {"admin-token"}


def test_its_keys_are_those_of_our_services(secrets: Path) -> None:
    for service in ("gateway", "runner", "vault"):
        token = Signer.load(service, secrets).service_token("vault")
        assert Verifier.load(secrets).service(token, "vault") == service


def test_the_folder_is_ignored_by_git_and_by_the_builder() -> None:
    ignored = (ROOT / ".gitignore").read_text().split()
    assert {"deploy/compose/secrets/", ".env"} <= set(ignored)
    assert "secrets" not in (ROOT / ".dockerignore").read_text()


@pytest.mark.parametrize("more", [[], ["-f", "deploy/compose/test.yml"]], ids=["alone", "tests"])
def test_docker_compose_accepts_it(more: list[str]) -> None:
    docker = found("docker")
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode != 0:
        reason = "NOT RUN: `docker compose` is not here"
        print(reason)
        pytest.skip(reason)
    command = [docker, "compose", "-f", "docker-compose.yml", *more, "--profile", "*", "config", "--quiet"]
    environment = {**os.environ, "TALLYRUN_USER": "1:1"}
    checked = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
