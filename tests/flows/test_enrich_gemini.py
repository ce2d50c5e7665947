"""Whole jobs through Gemini's batches: the genuine SDK against the fake service."""

from __future__ import annotations

import datetime
import os
import signal
import subprocess
import sys
from collections import Counter
from typing import Any

import pyarrow as pa
import pytest

from configs.errors import ConfigError
from configs.progress import SilentReporter
from fakes.gemini_fake import KEY, GeminiFake
from rigs.vendor_fakes import GeminiWorkspace, poor_answers_asked_again
from rigs.workspace import Workspace
from tasks.local_batch.faults.corrupt_answers import AWKWARD
from tasks.orchestration.reporters import reporting_to
from tasks.providers.gemini.replies import key_in

SCHEMA = {
    "type": "object",
    "properties": {"label": {"type": "string", "enum": ["bug", "other"]}},
    "required": ["label"],
    "additionalProperties": False,
}


@pytest.fixture
def letters(
    workspace: Workspace, gemini_server: GeminiFake, monkeypatch: pytest.MonkeyPatch
) -> GeminiWorkspace:
    """The working folder, with Gemini as its provider."""
    letters = GeminiWorkspace(workspace.folder, workspace.service)
    monkeypatch.setenv("TEST_KEY", KEY)
    letters.tree["provider"] = {"name": "gemini", "base_url": gemini_server.url, "api_key_env": "TEST_KEY"}
    letters.change("prompt.model", "gemini-2.5-flash")
    letters.fake = gemini_server
    return letters


def once(letters: GeminiWorkspace, postings: list[str]) -> None:
    """Every row came out once, and the service was given these batches, each of them once."""
    assert letters.column("id") == [f"t-{n}" for n in range(10)]
    run = letters.ledger.latest_run("letters", "k")
    keys = [key_in(batch.display_name) for batch in letters.fake.batches.values()]
    assert Counter(keys) == Counter(f"{run.id}/{posting}" for posting in postings)


def posted(letters: GeminiWorkspace) -> list[int]:
    """Rows in each batch."""
    return [len(batch.lines) for batch in letters.fake.batches.values()]


def test_a_job_written_for_openai_runs_on_gemini(letters: GeminiWorkspace) -> None:
    letters.change("prompt.system", "Be brief.")
    letters.change("prompt.params", {"max_completion_tokens": 200, "temperature": 0})
    receipt = letters.run()
    assert letters.statuses() == {"succeeded": 10}
    assert letters.column("llm_answer") == [f"Say word {n}" for n in range(10)]
    assert receipt["batches"] == {"posted": 1, "follow_ups": 0}
    assert receipt["tokens"] == {"input": 140, "output": 260, "cached": 0, "reasoning": 210}


