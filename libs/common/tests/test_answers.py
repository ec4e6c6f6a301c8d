"""What answers look like on the wire."""

import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal

import pytest

from common.contracts.answers_v1 import Answer, Money


class Figures(Answer):
    total_cost: Money
    asked_at: datetime | None = None


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("0", b"0"),
        ("100", b"100"),
        ("0E-18", b"0"),
        ("1E+3", b"1000"),
        ("0.000000000000000001", b"0.000000000000000001"),
        ("1234567890.123456789012345678", b"1234567890.123456789012345678"),
        ("0.10", b"0.1"),
        ("-2.50", b"-2.5"),
    ],
)
def test_money_is_a_number_with_every_digit(value: str, written: bytes) -> None:
    encoded = Figures(total_cost=Decimal(value)).encode()
    assert encoded == b'{"totalCost":' + written + b',"askedAt":null}'
    assert json.loads(encoded, parse_float=Decimal)["totalCost"] == Decimal(value)


def test_times_are_utc_to_the_millisecond() -> None:
    at = datetime(2026, 11, 23, 18, 0, 0, 123456, timezone(timedelta(hours=1)))
    assert b'"2026-11-23T17:00:00.123Z"' in Figures(total_cost=Decimal(1), asked_at=at).encode()
