"""A provider's own batch: what a gateway orders of a runner (`RunRequested.body`), and what it is answered.

An order is no run. Its answer is the `output` of the completion that ends it; a refusal is that completion's error.
"""

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from common.contracts.runs_v1 import Millis, Name, Operation, RunError

MOST_LINES = 50_000
MOST_BYTES = 180 * 1024 * 1024
"""Of a part: OpenAI takes 50,000 requests and 200 MB (https://platform.openai.com/docs/guides/batch), Anthropic 100,000
and 256 MB (https://docs.anthropic.com/en/docs/build-with-claude/batch-processing). The wires write each line longer."""

SUBMIT_MS = 300_000
"""A submission is given up after so long; so long after its order's deadline none is under way."""

Why = Literal["cancelled", "deadline"]


class _Told(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class PartLine(_Told):
    """A row in a part's file of JSON lines, in the order of the batch. `body` is in the provider's wire format."""

    run_id: UUID
    custom_id: Name
    body: dict[str, Any]


class Part(_Told):
    """Rows that go to a provider as one batch: of one workspace, provider and model; in a file of the object store."""

    id: UUID
    file: str
    rows: int
    operation: Operation
    batch_id: Name


class Submit(_Told):
    """Hand the part to the provider. It is never done twice under one order: `on_unknown` of its run is `fail`."""

    action: Literal["submit"] = "submit"
    part: Part


class Look(_Told):
    """Say how the provider's batch stands; without its id, find it among those that were made since (UTC ms)."""

    action: Literal["look"] = "look"
    part: Part
    provider_batch: str | None
    since: Millis


class Cancel(_Told):
    """Have the provider stop: what it has carried out until then is kept, and paid."""

    action: Literal["cancel"] = "cancel"
    part: Part
    provider_batch: str


class Collect(_Told):
    """Publish an end for every row of the part; the same order again publishes the same ends.

    `ended_at`: when the provider's batch ended. `why` it was stopped by us, if it was. `again_at`: when rows that it
    did not serve may go into another one; None: never. `failure` ends every row that has no answer; without
    `provider_batch` that is all of them.
    """

    action: Literal["collect"] = "collect"
    part: Part
    provider_batch: str | None
    ended_at: Millis
    why: Why | None = None
    again_at: Millis | None = None
    failure: RunError | None = None


Order = Submit | Look | Cancel | Collect
ORDER: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="action")])


class Standing(_Told):
    """How a provider's batch stands. `provider_batch` None: none of this part was found.

    Then `certain` says whether that is for sure; it is not while there are others that may be it.
    The counts are those that the provider tells, if it does; `fault` is why it did not take the batch.
    """

    provider_batch: str | None = None
    certain: bool = True
    state: str = ""
    completed: int | None = None
    failed: int | None = None
    ended_at: Millis | None = None
    fault: RunError | None = None


class Collected(_Told):
    """How many rows' ends were published."""

    rows: int
