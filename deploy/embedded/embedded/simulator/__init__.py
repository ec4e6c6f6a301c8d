"""A simulated model provider: speaks both wire formats, fails on request, and counts every call it received."""

from embedded.simulator.server import Running, running

__all__ = ["Running", "running"]
