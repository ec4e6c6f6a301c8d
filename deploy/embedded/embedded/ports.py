"""The ports of one stack: the gateway's is the user's choice, the others are free ones."""

import socket
from dataclasses import dataclass
from typing import Self

import psutil

from common.engines.ports import LOOPBACK, free_port

GATEWAY = 8080
INNER = (8081, 8082, 8083, 9092, 9093, 8090)
"""Vault, analytics, runner, Kafka, its controller, the simulator: as in the containers.

They belong to the stack whose gateway has its usual port: of two that start at once both would find them free.
"""


class PortError(Exception):
    """The gateway's port is none, or taken; the message names it, by whom if that can be told, and what to do."""


@dataclass(frozen=True)
class Ports:
    """Loopback ports."""

    gateway: int
    vault: int
    analytics: int
    runner: int
    kafka: int
    kafka_controller: int
    simulator: int

    @classmethod
    def choose(cls, gateway: int) -> Self:
        """Return the gateway's and free ones, the usual ones if they are; or raise `PortError` if that one is taken."""
        if not _free(gateway):
            raise PortError(
                f"port {gateway} is in use{_by_whom(gateway)}: choose another one for the gateway, "
                f"for example GATEWAY_PORT={free_port()} make run"
            )
        inner = [port if gateway == GATEWAY and _free(port) else free_port() for port in INNER]
        return cls(gateway, *inner)


def _free(port: int) -> bool:
    """Whether a server could listen there now; what is left of closed connections does not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def _by_whom(port: int) -> str:
    """Name the process that listens on the port, where the operating system tells."""
    try:
        connections = psutil.net_connections("tcp")
        listener = next(
            c.pid for c in connections if c.status == psutil.CONN_LISTEN and c.pid and c.laddr[1:] == (port,)
        )
        return f" by {psutil.Process(listener).name()} (process {listener})"
    except (psutil.Error, StopIteration):
        return ""
