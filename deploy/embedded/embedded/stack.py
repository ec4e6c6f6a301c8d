"""What the stack consists of: which process, after which, with which environment. Docker Compose without Docker."""

import signal
import sys
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

import aiohttp
import asyncpg

from common.engines.kafka import kafka_command
from common.engines.ports import LOOPBACK, listening
from common.engines.postgres import Postgres, postgres_at
from embedded.home import Home
from embedded.ports import Ports
from embedded.process import Command, Service

DATABASES = ("gateway", "vault")
CLICKHOUSE_DATABASE = "tallyrun"
PROBE_SECONDS = 2
DRAIN_SECONDS = 2
"""For the requests and calls that run when the stack stops."""

ENGINE_STOP_SECONDS = 4.5
"""With the services' times, which stop one after the other, the stack stays within 15 s."""

MASTER_KEY = ("API_KEY_ENCRYPTION_KEY", "API_KEY_ENCRYPTION_KEY_FILE")
KEYRING = (
    *MASTER_KEY,
    *(f"API_KEY_ENCRYPTION_KEY_PREVIOUS{form}" for form in ("", "_FILE")),
    *(f"TRANSIT_{part}" for part in ("URL", "MOUNT", "KEY", "TOKEN_FILE")),
)
"""What opens the vault's keyring."""

SECRETS = (*KEYRING, "ADMIN_TOKEN_FILE", "DATABASE_URL")
"""Variables that belong to one service each, and are not passed on to the others."""

LIFELIKE = {"SIMULATOR_LATENCY_MS": "150", "SIMULATOR_JITTER_MS": "250"}
"""The simulated provider takes a moment, unless the operator says otherwise."""

Environment = Mapping[str, str]


def services(home: Home, ports: Ports, environment: Environment, *, simulated: bool) -> list[Service]:
    """Return the stack's processes; stopped from the last to the first. `environment` is the operator's own."""
    postgres = postgres_at(home.path / "postgres")
    shared = {name: value for name, value in environment.items() if name not in SECRETS}
    common = {**shared, **_addresses(ports), **(_simulated_providers(ports) if simulated else {})}
    return [
        _kafka(home, ports, shared),
        _postgres(postgres, shared),
        *([_simulator(ports, shared)] if simulated else []),
        _vault(home, ports, postgres, common, environment),
        _analytics(home, ports, common),
        _runner(home, ports, common),
        _gateway(home, ports, postgres, {**common, "SIMULATED": str(simulated).lower()}),
    ]


def _addresses(ports: Ports) -> dict[str, str]:
    return {
        "HOST": LOOPBACK,
        "GATEWAY_PORT": str(ports.gateway),
        "VAULT_PORT": str(ports.vault),
        "ANALYTICS_PORT": str(ports.analytics),
        "RUNNER_PORT": str(ports.runner),
        "VAULT_URL": f"http://{LOOPBACK}:{ports.vault}",
        "ANALYTICS_URL": f"http://{LOOPBACK}:{ports.analytics}",
        "KAFKA_BOOTSTRAP_SERVERS": f"{LOOPBACK}:{ports.kafka}",
        "KAFKA_REPLICATION": "1",
        "DRAIN_SECONDS": str(DRAIN_SECONDS),
    }


def _simulated_providers(ports: Ports) -> dict[str, str]:
    simulator = f"http://{LOOPBACK}:{ports.simulator}"
    return {"OPENAI_BASE_URL": f"{simulator}/v1", "ANTHROPIC_BASE_URL": simulator}


def _kafka(home: Home, ports: Ports, environment: Environment) -> Service:
    def prepare() -> Command:
        arguments = kafka_command(home.path / "kafka", ports.kafka, ports.kafka_controller)
        return Command(arguments, dict(environment))

    async def ready() -> bool:
        return listening(ports.kafka)

    return Service("kafka", prepare, ready, stop_seconds=ENGINE_STOP_SECONDS)


