"""The clients against the contract: each test is run by the blocking one and by the one that is awaited."""

import asyncio
import inspect
import tracemalloc
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from libs.client.tests.double import Double

from tallyrun import AsyncClient, Client, Declined, InvalidRows, TallyrunError, Unreachable

ROWS = [{"prompt": f"prompt {number}", "model": "m"} for number in range(5)]
AWAY = (503, {"retry-after": "0"})

Do = Callable[..., Any]


@pytest.fixture(params=["blocking", "awaited"])
def do(request: pytest.FixtureRequest, double: Double) -> Iterator[Do]:
    """Return what calls a method by its name, and returns its result; of an iterator, what it yields."""
    if request.param == "blocking":
        with Client(double.url, double.token) as client:
            yield lambda method, /, *given, of=None, **named: _all(getattr(of or client, method)(*given, **named))
        return
    with asyncio.Runner() as runner:
        awaited = AsyncClient(double.url, double.token)
        yield lambda method, /, *given, of=None, **named: runner.run(
            _all_async(lambda: getattr(of or awaited, method)(*given, **named))
        )
        runner.run(awaited.close())


def _all(result: Any) -> Any:
    return list(result) if inspect.isgenerator(result) else result


async def _all_async(begin: Callable[[], Any]) -> Any:
    result = begin()
    if inspect.isasyncgen(result):
        return [item async for item in result]
    return await result


def test_a_batch_from_its_rows_to_its_results(do: Do, double: Double) -> None:
    double.fails = {"row-2": "rate_limited"}
    sent: list[tuple[int, int]] = []
    batch = do("submit", ROWS, name="nightly", max_cost=60, labels={"team": "a"}, sent=lambda *told: sent.append(told))
    assert sent[-1][0] == sent[-1][1] > 0
    (asked,) = double.batches.values()
    assert (asked["name"], asked["maxCost"], asked["labels"]["team"], batch.attached) == ("nightly", "60", "a", False)
    seen = do("watch", of=batch, every=0)
    assert [(status.done, status.failed) for status in seen] == [(2, 1), (4, 1), (5, 1)]
    assert (batch.state, batch.failed, batch.cost) == ("completed", 1, Decimal(1))
    results = do("results", of=batch)
    assert [(row.custom_id, row.ok, row.text, row.cost) for row in results[:2]] == [
        ("row-1", True, "é", Decimal("0.25")),
        ("row-2", False, "", Decimal("0.25")),
    ]
    assert [row.custom_id for row in do("results", of=batch, only="failed")] == ["row-2"]
    again = do("retry", of=batch, only="failed")
    assert (again.retry_of, again.rows) == (batch.id, 1)
    assert do("wait", of=again, every=0).succeeded == 1
    assert [known.id for known in do("list")] == [again.id, batch.id]
    assert do("cancel", batch.id).state == "cancelled"


def test_the_same_rows_attach_to_the_batch_that_exists(do: Do, double: Double) -> None:
    first = do("submit", ROWS, name="a")
    do("wait", of=first, every=0)
    double.fails = {"row-1": "any"}
    do("retry", of=first)
    again = do("submit", (dict(row) for row in ROWS), name="a", max_cost=5)
    assert (again.id, again.attached, len(double.files)) == (first.id, True, 1), "nothing was sent anew"
    other = [do("submit", ROWS, name="b"), do("submit", ROWS[:4], name="a"), do("submit", ROWS, name="a", model="n")]
    assert not any(batch.attached for batch in other)
    assert len({batch.id for batch in other}) == 3


def test_a_batch_that_failed_ran_nothing_and_is_submitted_anew(do: Do, double: Double) -> None:
    failed = do("submit", ROWS)
    double.batches[failed.id]["state"] = "failed"
    second = do("submit", ROWS)
    assert (second.attached, second.id == failed.id, len(double.batches)) == (False, False, 2)
    assert do("submit", ROWS).id == second.id


