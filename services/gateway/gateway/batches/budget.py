"""A batch's spend limit: what was spent, and the most that calls in flight may add. Pure."""

from collections.abc import Iterator
from decimal import Decimal, localcontext
from typing import Any
from uuid import UUID

from common.catalogue import Rate
from gateway.batches.estimate import choices, output_limit

LONGEST_OUTPUT = 128_000
"""Tokens that a model writes at most where the request does not say; no catalogued model writes more
(https://platform.openai.com/docs/models, https://docs.anthropic.com/en/docs/about-claude/models)."""

LARGEST_IMAGE = 50_000
"""Tokens of an image at most, whatever its bytes: GPT-4o mini counts 2,833 and 5,667 for each of up to 8 tiles
(https://platform.openai.com/docs/guides/images-vision)."""

TOOLS_TOKENS = 1_000
"""What providers add to a request that has tools: up to 804 (https://docs.anthropic.com/en/docs/build-with-claude/tool-use)."""

CACHE_WRITE = 2
"""Times the price of input, for what is written into a cache for an hour
(https://docs.anthropic.com/en/docs/build-with-claude/prompt-caching)."""

DIGITS = 18
"""After the point, as `Cost.total` has them at most."""

IMAGES = ("image", "image_url")
UNBOUNDED = ("audio", "document", "file", "input_audio")
"""Kinds of content whose tokens do not follow from their bytes."""


class Unbounded(Exception):
    """There is no telling how much the row can cost; the message says why."""


def bound(body: dict[str, Any], size: int, rate: Rate) -> Decimal:
    """Return the most that one call with this body can cost, in dollars; raise `Unbounded`.

    A token is at least one byte of text, so the bytes of the line (`size`) count as tokens.
    """
    kinds = list(_kinds(body))
    for kind in kinds:
        if kind in UNBOUNDED:
            raise Unbounded(f"content of type '{kind}' has no upper bound in tokens")
    images = sum(kind in IMAGES for kind in kinds)
    tokens = size + images * LARGEST_IMAGE + (TOOLS_TOKENS if body.get("tools") else 0)
    price = rate.input * CACHE_WRITE if "cache_control" in kinds else rate.input
    output = max(0, output_limit(body) or LONGEST_OUTPUT) * choices(body)
    with localcontext(prec=60):
        return rate.request + tokens * price + output * rate.output


def _kinds(value: object) -> Iterator[str]:
    """Yield every `type` within the value, and "cache_control" where something is to be cached."""
    if isinstance(value, list):
        for part in value:
            yield from _kinds(part)
    elif isinstance(value, dict):
        kind = value.get("type")
        if isinstance(kind, str):
            yield kind
        if "cache_control" in value:
            yield "cache_control"
        for part in value.values():
            if isinstance(part, list | dict):
                yield from _kinds(part)


class Budget:
    """Counts every execution once, by its id: what a reply tells at once, analytics confirms later.

    An execution of unknown cost weighs as much as its row's bound, though it is not in `cost`. Sums are whole 10⁻¹⁸
    dollars, the smallest that a cost can say.
    """

    def __init__(self, limit: Decimal | None) -> None:
        self._limit = None if limit is None else _whole(limit)
        self._reserved: dict[int, int] = {}
        self._told: dict[UUID, tuple[int, int]] = {}
        self._cost = 0
        self._weight = 0
        self.unpriced = 0

    @property
    def cost(self) -> Decimal:
        """What was spent, in dollars, as far as it is known."""
        return Decimal(self._cost).scaleb(-DIGITS)

    @property
    def unconfirmed(self) -> bool:
        """Whether replies told of executions that analytics has not shown yet."""
        return bool(self._told)

    def fits(self, most: Decimal) -> bool:
        """Whether a call that costs `most` keeps the limit, whatever those in flight will cost."""
        return self._limit is None or self._weight + _whole(most) <= self._limit

    def reserve(self, row: int, most: Decimal) -> None:
        """Note that the row is in flight."""
        self.release(row)
        self._reserved[row] = _whole(most)
        self._weight += self._reserved[row]

    def release(self, row: int) -> None:
        """Note that it is not any more."""
        self._weight -= self._reserved.pop(row, 0)

    def told(self, execution: UUID, cost: Decimal | None, most: Decimal) -> None:
        """Count what a reply tells, until analytics does."""
        if execution not in self._told:
            self._told[execution] = self._count(cost, most)

    def counted(self, execution: UUID, cost: Decimal | None, most: Decimal) -> None:
        """Count what analytics shows: each execution once."""
        known, weight = self._told.pop(execution, (0, 0))
        self._cost -= known
        self._weight -= weight
        self._count(cost, most)
        self.unpriced += cost is None

    def _count(self, cost: Decimal | None, most: Decimal) -> tuple[int, int]:
        known, weight = (0, _whole(most)) if cost is None else (_whole(cost), _whole(cost))
        self._cost += known
        self._weight += weight
        return known, weight


def _whole(amount: Decimal) -> int:
    """Return the amount in 10⁻¹⁸ dollars."""
    return int(amount.scaleb(DIGITS))
