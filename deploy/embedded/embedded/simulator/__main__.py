"""`python -m embedded.simulator`: serve until Ctrl-C or SIGTERM."""

import asyncio
import signal

from embedded.simulator.behaviour import Behaviour, transient
from embedded.simulator.server import running
from embedded.simulator.settings import SimulatorSettings


async def main(settings: SimulatorSettings) -> None:
    """Serve as the environment says, and say where."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    behaviour = Behaviour(
        latency_ms=settings.latency_ms,
        jitter_ms=settings.jitter_ms,
        failure=transient(settings.failure_rate),
        seed=settings.seed,
    )
    async with running(behaviour, settings.port, settings.host) as simulator:
        simulator.simulator.batches.pace.seconds = settings.batch_seconds
        print(f"simulated provider: OPENAI_BASE_URL={simulator.openai_base_url}", flush=True)
        print(f"                    ANTHROPIC_BASE_URL={simulator.anthropic_base_url}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(main(SimulatorSettings()))