def test_two_at_once_make_one_batch(do: Do, double: Double) -> None:
    first = do("submit", ROWS)
    labels = double.batches[first.id]["labels"]

    def approve(_: object) -> bool:
        double.batches[first.id]["labels"] = labels
        return True

    double.batches[first.id]["labels"] = {}  # not there yet when the other looks
    second = do("submit", ROWS, approve=approve)
    assert (second.id, second.attached, len(double.batches), len(double.files)) == (first.id, True, 1, 1)


def test_a_quote_leaves_nothing_behind(do: Do, double: Double) -> None:
    quote = do("quote", ROWS)
    assert (quote.rows, quote.low, quote.high, double.files) == (5, Decimal("1.5"), Decimal("2.5"), {})
    shown: list[Any] = []
    with pytest.raises(Declined):
        do("submit", ROWS, approve=shown.append)
    assert (len(shown), double.files, double.batches) == (1, {}, {})


def test_bad_rows_are_told_before_anything_is_sent(do: Do, double: Double) -> None:
    with pytest.raises(InvalidRows):
        do("submit", [*ROWS, {"prompt": 5}])
    assert double.asked == []


def test_every_call_is_sent_again(do: Do, double: Double) -> None:
    double.faults = [AWAY, None, AWAY, (429, {"retry-after": "0"}), None, AWAY]
    batch = do("submit", ROWS)
    assert double.faults == []
    assert (len(double.batches), double.batches[batch.id]["rows"]) == (1, 5)
    double.faults = [AWAY, None]
    assert len(do("watch", of=batch, every=0)) == 3


def test_what_should_not_be_sent_again_is_not(do: Do, double: Double) -> None:
    double.faults = [(503, {"x-should-retry": "false"})]
    with pytest.raises(TallyrunError) as refused:
        do("get", "batch_1")
    assert (refused.value.status, refused.value.code, len(double.asked)) == (503, "unavailable", 1)


def test_results_that_are_cut_off_are_taken_up_again_each_row_once(do: Do, double: Double) -> None:
    batch = do("submit", ROWS)
    do("wait", of=batch, every=0)
    double.cut_after = [3, 0, 4]
    assert [row.custom_id for row in do("results", of=batch)] == [f"row-{number}" for number in range(1, 6)]
    assert double.calls("GET", ".*/results") == 4


async def test_results_are_followed_while_they_arrive(double: Double) -> None:
    double.cut_after = [1]
    async with AsyncClient(double.url, double.token) as client:
        batch = await client.submit(ROWS)
        seen: list[str] = []
        await batch.refresh()
        async for row in batch.results(follow=True):
            seen.append(row.custom_id)
            await batch.refresh()
    assert seen == [f"row-{number}" for number in range(1, 6)]


def test_errors_say_what_the_gateway_said(do: Do, double: Double) -> None:
    with pytest.raises(TallyrunError, match="no such thing") as missing:
        do("get", "../other")
    assert (missing.value.code, missing.value.status) == ("not_found", 404)
    assert double.asked[-1][1] == "/api/batches/..%2Fother"
    double.token = "another"
    with pytest.raises(TallyrunError, match="no such token") as refused:
        do("keys")
    assert refused.value.status == 401


def test_nobody_there() -> None:
    with Client("http://127.0.0.1:9", "token", patience=0) as client, pytest.raises(Unreachable):
        client.workspaces()


def test_memory_does_not_grow_with_the_file(tmp_path: Path, double: Double) -> None:
    with (tmp_path / "large.txt").open("w") as file:
        file.writelines(f"{number} {'x' * 20_000}\n" for number in range(1000))
    with Client(double.url, double.token) as client:
        double.faults = [AWAY, AWAY, (400, {})]
        tracemalloc.start()
        with pytest.raises(TallyrunError, match="away"):
            client.quote(tmp_path / "large.txt", model="m")
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    print(f"peak {peak / 1e6:.2f} MB while 20 MB were sent three times")
    assert peak < 2e6
