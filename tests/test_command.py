"""The command on the whole stack, as it is typed: from a login to results, through kills, to every exit code."""

import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.stack import Client, Simulator, Stack, until
from tests.test_recovery import kill

from common.engines.ports import free_port

MODEL = "openai/gpt-4o-mini"


class Command:
    """`tallyrun …`, piped, with a home of its own."""

    def __init__(self, home: Path, **environment: str) -> None:
        self._environment = {
            "PATH": os.environ["PATH"],
            "XDG_CONFIG_HOME": str(home),
            "PYTHON_KEYRING_BACKEND": "keyring.backends.fail.Keyring",
            **environment,
        }

    def __call__(self, *words: str, given: str = "") -> subprocess.CompletedProcess[str]:
        with self.begun(*words) as process:
            out, said = process.communicate(given, timeout=120)
        return subprocess.CompletedProcess(words, process.returncode, out, said)

    def begun(self, *words: str) -> subprocess.Popen[str]:
        """Return the command as it runs."""
        pipe = subprocess.PIPE
        typed = [sys.executable, "-m", "tallyrun", *words]
        return subprocess.Popen(typed, env=self._environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.fixture
def command(stranger: Client, tmp_path: Path) -> Command:
    """The command of somebody who has logged in."""
    typed = Command(tmp_path / "home")
    done = typed("login", "--url", stranger.url, "--token-stdin", given=f"{stranger.token}\n")
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert stranger.token not in done.stderr
    return typed


@pytest.fixture
def connected(command: Command) -> Command:
    """The same with a key."""
    key = f"key-{uuid.uuid4().hex}"
    done = command("connect", "openai", "--key-stdin", given=key)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
    assert key not in done.stderr
    return command


@pytest.fixture
def rows(tmp_path: Path, unique: str) -> Path:
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"prompt": f"{unique} {number}", "id": number}) + "\n" for number in range(200)))
    return path


def ids_in(out: Path) -> list[str]:
    return [json.loads(line)["customId"] for line in out.read_text().splitlines()]


def batch_of(command: Command) -> Any:
    (batch, *_) = json.loads(command("ls", "--json").stdout)
    return batch


def submitted(process: subprocess.Popen[str]) -> str:
    """Return the id of the batch, once the command says it."""
    assert process.stderr is not None
    for line in process.stderr:
        if "submitted" in line or "exists" in line:
            return line.split()[0]
    raise AssertionError(f"it ended with {process.wait()} before")


def test_from_a_key_to_its_prompts(connected: Command, simulator: Simulator, unique: str) -> None:
    (key,) = json.loads(connected("keys", "--json").stdout)
    assert (key["provider"], key["state"]) == ("openai", "active")
    for words in ([], ["--stream"]):
        simulator.forget()
        done = connected("prompt", f"{unique} {words}", "-m", "gpt-4o-mini", *words)
        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("Simulated answer")
        assert "$0.000" in done.stderr
        assert simulator.calls()["total"] == 1
    unheard = connected("prompt", unique, "-m", "openai/gpt-unheard-of")
    assert (unheard.returncode, "unpriced" in unheard.stderr) == (0, True), unheard.stderr
    assert MODEL in connected("models").stdout
    assert "openai/gpt-4o-mini\t0.15\t0.6" in connected("models", "--prices").stdout.splitlines()
    refused = connected("prompt", unique, "-m", "no-such-model")
    assert (refused.returncode, refused.stdout) == (5, "")
    assert connected("keys", "deactivate", key["id"], "--yes").returncode == 0
    assert connected("prompt", unique, "-m", MODEL).returncode == 3


def test_a_killed_run_is_taken_up_again_and_paid_once(
    connected: Command, simulator: Simulator, rows: Path, unique: str, tmp_path: Path, stranger: Client
) -> None:
    out = tmp_path / "out.jsonl"
    words = "run", str(rows), "-m", MODEL, "--name", "nightly", "--max-cost", "5", "--yes", "-o", str(out)
    simulator.when(unique, latency_ms=300)
    simulator.forget()
    quoted = connected("quote", str(rows), "-m", MODEL)
    assert quoted.stderr.startswith("200 rows · "), quoted.stderr
    with connected.begun(*words) as process:
        batch = submitted(process)
        part = tmp_path / f"out.jsonl.{batch}.part"
        until(lambda: part.exists() and part.stat().st_size > 0, "results arrive while it runs")
        process.kill()
    assert batch_of(connected)["state"] in ("in_progress", "finalizing", "completed")
    done = connected(*words)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"{batch} exists; attached, nothing resubmitted\n")
    assert Counter(ids_in(out)) == Counter(str(number) for number in range(200))
    assert (part.exists(), simulator.calls()["total"]) == (False, 200)
    told = batch_of(connected)
    assert done.stderr.splitlines()[-1].startswith("done: 200 ok · $0.0")
    stranger.counted()
    (share,) = json.loads(connected("cost", "--since", "7d", "--json").stdout)
    asked = "--since", "2026-01-01", "--by", "provider,label:submission", "--tz", "Asia/Kolkata"
    _, shared_out = connected("cost", *asked).stdout.splitlines()
    assert [shared_out.split("\t")[0], shared_out.split("\t")[2]] == ["openai", "200"]
    assert (share["runs"], Decimal(str(share["cost"]))) == (200, Decimal(str(told["cost"])))


