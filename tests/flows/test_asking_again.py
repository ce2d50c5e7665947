"""Rows that were answered, but not well, are asked again by choice; every other row keeps its answer."""

from __future__ import annotations

import json
from typing import Any

import pytest

from configs.errors import ConfigError
from rigs.interrupted import Stop
from rigs.workspace import Workspace

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}
MORE = ["retry.on=[truncated]", "prompt.params.max_completion_tokens=500"]


def posted(workspace: Workspace, attempt: int, chunk: int = 1) -> dict[str, Any]:
    """The bodies of what an attempt posted, by custom_id."""
    file = next(workspace.home.folder.glob(f"runs/letters/k/chunks/{chunk:05d}/requests-{attempt}.jsonl"))
    lines = [json.loads(line) for line in file.read_bytes().split(b"\n") if line]
    return {line["custom_id"]: line["body"] for line in lines}


def by_id(workspace: Workspace) -> dict[str, Any]:
    return {row["id"]: row for row in workspace.out.to_pylist()}


@pytest.mark.parametrize(
    ("word", "fault"),
    [
        ("invalid", "invalid_json:t-3|t-5"),
        ("truncated", "length:t-3|t-5"),
        ("refused", "refusal:t-3|t-5"),
        ("refused", "content_filter:t-3|t-5"),
    ],
)
def test_rows_of_that_status_are_asked_again_within_their_attempts(
    workspace: Workspace, fast_faults: None, word: str, fault: str
) -> None:
    workspace.change("prompt.schema", SCHEMA)
    workspace.change("retry", {"on": [word], "max_attempts": 3})
    workspace.faults(f"{fault}*1")
    receipt = workspace.run()
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    assert list(posted(workspace, 2)) == ["t-3", "t-5"]
    assert workspace.column("llm_attempts") == [1, 1, 1, 2, 1, 2, 1, 1, 1, 1]
    assert workspace.paid() == {"1/1": 1, "1/2": 1}
    assert receipt["tokens"]["input"] == sum(batch.input_tokens for batch in workspace.batches())


@pytest.mark.parametrize(
    ("on", "most", "paid"),
    [(["truncated"], 2, {"1/1": 1, "1/2": 1}), (["refused", "invalid", "transient"], 3, {"1/1": 1})],
)
def test_what_stays_poor_or_is_not_named_keeps_its_status_and_what_there_is_of_its_answer(
    workspace: Workspace, on: list[str], most: int, paid: dict[str, int]
) -> None:
    workspace.change("retry", {"on": on, "max_attempts": most})
    workspace.faults("length:t-3")
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 9, "truncated": 1}
    assert workspace.column("llm_answer")[3]
    assert workspace.paid() == paid


@pytest.mark.parametrize("endpoint", ["/v1/chat/completions", "/v1/responses"])
def test_the_model_is_told_what_was_wrong_where_the_job_says_so(
    workspace: Workspace, fast_faults: None, endpoint: str
) -> None:
    workspace.change("prompt.endpoint", endpoint)
    workspace.change("prompt.schema", SCHEMA)
    workspace.change("retry", {"on": ["invalid", "transient"], "max_attempts": 2, "tell_errors": True})
    workspace.faults("invalid_json:t-3*1,row_error:500:t-4*1")
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}
    name = "messages" if endpoint.endswith("completions") else "input"
    again = posted(workspace, 2)
    assert again["t-4"] == posted(workspace, 1)["t-4"]
    asked, answer, complaint = again["t-3"][name]
    assert asked == {"role": "user", "content": "Say word 3"}
    assert answer == {"role": "assistant", "content": '{"label": "unfinished'}
    assert complaint["role"] == "user"
    assert "not valid" in complaint["content"]


@pytest.fixture
def cut(workspace: Workspace, fast_faults: None) -> Workspace:
    """A finished run with two answers that were cut."""
    workspace.change("prompt.params", {"max_completion_tokens": 100, "temperature": "{{ 0.5 | float }}"})
    workspace.faults("length:t-3|t-7*1")
    assert workspace.run()["rows"] == {"total": 10, "succeeded": 8, "truncated": 2}
    return workspace


def test_a_finished_run_asks_with_other_params_and_nobody_else_is_asked(cut: Workspace) -> None:
    before = by_id(cut)
    receipt = cut.run(retry=True, overrides=MORE)
    assert receipt["rows"] == {"total": 10, "succeeded": 10}
    again = posted(cut, 2)
    assert list(again) == ["t-3", "t-7"]
    assert {body["max_completion_tokens"] for body in again.values()} == {500}
    assert {**again["t-3"], "max_completion_tokens": 100} == posted(cut, 1)["t-3"]
    after = by_id(cut)
    kept = before.keys() - again.keys()
    assert {name: before[name] for name in kept} == {name: after[name] for name in kept}
    assert cut.paid() == {"1/1": 1, "1/2": 1}
    assert receipt["tokens"]["input"] == sum(batch.input_tokens for batch in cut.batches())
    assert cut.run(overrides=MORE) == receipt, "the same command without --retry: it is finished"
    assert cut.run() == receipt


@pytest.mark.parametrize("typed", [{}, {"retry": True, "overrides": MORE}], ids=["plain", "the same"])
def test_one_that_is_interrupted_goes_on_with_the_params_that_it_was_told(
    cut: Workspace, monkeypatch: pytest.MonkeyPatch, typed: dict[str, Any]
) -> None:
    from tasks import enrich as flow

    def stop(*_: object) -> None:
        raise Stop

    with monkeypatch.context() as patched, pytest.raises(Stop):
        patched.setattr(flow, "advance", stop)
        cut.run(retry=True, overrides=MORE)
    cut.change("retry.on", ["truncated"])
    assert cut.run(**typed)["rows"] == {"total": 10, "succeeded": 10}
    assert {body["max_completion_tokens"] for body in posted(cut, 2).values()} == {500}


@pytest.mark.parametrize(
    ("overrides", "retry", "said"),
    [
        (["prompt.user=Shout {{ text }}"], True, r"the job changed .*prompt\.user.*--redo"),
        (["prompt.model=m-2", *MORE], True, r"the job changed .*prompt\.model"),
        (["source.limit=5", *MORE], True, r"the job changed"),
        (MORE[1:], True, r"retry\.on names none of its rows \(2 truncated\)"),
        (MORE, False, r"prompt\.params\.max_completion_tokens.*--retry asks with it"),
        (
            ["retry.on=[truncated]", "prompt.params.n=2"],
            True,
            r"prompt\.params\.n says what answers look like",
        ),
        (
            ["retry.on=[truncated]", "prompt.params.response_format={type: text}"],
            True,
            r"prompt\.params\.response_format says",
        ),
        (["retry.on=[truncated]", "prompt.params.service_tier=flex"], True, r"another price"),
        (["retry.on=[truncated]", "prompt.params.user={{ nothing }}"], True, r"nothing"),
    ],
)
def test_whatever_else_changed_is_refused_in_one_line_and_the_run_stays_finished(
    cut: Workspace, overrides: list[str], retry: bool, said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        cut.run(retry=retry, overrides=overrides)
    assert cut.ledger.latest_run("letters", "k").state == "finished"
    assert cut.paid() == {"1/1": 1}
