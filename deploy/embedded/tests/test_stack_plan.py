"""What the stack consists of."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from common.engines.ports import free_port
from embedded.__main__ import main
from embedded.home import Home
from embedded.ports import INNER, PortError, Ports
from embedded.process import Service
from embedded.stack import services

PORTS = Ports(18080, 18081, 18082, 18083, 19092, 19093, 18090)
OPERATOR = {
    "PATH": "/usr/bin",
    "LOG_LEVEL": "DEBUG",
    "OPENAI_BASE_URL": "https://proxy.example/v1",
    "DATABASE_URL": "postgresql://somewhere/else",
}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def planned(home: Home, *, simulated: bool = False, **operator: str) -> dict[str, Service]:
    plan = services(home, PORTS, {**OPERATOR, **operator}, simulated=simulated)
    return {service.name: service for service in plan}


def environment(service: Service) -> dict[str, str]:
    return service.prepare().environment


def test_a_whole_stop_stays_within_fifteen_seconds(home: Home) -> None:
    plan = planned(home, simulated=True).values()
    in_turn = sum(service.stop_seconds for service in plan if service.needs)
    together = max(service.stop_seconds for service in plan if not service.needs)
    assert in_turn + together < 15


def test_services_stop_before_what_they_need(home: Home) -> None:
    names = list(planned(home, simulated=True))
    assert names[-4:] == ["vault", "analytics", "runner", "gateway"]
    for service in planned(home, simulated=True).values():
        assert all(names.index(need) < names.index(service.name) for need in service.needs)


@pytest.mark.parametrize("name", ["vault", "analytics", "runner", "gateway"])
def test_a_service_is_run_as_in_its_container(home: Home, name: str) -> None:
    service = planned(home)[name]
    assert service.prepare().arguments[1:] == ["-m", name]
    given = environment(service)
    assert given["LOG_LEVEL"] == "DEBUG"
    assert given["OPENAI_BASE_URL"] == "https://proxy.example/v1"
    assert given["KAFKA_BOOTSTRAP_SERVERS"] == "127.0.0.1:19092"
    assert given["IDENTITY_DIR"] == str(home.identity(name))


def test_secrets_reach_only_the_service_they_belong_to(home: Home) -> None:
    plan = planned(home, API_KEY_ENCRYPTION_KEY="a passphrase of the operator")
    having = {
        variable: {name for name in ("vault", "analytics", "runner", "gateway") if variable in environment(plan[name])}
        for variable in ("API_KEY_ENCRYPTION_KEY", "DATABASE_URL", "ADMIN_TOKEN_FILE")
    }
    assert having == {
        "API_KEY_ENCRYPTION_KEY": {"vault"},
        "DATABASE_URL": {"vault", "gateway"},
        "ADMIN_TOKEN_FILE": {"gateway"},
    }
    assert environment(plan["vault"])["DATABASE_URL"] != environment(plan["gateway"])["DATABASE_URL"]
    assert "somewhere" not in environment(plan["vault"])["DATABASE_URL"]


def test_the_vault_gets_one_master_key(home: Home) -> None:
    own = environment(planned(home, API_KEY_ENCRYPTION_KEY="a passphrase of the operator")["vault"])
    assert "API_KEY_ENCRYPTION_KEY_FILE" not in own
    kept = environment(planned(home)["vault"])
    assert kept["API_KEY_ENCRYPTION_KEY_FILE"] == str(home.master_key)


def test_the_vault_alone_gets_what_opens_its_keyring(home: Home) -> None:
    plan = planned(home, API_KEY_ENCRYPTION_KEY_PREVIOUS_FILE="/old", TRANSIT_URL="https://transit.example")
    vault, gateway = environment(plan["vault"]), environment(plan["gateway"])
    assert vault["API_KEY_ENCRYPTION_KEY_FILE"] == str(home.master_key)
    assert vault["API_KEY_ENCRYPTION_KEY_PREVIOUS_FILE"] == "/old"
    assert vault["TRANSIT_URL"] == "https://transit.example"
    assert not {"API_KEY_ENCRYPTION_KEY_PREVIOUS_FILE", "TRANSIT_URL"} & gateway.keys()


def test_only_the_demo_talks_to_the_simulator(home: Home) -> None:
    assert "simulator" not in planned(home)
    given = environment(planned(home, simulated=True)["runner"])
    assert given["OPENAI_BASE_URL"] == "http://127.0.0.1:18090/v1"
    assert given["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:18090"


def test_a_gateway_port_in_use_is_an_error_that_names_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortError, match=f"port {port} is in use .*GATEWAY_PORT="):
            Ports.choose(port)


def test_inner_ports_that_are_in_use_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        usual = free_port()
        monkeypatch.setattr("embedded.ports.GATEWAY", usual)
        monkeypatch.setattr("embedded.ports.INNER", (taken.getsockname()[1],) * 6)
        ports = Ports.choose(usual)
    assert ports.gateway == usual
    assert len({ports.gateway, ports.vault, ports.analytics, ports.runner, ports.kafka, ports.simulator}) == 6


def test_a_stack_with_a_gateway_port_of_its_own_leaves_the_usual_ones_to_the_other() -> None:
    port = free_port()
    ports = Ports.choose(port)
    assert ports.gateway == port
    assert not {ports.vault, ports.analytics, ports.runner, ports.kafka, ports.simulator} & {*INNER}


def test_a_first_start_without_a_network_says_so(tmp_path: Path) -> None:
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
    environment = {**os.environ, **nowhere, "HOME": str(tmp_path), "TALLYRUN_HOME": str(tmp_path / "home")}
    run = [sys.executable, "-m", "embedded", "run"]
    done = subprocess.run(run, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "the first start needs a network" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("value", ["eighty", "0", "70000", "-1", ""])
def test_a_gateway_port_that_is_none_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], value: str
) -> None:
    monkeypatch.setenv("GATEWAY_PORT", value)
    assert main(["run"]) == 1
    assert f"GATEWAY_PORT is '{value}'" in capsys.readouterr().err


@pytest.mark.parametrize("simulated", [True, False])
def test_the_gateway_knows_whether_the_provider_is_played(home: Home, simulated: bool) -> None:
    assert environment(planned(home, simulated=simulated)["gateway"])["SIMULATED"] == str(simulated).lower()
