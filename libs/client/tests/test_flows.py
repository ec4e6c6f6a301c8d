"""What takes several calls, asked and answered by hand."""

from decimal import Decimal

import pytest

from tallyrun import flows
from tallyrun.errors import TallyrunError
from tallyrun.prompts import Answer, Model

ANSWER = Answer(
    output="a", input_tokens=1, output_tokens=1, total_tokens=2, cost=Decimal(1), latency=1, model="m", run_id="r"
)


def refused(status: int, code: str) -> TallyrunError:
    return TallyrunError("no", code=code, status=status, again=False)


def test_a_prompt_goes_to_the_provider_that_has_the_model() -> None:
    flow = flows.prompt("hello", "gpt", temperature=0)
    assert next(flow).path == "/v1/models/gpt"
    asked = flow.send(Model(id="gpt", owned_by="openai"))
    assert asked.body == {"provider": "openai", "model": "gpt", "input": "hello", "temperature": 0}
    again = flow.throw(refused(504, "still_running"))
    assert again is asked, "under the same key it is the same run"
    with pytest.raises(StopIteration) as returned:
        flow.send(ANSWER)
    assert returned.value.value is ANSWER


def test_a_model_of_no_catalogue_has_its_provider_before_it() -> None:
    flow = flows.prompt("hello", "local/team/model")
    next(flow)
    asked = flow.throw(refused(404, "not_found"))
    assert asked.body == {"provider": "local", "model": "team/model", "input": "hello"}


@pytest.mark.parametrize(("model", "status"), [("bare", 404), ("local/model", 401)])
def test_what_is_not_known_is_said(model: str, status: int) -> None:
    flow = flows.prompt("hello", model)
    next(flow)
    with pytest.raises(TallyrunError):
        flow.throw(refused(status, "any"))
