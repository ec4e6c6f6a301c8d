"""One prompt and its answer."""

from decimal import Decimal

from tallyrun.wire import Told


class Answer(Told):
    """What a prompt was answered. `cost` in US dollars, None is unpriced; `latency` in ms."""

    output: str
    input_tokens: int
    output_tokens: int
    total_tokens: int
    cost: Decimal | None
    latency: int
    model: str
    run_id: str

    @property
    def text(self) -> str:
        """The output."""
        return self.output
