"""When a call is sent again, and when not."""

import pytest

from tallyrun.errors import TallyrunError, Unreachable
from tallyrun.retries import Retries


def refused(status: int, **more: object) -> TallyrunError:
    return TallyrunError("away", code="unavailable", status=status, **more)  # type: ignore[arg-type]


def test_the_wait_grows_and_begins_anew_after_a_success() -> None:
    told: list[float] = []
    retries = Retries(100, lambda _, seconds: told.append(seconds))
    waits = [retries.wait(Unreachable("gone")) for _ in range(7)]
    assert told == waits
    for wait, longest in zip(waits, (0.25, 0.5, 1, 2, 4, 5, 5), strict=True):
        assert longest * 0.75 <= wait <= longest
    retries.succeeded()
    assert retries.wait(Unreachable("gone")) <= 0.25


def test_retry_after_is_honoured() -> None:
    assert Retries(30, lambda *_: None).wait(refused(429, retry_after=12)) == 12
    assert Retries(30, lambda *_: None).wait(refused(503, retry_after=0)) == 0


@pytest.mark.parametrize(
    "error",
    [refused(400), refused(401), refused(404), refused(500), refused(503, again=False), refused(429, retry_after=31)],
    ids=["400", "401", "404", "500", "x-should-retry: false", "longer than the patience"],
)
def test_what_does_not_pass_is_raised_at_once(error: TallyrunError) -> None:
    with pytest.raises(TallyrunError) as raised:
        Retries(30, lambda *_: None).wait(error)
    assert raised.value is error


def test_patience_ends() -> None:
    retries = Retries(0.1, lambda *_: None)
    with pytest.raises(Unreachable):
        retries.wait(Unreachable("gone"))
