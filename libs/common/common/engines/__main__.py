"""`python -m common.engines`: from then on Kafka starts in half the time and CPU. It takes ten seconds, once."""

import asyncio
import subprocess
import tempfile
import time
from pathlib import Path

from common.engines.kafka import LOADED, kafka_command
from common.engines.ports import free_port, listening
from common.kafka import declare_topics


def main() -> None:
    """Watch a broker at work, and keep the classes that it loaded and linked (JEP 514)."""
    if LOADED.exists():
        return
    print("Loading Kafka's classes ahead of time, once …", flush=True)  # noqa: T201 - a command says what it does
    with tempfile.TemporaryDirectory(dir=LOADED.parent) as folder:
        kept = Path(folder) / LOADED.name
        _watch(Path(folder), kept)
        kept.rename(LOADED)


def _watch(home: Path, kept: Path) -> None:
    java, *rest = kafka_command(home, port := free_port(), free_port())
    command = [java, f"-XX:AOTCacheOutput={kept}", *rest]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as broker:  # noqa: S603 - ours
        while broker.poll() is None and not listening(port):
            time.sleep(0.1)
        asyncio.run(declare_topics(f"127.0.0.1:{port}", replication=1))
        broker.terminate()


main()