def _postgres(postgres: Postgres, environment: Environment) -> Service:
    def prepare() -> Command:
        arguments, user = postgres.command()
        return Command(arguments, dict(environment), user)

    # SIGINT: stop without waiting for clients; by then there is none.
    return Service(
        "postgres",
        prepare,
        partial(_databases_exist, postgres),
        stop_seconds=ENGINE_STOP_SECONDS,
        stop_signal=signal.SIGINT,
    )


def _simulator(ports: Ports, environment: Environment) -> Service:
    command = Command(
        [sys.executable, "-m", "embedded.simulator"],
        {**LIFELIKE, **environment, "SIMULATOR_HOST": LOOPBACK, "SIMULATOR_PORT": str(ports.simulator)},
    )
    return Service("simulator", lambda: command, _answers(ports.simulator, "/control"))


def _vault(home: Home, ports: Ports, postgres: Postgres, common: Environment, operator: Environment) -> Service:
    return _service(
        "vault",
        ports.vault,
        {
            **common,
            **_keyring(home, operator),
            "IDENTITY_DIR": str(home.identity("vault")),
            "DATABASE_URL": postgres.url("vault"),
        },
        needs=("kafka", "postgres"),
        stop_seconds=1,
    )


def _keyring(home: Home, operator: Environment) -> dict[str, str]:
    """Return what the operator set to open the keyring; the stack's own master key if no other is set."""
    own = {name: operator[name] for name in KEYRING if name in operator}
    return own if own.keys() & set(MASTER_KEY) else {**own, "API_KEY_ENCRYPTION_KEY_FILE": str(home.master_key)}


def _analytics(home: Home, ports: Ports, common: Environment) -> Service:
    return _service(
        "analytics",
        ports.analytics,
        {
            **common,
            "IDENTITY_DIR": str(home.identity("analytics")),
            "CLICKHOUSE_DSN": f"chdb://{home.path / 'clickhouse'}",
            "CLICKHOUSE_DATABASE": CLICKHOUSE_DATABASE,
        },
        needs=("kafka",),
        stop_seconds=2,
    )


def _runner(home: Home, ports: Ports, common: Environment) -> Service:
    return _service(
        "runner",
        ports.runner,
        {**common, "IDENTITY_DIR": str(home.identity("runner")), "FILES_URL": str(home.path / "files")},
        needs=("kafka", "vault"),
        stop_seconds=3.5,
    )


def _gateway(home: Home, ports: Ports, postgres: Postgres, common: Environment) -> Service:
    return _service(
        "gateway",
        ports.gateway,
        {
            **common,
            "IDENTITY_DIR": str(home.identity("gateway")),
            "DATABASE_URL": postgres.url("gateway"),
            "ADMIN_TOKEN_FILE": str(home.admin_token),
            "FILES_URL": str(home.path / "files"),
        },
        needs=("kafka", "postgres", "vault", "analytics"),
        stop_seconds=3.5,
    )


def _service(
    name: str, port: int, environment: dict[str, str], *, needs: tuple[str, ...], stop_seconds: float
) -> Service:
    """Return one of our four services: the entry point and the variables of its container."""
    command = Command([sys.executable, "-m", name], environment)
    return Service(name, lambda: command, _answers(port, "/health/ready"), needs, stop_seconds=stop_seconds)


def _answers(port: int, path: str) -> Callable[[], Awaitable[bool]]:
    async def ready() -> bool:
        timeout = aiohttp.ClientTimeout(total=PROBE_SECONDS)
        try:
            async with aiohttp.request("GET", f"http://{LOOPBACK}:{port}{path}", timeout=timeout) as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    return ready


async def _databases_exist(postgres: Postgres) -> bool:
    """Create the databases as soon as the server lets us in."""
    try:
        for name in DATABASES:
            await postgres.create_database(name)
    except (OSError, asyncpg.PostgresError):
        return False
    return True
