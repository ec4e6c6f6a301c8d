"""Where each row of a batch lies in its file, in about a hundred bytes a row."""

from array import array
from collections.abc import Sequence
from decimal import Decimal
from hashlib import blake2b

from gateway.batches.lines import Line

PICODOLLARS = 12
"""Bounds are kept as whole 10⁻¹² dollars, rounded up: up to $18 million in eight bytes."""


class RowIndex:
    """The rows in the order of their lines, counted from 0, and found again by their custom id."""

    def __init__(self) -> None:
        self.starts, self.ends = array("Q"), array("Q")
        self.lines = array("I")
        self._bounds = array("Q")
        self._numbers: dict[int, int] = {}

    def __len__(self) -> int:
        """Return how many rows there are."""
        return len(self.starts)

    def add(self, custom_id: str, line: Line, bound: Decimal = Decimal(0)) -> bool:
        """Add a row; False if there is one of that id. `bound`: the most that it can cost, in dollars."""
        if self._numbers.setdefault(digest(custom_id), len(self)) != len(self):
            return False
        self.starts.append(line.start)
        self.ends.append(line.end)
        self.lines.append(line.number)
        self._bounds.append(-int(-bound.scaleb(PICODOLLARS) // 1))
        return True

    def spans(self, rows: Sequence[int]) -> tuple[list[int], list[int]]:
        """Return the rows' first bytes in the file, and those behind their last."""
        return [self.starts[row] for row in rows], [self.ends[row] for row in rows]

    def find(self, custom_id: str | None) -> int | None:
        """Return the row of that id."""
        return None if custom_id is None else self._numbers.get(digest(custom_id))

    def bound(self, row: int) -> Decimal:
        """Return the most that the row can cost, in dollars."""
        return Decimal(self._bounds[row]).scaleb(-PICODOLLARS)


def digest(custom_id: str) -> int:
    """Return 64 bits that stand for the id: among 50,000 rows two alike are one in ten billion."""
    return int.from_bytes(blake2b(custom_id.encode(), digest_size=8).digest())
