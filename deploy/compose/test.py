"""`make compose-test`: the whole-path tests against containers, in a project of its own that is removed afterwards."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "compose"
COMPOSE = [
    *("docker", "compose", "--project-name", "tallyrun-test"),
    *("--env-file", ".env", "--env-file", "deploy/compose/simulated.env"),
    *("-f", "docker-compose.yml", "-f", "deploy/compose/test.yml"),
]
GATEWAY, SIMULATOR = 18080, 18090
START_SECONDS = 180


def main(arguments: list[str]) -> int:
    """Bring the stack up, run the tests (or what `arguments` names), take it down with its volumes."""
    if subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0:
        print("NOT RUN: `docker compose` is not here")
        return 1
    subprocess.run([FOLDER / "secrets.sh", FOLDER / "secrets", ROOT / ".env"], check=True)
    environment = {**os.environ, "GATEWAY_PORT": str(GATEWAY), "SIMULATOR_PORT": str(SIMULATOR)}
    try:
        up = [*COMPOSE, "up", "--wait", "--wait-timeout", str(START_SECONDS)]
        if subprocess.run(up, cwd=ROOT, env=environment, check=False).returncode != 0:
            subprocess.run([*COMPOSE, "ps", "--all"], cwd=ROOT, env=environment, check=False)
            subprocess.run([*COMPOSE, "logs", "--tail", "20"], cwd=ROOT, env=environment, check=False)
            return 1
        return _tests(arguments or ["tests"])
    finally:
        subprocess.run([*COMPOSE, "down", "--volumes", "--timeout", "20"], cwd=ROOT, env=environment, check=False)


def _tests(named: list[str]) -> int:
    """Run them as they are for any stack; what looks inside is skipped, and says so."""
    where = {
        "TALLYRUN_URL": f"http://127.0.0.1:{GATEWAY}",
        "SIMULATOR_URL": f"http://127.0.0.1:{SIMULATOR}",
        "ADMIN_TOKEN_FILE": str(FOLDER / "secrets" / "admin-token"),
    }
    command = [sys.executable, "-m", "pytest", "-n", "0", "-q", "--stack=compose", *named]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **where}, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
