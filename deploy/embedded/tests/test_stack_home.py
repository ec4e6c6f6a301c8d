"""The stack's folder: secrets, identities, the lock, leftovers."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from common.identity import Signer, Verifier
from embedded.home import IDENTITIES, AlreadyRunningError, Home
from embedded.leftovers import end_leftovers, record_process

SLEEPER = [sys.executable, "-c", "import time; time.sleep(600)"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    prepared = Home(tmp_path / "home")
    prepared.prepare()
    return prepared


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_secrets_are_random_and_readable_for_their_owner_alone(home: Home, tmp_path: Path) -> None:
    other = Home(tmp_path / "other")
    other.prepare()
    assert len(home.master_key.read_bytes()) == 32
    assert home.master_key.read_bytes() != other.master_key.read_bytes()
    assert home.admin_token.read_text() != other.admin_token.read_text()
    assert len(home.admin_token.read_text()) >= 32
    assert {mode(home.admin_token), mode(home.master_key)} == {0o600}


def test_preparing_again_changes_nothing(home: Home) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in home.path.rglob("*") if path.is_file()}

    before = content()
    home.prepare()
    assert content() == before


def test_each_service_gets_its_own_private_key_and_every_public_one(home: Home) -> None:
    for service in IDENTITIES:
        folder = home.identity(service)
        assert sorted(path.name for path in folder.glob("*.key")) == [f"{service}.key"]
        assert sorted(path.stem for path in folder.glob("*.pub")) == sorted(IDENTITIES)
        assert mode(folder / f"{service}.key") == 0o600


def test_every_service_recognises_every_other(home: Home) -> None:
    for speaker in IDENTITIES:
        token = Signer.load(speaker, home.identity(speaker)).service_token("vault")
        for listener in IDENTITIES:
            assert Verifier.load(home.identity(listener)).service(token, "vault") == speaker


def test_an_interrupted_preparation_is_finished_by_the_next(home: Home) -> None:
    (home.identity("runner") / "runner.key").unlink()  # its public key was told already
    home.prepare()
    token = Signer.load("runner", home.identity("runner")).service_token("vault")
    assert Verifier.load(home.identity("vault")).service(token, "vault") == "runner"


def test_a_second_lock_names_the_holder(home: Home) -> None:
    with home.lock("http://127.0.0.1:8080"), pytest.raises(AlreadyRunningError) as refused, home.lock("unused"):
        pass
    assert str(os.getpid()) in str(refused.value)
    assert "http://127.0.0.1:8080" in str(refused.value)


def test_the_lock_can_be_taken_again(home: Home) -> None:
    for _ in range(2):
        with home.lock("http://127.0.0.1:8080"):
            pass


HOLDER = """
import pathlib, time
from embedded.home import Home
with Home(pathlib.Path({path!r})).lock("http://127.0.0.1:8080"):
    print("locked", flush=True)
    time.sleep(600)
"""


def test_a_killed_holder_leaves_no_lock(home: Home) -> None:
    code = HOLDER.format(path=str(home.path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        with pytest.raises(AlreadyRunningError, match=str(holder.pid)), home.lock("unused"):
            pass
        holder.kill()
    with home.lock("http://127.0.0.1:8080"):
        pass


def test_leftovers_are_ended_once(tmp_path: Path) -> None:
    record = tmp_path / "processes"
    with subprocess.Popen(SLEEPER) as left:
        record_process(record, "vault", left.pid)
        assert end_leftovers(record) == 1
        assert left.wait(timeout=5) == -signal.SIGTERM
    assert end_leftovers(record) == 0


def test_a_stranger_that_got_the_same_process_id_is_left_alone(tmp_path: Path) -> None:
    record = tmp_path / "processes"
    with subprocess.Popen(SLEEPER) as stranger:
        started = psutil.Process(stranger.pid).create_time()
        record.write_text(f'{{"pid": {stranger.pid}, "started": {started - 60}}}\n')
        assert end_leftovers(record) == 0
        assert stranger.poll() is None
        stranger.kill()


def test_a_record_cut_short_does_not_stop_the_next_start(tmp_path: Path) -> None:
    record = tmp_path / "processes"
    with subprocess.Popen(SLEEPER) as left:
        record_process(record, "vault", left.pid)
        with record.open("a") as file:
            file.write('{"pid": 12')
        assert end_leftovers(record) == 1
