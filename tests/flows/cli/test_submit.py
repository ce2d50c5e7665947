"""`nightmail submit`: a file of ready requests, as other tools write them, through the genuine SDKs."""

from __future__ import annotations

import json
import shlex
import shutil
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError
from fakes.contract import STAGES, Stage
from rigs.checkout import ROOT
from rigs.command_line import nightmail
from rigs.workspace import Workspace
from tasks.ledger.records import BatchRecord

# Written by openbatch 0.0.4 (https://pypi.org/project/openbatch/): three endpoints and four models in one file.
SAMPLE = ROOT / "tests/samples/requests/openbatch-0.0.4.jsonl"


class Submitted:
    """A file of requests in a folder, and the command that posts it to the embedded service through OpenAI's SDK."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.folder = workspace.folder
        self.file = self.folder / "Some Requests.jsonl"
        self.settings = {
            "provider.base_url": workspace.service.url,
            "provider.api_key_env": "TEST_KEY",
            "poll.first_seconds": 0.05,
            "poll.max_seconds": 0.1,
        }
        shutil.copy(SAMPLE, self.file)

    def faults(self, words: str) -> None:
        """Let the run's batches misbehave."""
        self.settings["provider.metadata"] = json.dumps(
            {"nightmail_faults": f"{words},nonce-{uuid.uuid4().hex}"}
        )

    def post(self, *words: str, provider: str = "openai") -> int:
        """Type the command; its exit code."""
        pairs = [word for key, value in self.settings.items() for word in ("--set", f"{key}={value}")]
        return nightmail("submit", str(self.file), "--provider", provider, *pairs, *words)

    @property
    def requests(self) -> list[dict[str, Any]]:
        """Those of the file."""
        return [json.loads(line) for line in self.file.read_bytes().split(b"\n") if line.strip()]

    @property
    def out(self) -> Path:
        """The answers, where nobody says where."""
        return self.folder / "Some Requests-answers"

    def lines(self, kind: str) -> list[bytes]:
        """Result lines beside the answers."""
        (path,) = self.out.glob(f"_{kind}-*.jsonl")
        return path.read_bytes().split(b"\n")[:-1]

    def batches(self) -> list[BatchRecord]:
        """All postings of the ledger."""
        return list(self.workspace.all_batches())


@pytest.fixture
def submitted(workspace: Workspace) -> Submitted:
    """The sample, not posted yet."""
    return Submitted(workspace)


def ids(lines: list[bytes]) -> list[str]:
    return [json.loads(line)["custom_id"] for line in lines]


