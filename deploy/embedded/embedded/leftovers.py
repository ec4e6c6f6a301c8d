"""What a stack that was killed left running: recorded at each start of a process, ended before the next."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

GRACE_SECONDS = 3
POLL_SECONDS = 0.02
CLOCK_TOLERANCE_SECONDS = 2
"""A process's start time is computed from the boot time, which follows corrections of the clock."""


def record_process(record: Path, name: str, pid: int) -> None:
    """Note a process just started, with its start time: process ids are used again."""
    with record.open("a") as file:
        file.write(json.dumps({"name": name, "pid": pid, "started": psutil.Process(pid).create_time()}) + "\n")


def end_leftovers(record: Path) -> int:
    """End the recorded processes that still run; return how many there were. Hold the lock.

    The youngest first: services leave their consumer groups properly while the broker is still there.
    """
    found = list(_still_running(record))
    for process in reversed(found):
        process.terminate()
        if not _ends_within(process, GRACE_SECONDS):
            process.kill()
            _ends_within(process, GRACE_SECONDS)
    record.write_text("")
    return len(found)


def _ends_within(process: psutil.Process, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not (ended := _ended(process)) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    return ended


def _ended(process: psutil.Process) -> bool:
    """Whether the process is no more, or a zombie: an orphan's new parent may take its time to bury it."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def _still_running(record: Path) -> Iterator[psutil.Process]:
    for line in record.read_text().splitlines() if record.exists() else ():
        try:
            noted = json.loads(line)
            process = psutil.Process(noted["pid"])
            same = abs(process.create_time() - noted["started"]) < CLOCK_TOLERANCE_SECONDS
            if same and not _ended(process):
                yield process
        except (psutil.NoSuchProcess, ValueError):  # ended, or the line was cut short
            continue