def test_content_in_openais_words_and_a_schema_reach_the_model_in_geminis(letters: GeminiWorkspace) -> None:
    letters.source(2, image=[b"\x89PNG", b"GIF8"])
    letters.change("prompt.system", "You see {{ text }}.")
    letters.change(
        "prompt.user",
        [
            {"type": "text", "text": "What is it?"},
            {"type": "image_url", "image_url": {"url": "data:image/png;base64,{{ image | b64encode }}"}},
        ],
    )
    letters.change("prompt.schema", SCHEMA)
    letters.run()
    assert letters.statuses() == {"succeeded": 2}
    assert all(row["label"] in ("bug", "other") for row in letters.column("llm_parsed"))
    assert letters.fake.requests[0] == {
        "contents": [
            {
                "role": "user",
                "parts": [
                    {"text": "What is it?"},
                    {"inlineData": {"mimeType": "image/png", "data": "iVBORw=="}},
                ],
            }
        ],
        "systemInstruction": {"parts": [{"text": "You see word 0."}]},
        "generationConfig": {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
    }


def test_embeddings_are_vectors_of_a_fixed_size(letters: GeminiWorkspace) -> None:
    letters.tree["prompt"] = {
        "endpoint": "/v1/embeddings",
        "model": "gemini-embedding-001",
        "user": "{{ text }}",
        "params": {"dimensions": 4, "taskType": "RETRIEVAL_DOCUMENT"},
    }
    receipt = letters.run()
    assert letters.column("llm_answer") == [[0.5] * 4] * 10
    assert pa.types.is_fixed_size_list(letters.out.schema.field("llm_answer").type)
    assert receipt["tokens"]["input"] == 30
    assert all(batch.embeds for batch in letters.fake.batches.values())


@pytest.mark.parametrize(
    ("call", "action"),
    [
        ("begin", "drop_reply"),
        ("begin", "status:500"),
        ("begin", "status:429"),
        ("upload", "drop_reply"),
        ("upload", "reset_before"),
        ("create", "drop_reply"),
        ("create", "reset_before"),
        ("create", "status:500"),
        ("create", "status:502"),
        ("create", "status:429"),
        ("retrieve", "drop_reply"),
        ("retrieve", "status:503"),
        ("list", "status:500"),
        ("files", "status:500"),
        ("content", "drop_reply"),
        ("content", "close_midway"),
        ("content", "status:502"),
        ("delete", "status:500"),
    ],
)
def test_a_broken_call_costs_time_and_nothing_else(
    letters: GeminiWorkspace, fast_faults: None, call: str, action: str
) -> None:
    letters.fake.fault(call, action, times=2, html="502" in action)
    receipt = letters.run()
    once(letters, ["1/1"])
    assert letters.statuses() == {"succeeded": 10}
    assert receipt["batches"]["posted"] == 1


def test_lost_replies_of_every_creating_call_at_once(letters: GeminiWorkspace, fast_faults: None) -> None:
    letters.change("limits.max_requests", 3)
    letters.fake.fault("upload", "drop_reply", times=3)
    letters.fake.fault("create", "drop_reply", times=4)
    letters.run()
    once(letters, ["1/1", "2/1", "3/1", "4/1"])
    assert letters.statuses() == {"succeeded": 10}
    assert letters.fake.uploads() == []


def test_a_batch_whose_reply_died_with_the_process_is_adopted(
    letters: GeminiWorkspace, fast_faults: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.providers.gemini.batches import GeminiBatches

    create = GeminiBatches.create

    def created_and_killed(*arguments: Any) -> Any:
        create(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(GeminiBatches, "create", created_and_killed)
        with pytest.raises(KeyboardInterrupt):
            letters.run()
    letters.run()
    once(letters, ["1/1"])
    assert letters.statuses() == {"succeeded": 10}


@pytest.mark.slow  # a process that imports everything
@pytest.mark.parametrize("call", ["begin", "upload", "create", "content"])
def test_a_run_killed_while_google_works_goes_on_with_what_google_has(
    letters: GeminiWorkspace, call: str
) -> None:
    job = letters.write()
    ready, go = os.pipe()
    script = f"import os; from flows.enrich import enrich; os.read({ready}, 1); enrich.fn({job!r}, key='k')"
    child = subprocess.Popen(
        [sys.executable, "-c", script], cwd=letters.folder, pass_fds=[ready], stderr=subprocess.DEVNULL
    )
    letters.fake.kill_at = {call: child.pid}
    os.write(go, b"x")
    assert child.wait(120) == -signal.SIGKILL
    for end in (ready, go):
        os.close(end)
    letters.run()
    once(letters, ["1/1"])
    assert letters.statuses() == {"succeeded": 10}
    assert letters.fake.uploads() == []


def test_an_expired_batch_has_nothing_to_keep_and_its_rows_are_posted_again(
    letters: GeminiWorkspace, fast_faults: None
) -> None:
    letters.fake.ends = ["EXPIRED"]
    receipt = letters.run()
    once(letters, ["1/1", "1/2"])
    assert letters.statuses() == {"succeeded": 10}
    assert receipt["batches"] == {"posted": 2, "follow_ups": 1}


def test_results_of_a_cancelled_batch_are_kept_where_google_gives_any(
    letters: GeminiWorkspace, fast_faults: None
) -> None:
    letters.fake.ends = ["CANCELLED+"]
    letters.fake.script = {f"t-{n}": ("cancelled", "succeeded") for n in range(5)}
    letters.run()
    assert letters.statuses() == {"succeeded": 10}
    assert posted(letters) == [10, 5]


@pytest.mark.parametrize(
    ("end", "statuses", "postings"),
    [
        ("FAILED:3", {"failed": 10}, ["1/1"]),
        ("FAILED:8", {"succeeded": 10}, ["1/1", "1/1.2"]),  # the queue is full: not an attempt
        ("FAILED:5", {"succeeded": 10}, ["1/1", "1/1.2"]),  # the file is not there yet
        ("FAILED:13", {"succeeded": 10}, ["1/1", "1/2"]),
    ],
)
def test_a_failed_batch_is_posted_again_where_that_can_help(
    letters: GeminiWorkspace, fast_faults: None, end: str, statuses: dict[str, int], postings: list[str]
) -> None:
    letters.fake.ends = [end]
    letters.run()
    once(letters, postings)
    assert letters.statuses() == statuses
    if statuses == {"failed": 10}:
        assert set(letters.column("llm_error_message")) == {"The input file could not be parsed."}


def test_rows_that_google_refuses_blocks_cuts_or_forgets_have_their_own_status(
    letters: GeminiWorkspace, fast_faults: None
) -> None:
    letters.fake.script = {
        "t-1": "failed",
        "t-2": "blocked",
        "t-3": "truncated",
        "t-4": ("missing", "succeeded"),
        "t-5": ("transient", "succeeded"),
        "t-6": "awkward",
        "t-7": "refused",
    }
    letters.run()
    statuses = [
        "succeeded",
        "failed",
        "refused",
        "truncated",
        *["succeeded"] * 3,
        "refused",
        *["succeeded"] * 2,
    ]
    assert letters.column("llm_status") == statuses
    assert letters.column("llm_answer")[6] == "Say word 6" + AWKWARD
    assert letters.column("llm_error_code")[1:3] == ["INVALID_ARGUMENT", "SAFETY"]
    assert posted(letters) == [10, 2]


def test_an_upload_that_google_is_still_looking_at_is_waited_for(
    letters: GeminiWorkspace, fast_faults: None
) -> None:
    letters.fake.processing = 2
    letters.run()
    once(letters, ["1/1"])
    assert letters.fake.seen["upload"] == 1


def test_a_batch_near_its_end_without_results_is_a_warning_and_the_run_goes_on(
    letters: GeminiWorkspace,
) -> None:
    class Notes(SilentReporter):
        seen: list[str] = []  # noqa: RUF012

        def note(self, text: str) -> None:
            self.seen.append(text)

    letters.fake.age = datetime.timedelta(hours=37)
    with reporting_to(Notes()):
        letters.run()
    warnings = [note for note in Notes.seen if "at risk" in note]
    assert len(warnings) == 1
    assert "drops it" in warnings[0]
    assert letters.statuses() == {"succeeded": 10}
    run = letters.ledger.latest_run("letters", "k")
    assert [event.kind for event in letters.ledger.history(run.id)].count("at risk") == 1


@pytest.mark.parametrize(
    ("change", "value", "told"),
    [
        ("prompt.endpoint", "/v1/moderations", "Gemini has no /v1/moderations"),
        ("prompt.params", {"logit_bias": {"1": 2}}, "prompt.params.logit_bias: Gemini does not know it"),
        ("prompt.params", {"n": 3}, "prompt.params.n: "),
    ],
)
def test_what_gemini_cannot_say_is_refused_before_anything_is_written(
    letters: GeminiWorkspace, change: str, value: object, told: str
) -> None:
    letters.change(change, value)
    with pytest.raises(ConfigError, match=told):
        letters.run()
    assert letters.fake.calls == []
    assert not letters.home.folder.exists()


def test_a_wrong_key_is_one_line_that_names_its_variable_and_not_the_key(
    letters: GeminiWorkspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_KEY", "AIza-not-this-one")
    with pytest.raises(ConfigError, match=r"API key not valid.*check the key in TEST_KEY") as caught:
        letters.run()
    assert "AIza" not in str(caught.value)


def test_nothing_of_ours_stays_at_google_but_results_that_it_cannot_delete(letters: GeminiWorkspace) -> None:
    letters.run()
    assert [file.source for file in letters.fake.files.values()] == ["GENERATED"]
    assert all(batch.tidied_at for batch in letters.batches())


def test_poor_answers_are_asked_again_by_choice_and_what_the_account_could_not_pay_for_after_a_pause(
    letters: GeminiWorkspace, fast_faults: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = poor_answers_asked_again(letters, monkeypatch)
    assert [turn.get("role", "user") for turn in told["request"]["contents"]] == ["user", "model", "user"]
    assert told["request"]["contents"][1]["parts"] == [{"text": "Sure: it is fine."}]
