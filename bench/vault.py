"""The vault: sealing and opening a secret in its process, a lease over HTTP, and what HTTP itself takes there."""

import asyncio
import os
import statistics
import time
from collections.abc import Awaitable, Callable
from uuid import uuid4

import aiohttp
from bench.bed import Bed, bed
from bench.load import load
from bench.report import Row
from pydantic import SecretStr

from common.identity import Signer
from vault.envelope import Context
from vault.keyring import KekRecord, Keyring, new_record
from vault.master_key import MasterKey

TIMES = 2_000
ROUNDS = 5
SECONDS = 3
HTTP_ROUNDS = 3


def measure() -> list[Row]:
    """Return rows: microseconds to seal and to open, and milliseconds of a lease beside an empty answer."""
    in_process = asyncio.run(_in_process())
    with bed() as tested:
        return [*in_process, *asyncio.run(_over_http(tested))]


class _Records:
    """A keyring of one version."""

    def __init__(self, record: KekRecord) -> None:
        self._record = record

    async def keks(self) -> list[KekRecord]:
        return [self._record]


async def _in_process() -> list[Row]:
    master, secret = MasterKey(os.urandom(32)), SecretStr(f"key-{uuid4().hex}")
    keyring = Keyring(_Records(await new_record(1, "primary", master)), [master])
    context = Context(uuid4(), "openai", uuid4(), 1)
    envelope = await keyring.seal(1, context, secret)
    return [
        Row("seal: µs", await _microseconds(lambda: keyring.seal(1, context, secret)), None, "", "< 200"),
        Row("open: µs", await _microseconds(lambda: keyring.open(context, envelope)), None, "", "< 200"),
        Row("rewrap: µs", await _microseconds(lambda: keyring.rewrap(1, context, envelope)), None, "", ""),
    ]


async def _microseconds(call: Callable[[], Awaitable[object]]) -> float:
    """Return what a call takes, the median over rounds of the mean in each."""
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(TIMES):
            await call()
        rounds.append((time.perf_counter() - began) / TIMES * 1e6)
    return statistics.median(rounds)


async def _over_http(tested: Bed) -> list[Row]:
    port = int(tested.process("vault").environ()["VAULT_PORT"])
    grant = tested.workspace().grant.decode()
    token = Signer.load("runner", tested.stack.home / "identity" / "runner").service_token("vault")
    asked = {"grant": grant, "provider": "openai", "operation": "chat"}
    headers = {"authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:

        async def lease() -> None:
            async with session.post("/leases", json=asked) as answer:
                assert answer.status == 200, await answer.text()
                await answer.read()

        async def live() -> None:
            async with session.get("/health/live") as answer:
                assert answer.status == 200
                await answer.read()

        await load(lease, callers=1, seconds=1)
        process = tested.process("vault")
        pairs = [
            (
                await load(lease, callers=1, seconds=SECONDS, process=process),
                await load(live, callers=1, seconds=SECONDS, process=process),
            )
            for _ in range(HTTP_ROUNDS)
        ]
        many = await load(lease, callers=16, seconds=SECONDS, process=process)
    (p50, live_p50), (cpu, live_cpu) = (
        [statistics.median(getattr(pair[side], figure) for pair in pairs) for side in (0, 1)]
        for figure in ("p50", "cpu_ms")
    )
    return [
        Row("lease over HTTP, 1 caller: p50 ms", p50, live_p50, "an empty answer of the same service", "≤ 3"),
        Row("lease: CPU ms of the vault", cpu, live_cpu, "an empty answer of the same service", ""),
        Row("leases/s, 16 callers", many.per_second, None, "", ""),
    ]
