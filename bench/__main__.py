"""`make bench`: the stack on a temporary folder, each figure beside its comparison, and the results kept."""

import asyncio
import tempfile
from pathlib import Path

import psutil
from bench import accept, sync
from bench.report import RESULTS, Row, page
from tests.stack import Simulator, Stack, request

from common.engines.ports import free_port


def main() -> None:
    """Measure and report."""
    with tempfile.TemporaryDirectory(prefix="tallyrun-bench-") as folder:
        simulator = Simulator(free_port())
        urls = {"OPENAI_BASE_URL": f"{simulator.url}/v1", "ANTHROPIC_BASE_URL": simulator.url}
        stack = Stack(Path(folder) / "home", free_port(), urls)
        try:
            stack.start()
            rows = asyncio.run(_measure(stack, simulator))
        finally:
            stack.stop()
            simulator.stop()
    RESULTS.write_text(page(rows))
    print(RESULTS.read_text())


async def _measure(stack: Stack, simulator: Simulator) -> list[Row]:
    token = (stack.home / "admin-token").read_text().strip()
    connect = {"provider": "openai", "apiKey": "works"}
    answer = request("POST", f"{stack.url}/api/integrations/connect", connect, {"authorization": f"Bearer {token}"})
    assert answer.status == 200, answer
    bootstrap = psutil.Process(stack.pid("gateway")).environ()["KAFKA_BOOTSTRAP_SERVERS"]
    return [*await sync.measure(stack, simulator, token), *await accept.measure(stack, bootstrap, token)]


if __name__ == "__main__":
    main()
