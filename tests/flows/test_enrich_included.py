"""The columns by choice, as each vendor's fake plays them: from the answer to the output, and to the runs that reuse it."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from configs.load import load_job
from fakes.contract import STAGES, Stage
from rigs.workspace import Workspace
from tasks.runs.session import shard_limits
from tasks.stages.output_columns import BY_CHOICE
from tasks.stages.plan import RequestPlan

_CHOICE = {
    "index": 0,
    "message": {"role": "assistant", "content": "yes", "reasoning_content": "because"},
    "finish_reason": "stop",
    "logprobs": {"content": [{"token": "yes", "logprob": -0.1, "bytes": None, "top_logprobs": []}]},
}
_CHAT = {
    "body": {
        "model": "m-1",
        "choices": [_CHOICE],
        "usage": {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8},
    }
}
_LOGPROBS = [{"token": "yes", "logprob": -0.1, "top": []}]
_MESSAGE = {"content": [{"type": "thinking", "thinking": "because"}, {"type": "text", "text": "yes"}]}
_CANDIDATE = {
    "content": {"parts": [{"text": "because", "thought": True}, {"text": "yes"}], "role": "model"},
    "finishReason": "STOP",
    "logprobsResult": {"chosenCandidates": [{"token": "yes", "logProbability": -0.1}]},
}
PLAYED: dict[str, tuple[dict[str, Any], Any]] = {
    "alibaba": (_CHAT, _LOGPROBS),
    "azure": (_CHAT, _LOGPROBS),
    "anthropic": (_MESSAGE, None),
    "gemini": ({"response": {"candidates": [_CANDIDATE]}}, _LOGPROBS),
}
"""What each vendor answers, and its logprobs."""


@pytest.fixture
def yes(
    workspace: Workspace, stages: Callable[[str], Stage], at_once: Callable[[Stage], Stage], request: Any
) -> Workspace:
    """A job at the vendor of the test's parameter (Alibaba without one), which answers yes with what it can say of that."""
    name = getattr(request, "param", "alibaba")
    stage = at_once(stages(name))
    stage.fake.replies.play({f"t-{n}": PLAYED[name][0] for n in range(3)})
    workspace.tree["provider"] = stage.settings.model_dump(mode="json")
    workspace.source(3, text=["a", "b", "a"])
    return workspace


def included(workspace: Workspace) -> list[tuple[Any, ...]]:
    """The chosen columns of each row but the body."""
    return list(zip(*(workspace.column(f"llm_{name}") for name in BY_CHOICE[:-1]), strict=True))


@pytest.mark.parametrize(
    ("yes", "name"), [(name, name) for name in STAGES if name in PLAYED], indirect=["yes"]
)
def test_what_a_vendor_says_of_its_answer_is_in_columns_of_one_shape(yes: Workspace, name: str) -> None:
    yes.change("output.include", [*BY_CHOICE])
    yes.run()
    assert yes.column("llm_answer") == ["yes"] * 3
    assert included(yes) == [(None, "because", PLAYED[name][1], None)] * 3
    assert all("because" in json.dumps(json.loads(raw)) for raw in yes.column("llm_raw"))


def test_no_column_is_added_unasked(yes: Workspace) -> None:
    yes.run()
    assert not {f"llm_{name}" for name in BY_CHOICE} & set(yes.out.column_names)


def test_reused_answers_and_copies_bring_their_columns(yes: Workspace) -> None:
    yes.tree["reuse"] = {"duplicates": True}
    yes.change("output.include", ["reasoning", "logprobs"])
    yes.run(key="first")
    assert yes.column("llm_status") == ["succeeded", "succeeded", "succeeded"]
    assert yes.column("llm_attempts") == [1, 1, 0]
    yes.run(key="second")
    assert yes.statuses() == {"reused": 3}
    assert yes.column("llm_reasoning") == ["because"] * 3
    assert yes.column("llm_logprobs") == [_LOGPROBS] * 3


def test_answers_of_runs_without_the_columns_are_not_bought_again_and_a_plan_says_so(yes: Workspace) -> None:
    yes.tree["reuse"] = True
    yes.run(key="first")
    yes.change("output.include", ["reasoning"])
    job = load_job(yes.write())
    limits = job.provider.limits
    [note] = RequestPlan(job, shard_limits(job, limits), limits.custom_id).notes
    assert "a run without reasoning have null there; --redo asks all rows again" in note
    yes.run(key="second")
    assert yes.statuses() == {"reused": 3}
    assert yes.column("llm_reasoning") == [None] * 3
    yes.run(key="second", redo=True)
    assert yes.column("llm_reasoning") == ["because"] * 3