def test_a_run_outlives_its_gateway(
    connected: Command, stack: Stack, simulator: Simulator, rows: Path, unique: str, tmp_path: Path
) -> None:
    simulator.when(unique, latency_ms=300)
    out = tmp_path / "out.jsonl"
    with connected.begun("run", str(rows), "-m", MODEL, "--yes", "-o", str(out)) as process:
        part = tmp_path / f"out.jsonl.{submitted(process)}.part"
        until(lambda: part.exists() and part.stat().st_size > 0, "results arrive while it runs")
        kill(stack, "gateway")
        _, said = process.communicate(timeout=110)
    assert process.returncode == 0, said
    assert "done: 200 ok" in said
    assert Counter(ids_in(out)) == Counter(str(number) for number in range(200))


def test_only_what_failed_is_run_again(
    connected: Command, simulator: Simulator, rows: Path, unique: str, tmp_path: Path
) -> None:
    simulator.when(f"{unique} 7", kind="bad_request", times=1)
    some = tmp_path / "some.jsonl"
    some.write_text("".join(f"{line}\n" for line in rows.read_text().splitlines()[5:10]))
    done = connected("run", str(some), "-m", MODEL, "--yes", "--label", "team=a")
    assert done.returncode == 3, done.stderr
    assert "done: 4 ok, 1 failed (1 provider_rejected)" in done.stderr
    batch = batch_of(connected)["id"]
    failed = json.loads(connected("results", batch, "--only", "failed", "--json", "--include-inputs").stdout)
    assert [(row["customId"], row["line"]) for row in failed] == [("7", 3)]
    retried = connected("retry", batch, "--failed", "--max-cost", "1", "--json")
    assert (retried.returncode, json.loads(retried.stdout)["retryOf"]) == (0, batch), retried.stderr
    assert connected("retry", batch, "--expired").returncode == 2, "nothing expired"


def test_a_cancelled_batch_ends(connected: Command, simulator: Simulator, rows: Path, unique: str) -> None:
    simulator.when(unique, latency_ms=1000)
    batch = connected("run", str(rows), "-m", MODEL, "--yes", "--detach").stdout.strip()
    assert json.loads(connected("status", batch, "--json").stdout)["id"] == batch
    assert connected("cancel", batch).returncode == 0
    watched = connected("watch", batch)
    assert watched.returncode == 8, watched.stderr
    assert "cancelled" in watched.stderr.splitlines()[-1]


def test_a_limit_that_is_reached_is_the_exit_code(connected: Command, rows: Path, simulator: Simulator) -> None:
    done = connected("run", str(rows), "-m", MODEL, "--yes", "--max-cost", "0.001")
    assert done.returncode == 6, done.stderr
    simulator.forget()
    over = connected("run", str(rows), "-m", "openai/gpt-4", "--yes", "--max-cost", "0.0001")
    assert (over.returncode, simulator.calls()["total"]) == (6, 0), over.stderr


def test_what_goes_wrong_has_its_code(command: Command, stranger: Client, tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a"}\n{"prompt": "b"}\n{"prompt"\n')
    home = tmp_path / "other"
    for typed, words, code, said in (
        (command, ["run", str(bad), "-m", MODEL, "--yes"], 2, "line 3: it is no JSON"),
        (command, ["run", str(bad), "-m", MODEL], 2, "pass --yes"),
        (command, ["run", str(tmp_path), "-m", MODEL, "--yes"], 2, "Is a directory"),
        (command, ["status", "batch_none"], 5, "no such batch"),
        (Command(home, TALLYRUN_URL=stranger.url), ["ls"], 4, "tallyrun login"),
        (Command(home, TALLYRUN_URL=stranger.url, TALLYRUN_TOKEN=uuid.uuid4().hex), ["ls"], 4, "TALLYRUN_TOKEN"),
        (Command(home, TALLYRUN_URL=f"http://127.0.0.1:{free_port()}", TALLYRUN_TOKEN="any"), ["ls"], 7, "not answer"),
    ):
        done = typed(*words)
        assert (done.returncode, done.stdout) == (code, ""), done
        assert said in done.stderr