def test_a_tools_file_of_several_models_and_endpoints_is_posted_and_comes_back_in_its_order(
    submitted: Submitted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submitted.post("--result-lines", "--json") == 0
    receipt = json.loads(capsys.readouterr().out)
    table = pq.read_table(submitted.out)
    asked = submitted.requests
    assert table["custom_id"].to_pylist() == [each["custom_id"] for each in asked]
    assert table["line"].to_pylist() == list(range(1, 25))
    assert table["url"].to_pylist() == [each["url"] for each in asked]
    assert (
        table["llm_model"].to_pylist()
        == table["model"].to_pylist()
        == [each["body"]["model"] for each in asked]
    )
    assert set(table["llm_status"].to_pylist()) == {"succeeded"}
    assert "What began in 1789? Ångström\u2028über" in table["llm_answer"][0].as_py()
    assert isinstance(json.loads(table["llm_answer"][1].as_py())[0], float)  # a vector, among texts
    assert receipt["batches"]["posted"] == 4
    assert receipt["model"] == "gpt-4o, text-embedding-3-small, gpt-4o-mini, gpt-5-mini"
    batches = submitted.batches()
    assert Counter(batch.model for batch in batches) == Counter(receipt["model"].split(", "))
    at_service = {batch.id: batch for batch in submitted.workspace.service.client().batches.list(limit=100)}
    endpoints = {batch.model: at_service[batch.batch_id or ""].endpoint for batch in batches}
    assert endpoints == {each["body"]["model"]: each["url"] for each in asked}
    assert sorted(ids(submitted.lines("output"))) == sorted(each["custom_id"] for each in asked)
    assert submitted.lines("error") == []
    assert receipt["result_lines"] == [
        str(submitted.out / f"_{kind}-{receipt['run']}.jsonl") for kind in ("output", "error")
    ]


def test_the_same_file_again_is_the_same_run_and_another_one_is_another(
    submitted: Submitted, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submitted.post() == 0
    posted = len(submitted.batches())
    submitted.file.touch()
    assert submitted.post() == 0
    assert "This run was finished before; nothing was posted" in capsys.readouterr().err
    assert len(submitted.batches()) == posted
    with submitted.file.open("a") as file:
        file.write(json.dumps({**submitted.requests[0], "custom_id": "one-more"}) + "\n")
    assert submitted.post() == 0
    assert pq.read_table(submitted.out).num_rows == 25


def test_another_file_under_the_same_name_is_refused(
    submitted: Submitted, capsys: pytest.CaptureFixture[str]
) -> None:
    out = submitted.folder / "answers.parquet"
    assert submitted.post("--name", "tuesday", "--out", str(out), "--result-lines") == 0
    assert pq.read_table(out).num_rows == 24
    lines = out.with_suffix(".output.jsonl")
    assert lines.read_bytes().count(b"\n") == 24
    posted = len(submitted.batches())
    first = submitted.file.read_bytes().split(b"\n")[:4]
    submitted.file.write_bytes(b"".join(line + b"\n" for line in first))
    capsys.readouterr()
    assert submitted.post("--name", "tuesday", "--out", str(out), "--result-lines") == 2
    assert (
        "has changed since this run posted it; give the new requests another name" in capsys.readouterr().err
    )
    assert len(submitted.batches()) == posted
    assert submitted.post("--name", "wednesday", "--out", str(out)) == 0
    assert pq.read_table(out).num_rows == 4
    assert not lines.exists()  # it was of other requests


def test_what_fails_is_asked_again_and_its_last_word_is_in_the_error_file(submitted: Submitted) -> None:
    submitted.faults("row_error:500:request-2-chat*3/1,row_error:400:request-3-chat")
    assert submitted.post("--result-lines") == 1
    table = pq.read_table(submitted.out)
    statuses = dict(zip(table["custom_id"].to_pylist(), table["llm_status"].to_pylist(), strict=True))
    attempts = dict(zip(table["custom_id"].to_pylist(), table["llm_attempts"].to_pylist(), strict=True))
    assert (statuses["request-2-chat"], attempts["request-2-chat"]) == ("succeeded", 2)
    assert (
        ids(submitted.lines("error"))
        == ["request-3-chat"]
        == [k for k, v in statuses.items() if v == "failed"]
    )
    assert len(set(ids(submitted.lines("output")))) == len(submitted.lines("output")) == 23


def test_a_finished_run_asks_again_what_it_could_not_get_answered(submitted: Submitted) -> None:
    submitted.faults("row_error:500:request-2-chat*3/1")
    assert submitted.post("--result-lines", "--set", "retry.max_attempts=1") == 1
    assert ids(submitted.lines("error")) == ["request-2-chat"]
    assert submitted.post("--result-lines", "--set", "retry.max_attempts=1", "--retry") == 0
    assert submitted.lines("error") == []
    assert len(submitted.lines("output")) == 24
    assert len(submitted.batches()) == 5


def test_a_dry_run_tells_of_each_model_what_it_takes_and_writes_nothing(
    submitted: Submitted, capsys: pytest.CaptureFixture[str]
) -> None:
    del submitted.settings["provider.base_url"]  # its published prices are known
    before = sorted(submitted.folder.rglob("*"))
    assert submitted.post("--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert [(each["model"], each["requests"], each["batches"]) for each in plan["groups"]] == [
        (model, 6, 1) for model in plan["model"].split(", ")
    ]
    costs = [each["estimate"]["cost_usd"] for each in plan["groups"]]
    assert all(costs)
    assert plan["estimate"]["cost_usd"] == pytest.approx(sum(costs))
    assert plan["prompt_tokens"] == sum(each["estimate"]["prompt_tokens"] for each in plan["groups"])
    assert sorted(submitted.folder.rglob("*")) == before
    assert submitted.post("--dry-run") == 0
    assert "group    gpt-4o-mini at /v1/chat/completions: 6 requests in 1 batch" in capsys.readouterr().out


def test_a_trial_posts_some_beside_the_output(submitted: Submitted) -> None:
    assert submitted.post("--limit", "5") == 0
    (trial,) = submitted.folder.glob("*trial*")
    assert pq.read_table(trial)["line"].to_pylist() == [1, 2, 3, 4, 5]
    assert not submitted.out.exists()


@pytest.mark.parametrize(
    "name", ["ans #1", "a: b", "[a", 'it\'s "so"', "back\\slash", "Ä \U0001f600", "line\nbreak"]
)
def test_answers_come_into_the_folder_of_that_name_also_by_the_command_that_a_trial_tells(
    submitted: Submitted, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    here = submitted.folder / name
    here.mkdir()
    monkeypatch.chdir(here)
    assert submitted.post("--out", name, "--limit", "1") == 0
    command = capsys.readouterr().err.rpartition("For all rows: ")[2]
    assert nightmail(*shlex.split(command)[1:]) == 0
    assert pq.read_table(here / name).num_rows == 24
    assert {path.name for path in here.iterdir() if "trial" not in path.name} == {name}


def test_a_file_that_is_not_fit_posts_nothing_and_leaves_nothing(
    submitted: Submitted, capsys: pytest.CaptureFixture[str]
) -> None:
    with submitted.file.open("ab") as file:
        file.write(b'{"custom_id": "x"}\n')
    assert submitted.post() == 2
    error = capsys.readouterr().err
    assert "Some Requests.jsonl: line 25: no request" in error
    assert error.count("\n") == 1
    assert not (submitted.folder / "home").exists()


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("-", "-: requests are not taken from standard input, which cannot be read again to resume"),
        ("/dev/stdin", "/dev/stdin: requests are not taken from standard input"),
        (".", r".: is a folder; name one file in it, such as requests.jsonl"),
        ("rows.txt", "rows.txt: is no file of requests by its name; rename it, such as requests.jsonl"),
    ],
)
def test_what_is_no_file_of_requests_is_refused_by_its_name(
    capsys: pytest.CaptureFixture[str], file: str, reason: str
) -> None:
    assert nightmail("submit", file, "--provider", "local") == 2
    error = capsys.readouterr().err
    assert reason in error
    assert error.count("\n") == 1


def test_a_budget_that_the_requests_do_not_allow_to_keep_names_their_own_field(
    submitted: Submitted, capsys: pytest.CaptureFixture[str]
) -> None:
    del submitted.settings["provider.base_url"]  # its published prices are known
    assert submitted.post("--set", "budget.run_usd=5", "--dry-run") == 2
    error = capsys.readouterr().err
    assert f"e.g. by max_output_tokens in every request of {submitted.file} that asks gpt-5-mini" in error


def _model(stage: Stage) -> str:
    return {"anthropic": "claude-haiku-4-5", "gemini": "gemini-2.5-flash"}.get(stage.settings.dialect, "m")


def own_form(stage: Stage) -> list[dict[str, Any]]:
    """Five requests as the stage's vendor writes them."""
    message = [{"role": "user", "content": "Hi"}]
    if stage.settings.dialect == "anthropic":
        body = {"model": _model(stage), "max_tokens": 50, "messages": message}
        return [{"custom_id": f"r-{n}", "params": body} for n in range(5)]
    if stage.settings.dialect == "gemini":
        contents = [{"role": "user", "parts": [{"text": "Hi"}]}]
        return [{"key": f"r-{n}", "request": {"contents": contents}} for n in range(5)]
    body = {"model": _model(stage), "messages": message}
    line = {"method": "POST", "url": "/v1/chat/completions", "body": body}
    return [{"custom_id": f"r-{n}", **line} for n in range(5)]


@pytest.mark.parametrize("name", STAGES)
def test_each_provider_takes_its_own_form(
    submitted: Submitted,
    stages: Callable[[str], Stage],
    at_once: Callable[[Stage], Stage],
    name: str,
) -> None:
    stage = at_once(stages(name))
    submitted.file.write_text("".join(json.dumps(line) + "\n" for line in own_form(stage)))
    for key in ("provider.base_url", "provider.api_key_env"):
        del submitted.settings[key]
    tree = stage.settings.model_dump(mode="json", exclude={"name"})
    submitted.settings |= {f"provider.{key}": json.dumps(value) for key, value in tree.items()}
    model = ["--model", _model(stage)] if stage.settings.dialect == "gemini" else []
    before = stage.created()
    assert submitted.post("--result-lines", *model, provider=name) == 0
    table = pq.read_table(submitted.out)
    assert table["custom_id"].to_pylist() == [f"r-{n}" for n in range(5)]
    assert set(table["llm_status"].to_pylist()) == {"succeeded"}
    assert len(submitted.lines("output")) == 5
    assert stage.created() == before + 1


def test_a_job_may_take_requests_as_its_source_and_earlier_answers_with_them(workspace: Workspace) -> None:
    shutil.copy(SAMPLE, workspace.folder / "rows.jsonl")
    del workspace.tree["prompt"]
    workspace.tree["source"] = {"path": "rows.jsonl", "format": "requests"}
    workspace.tree["reuse"] = True
    assert workspace.run()["rows"] == {"total": 24, "succeeded": 24}
    answers = workspace.column("llm_answer")
    receipt = workspace.run(key="again")
    assert receipt["rows"] == {"total": 24, "reused": 24}
    assert receipt["batches"]["posted"] == 0
    assert workspace.column("llm_answer") == answers


@pytest.mark.parametrize(
    ("section", "content", "message"),
    [
        (
            "deadline",
            {"after": "8h", "max_rows": 5},
            "deadline: the lines of source.format requests are posted",
        ),
        ("prompt", {"user": "{{ text }}"}, "prompt: the lines of source.format requests are whole requests"),
    ],
)
def test_what_ready_requests_have_no_use_for_is_an_error_of_the_job(
    workspace: Workspace, section: str, content: dict[str, Any], message: str
) -> None:
    shutil.copy(SAMPLE, workspace.folder / "rows.jsonl")
    del workspace.tree["prompt"]
    workspace.tree["source"] = {"path": "rows.jsonl", "format": "requests"}
    workspace.tree[section] = content
    with pytest.raises(ConfigError, match=message):
        workspace.run()
