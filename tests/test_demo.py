"""`make demo`, as a user sees it."""

import os
import subprocess
import sys
from pathlib import Path

from common.engines.ports import free_port


def test_the_demo_runs_its_prompts_and_its_books_agree(tmp_path: Path) -> None:
    environment = {"TALLYRUN_HOME": str(tmp_path), "GATEWAY_PORT": str(free_port()), "SIMULATOR_LATENCY_MS": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "embedded", "demo", "--exit"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Simulated provider" in done.stdout
    assert "216 runs" in done.stdout
    assert "1,080 of 1,080 rows answered" in done.stdout
    assert "The books agree: 1296 runs" in done.stdout
    assert "unpriced" in done.stdout
    assert "in-house-finetune-7" in done.stdout
