"""Services that speak OpenAI's protocol in their own way: what a run makes of them, and what the doctor says."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from configs.errors import NightmailError
from configs.providers.alibaba import AlibabaProvider
from fakes.openai_fake import OpenAIFake
from fakes.openai_vendors import AlibabaFake, AzureFake, GroqFake, TogetherFake
from flows.cli.main import main
from rigs.command_line import nightmail
from rigs.pages import other_services
from rigs.workspace import Workspace

COPED_WITH: dict[str, tuple[str, ...]] = {
    "no_metadata": ("metadata",),
    "after_ignored": ("list paging",),
    "no_file_list": ("lists files",),
    "no_cancel": ("cancel",),
    "no_delete": ("delete",),
    "refuses_expiry": ("files expire",),
    "uppercase": ("status words",),
    "unknown_status": ("status words",),
    "iso_times": ("times",),
    "null_counts": ("counts",),
    "no_expiry": ("expiry",),
    "body_as_string": ("line shape",),
    "no_error_key": ("line shape",),
    "no_newline": ("output file", "error file"),
    "empty_error_file": ("error file",),
    "failed_in_output": ("failed row",),
    "doubled": ("lines",),
    "value_list": (),
    "job_wrapper": (),
    "text_type": (),
    "reversed": (),
    "no_role": (),
}
"""Deviations by the facts that tell of them; none where nobody needs to know."""

TOGETHER = [
    {"after_ignored", "no_file_list", "no_cancel", "no_delete", "refuses_expiry"},
    {"no_metadata", "uppercase", "iso_times", "null_counts", "no_expiry", "job_wrapper", "text_type"},
    {"unknown_status", "value_list", "reversed", "no_role", "failed_in_output", "empty_error_file"},
    {"body_as_string", "no_error_key", "no_newline", "doubled"},
]
assert set().union(*TOGETHER) == set(COPED_WITH)


@pytest.fixture(scope="module")
def _fake() -> Iterator[OpenAIFake]:
    fake = OpenAIFake()
    yield fake
    fake.close()


@pytest.fixture
def fake(_fake: OpenAIFake, workspace: Workspace) -> OpenAIFake:
    """The service as new, its batches ending when they are looked at, and a job for it."""
    _fake.forget()
    _fake.hold = False
    workspace.tree["provider"] = {"name": "openai", "base_url": _fake.url, "api_key_env": "TEST_KEY"}
    return _fake


def doctor(fake: OpenAIFake, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str]]:
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "doctor",
                "--base-url",
                fake.url,
                "--model",
                "m",
                "--api-key-env",
                "TEST_KEY",
                "--wait",
                "20s",
                "--json",
            ]
        )
    told = json.loads(capsys.readouterr().out)
    return int(str(ended.value.code)), {fact["name"]: fact["grade"] for fact in told["facts"]}


def test_without_oddities_the_doctor_finds_none(fake: OpenAIFake, capsys: pytest.CaptureFixture[str]) -> None:
    fake.script = {"nightmail-doctor-2": "failed"}
    code, grades = doctor(fake, capsys)
    assert code == 0
    assert set(grades.values()) == {"ok"}
    assert {"failed row", "error file", "metadata", "cancel", "delete"} <= set(grades)
    assert fake.files == {}


@pytest.mark.parametrize("odd", TOGETHER)
def test_oddities_are_named_and_no_reason_to_stay_away(
    fake: OpenAIFake, capsys: pytest.CaptureFixture[str], odd: set[str]
) -> None:
    fake.odd = odd
    code, grades = doctor(fake, capsys)
    assert code == 0
    assert {name for name, grade in grades.items() if grade == "odd"} == {
        fact for one in odd for fact in COPED_WITH[one]
    }


def test_a_service_whose_list_tells_nothing_of_ours_is_not_fit(
    fake: OpenAIFake, capsys: pytest.CaptureFixture[str]
) -> None:
    fake.odd = {"no_metadata", "no_input_id"}
    code, grades = doctor(fake, capsys)
    assert (code, grades["finds by key"]) == (1, "bad")


def test_a_lost_reply_is_found_by_its_file_where_no_metadata_is_kept(
    workspace: Workspace, fake: OpenAIFake, fast_faults: None
) -> None:
    fake.odd = {"no_metadata"}
    fake.fault("create", "drop_reply")
    workspace.run()
    assert workspace.statuses() == {"succeeded": 10}
    assert len(fake.batches) == 1


@pytest.mark.parametrize("odd", TOGETHER)
def test_a_run_brings_every_row_home_all_the_same(
    workspace: Workspace, fake: OpenAIFake, odd: set[str]
) -> None:
    fake.odd = odd
    fake.script = {"t-3": "failed", "t-4": "truncated"}
    receipt = workspace.run()
    assert receipt["rows"]["total"] == 10
    assert workspace.statuses() == {"succeeded": 8, "failed": 1, "truncated": 1}
    assert len(fake.batches) == 1
    assert (receipt["odd_lines"]["duplicate_lines"] > 0) == ("doubled" in odd)


@pytest.mark.parametrize("kind", [AlibabaFake, AzureFake])
def test_a_run_at_a_vendor_posts_what_it_takes_and_leaves_nothing(
    workspace: Workspace, kind: type[AlibabaFake | AzureFake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AlibabaProvider, "poll_floor_seconds", 0.0)  # a minute is long for a test
    fake = kind()
    fake.hold = False
    fake.script = {"t-3": "failed", "t-4": "refused"}
    where = {"endpoint": fake.resource} if kind is AzureFake else {"base_url": fake.url}
    name = kind.__name__.removesuffix("Fake").lower()
    workspace.tree["provider"] = {"name": name, "api_key_env": "TEST_KEY", **where}
    try:
        receipt = workspace.run()
    finally:
        fake.close()
    assert workspace.statuses() == {"succeeded": 8, "failed": 1, "refused": 1}
    assert len(fake.batches) == 1
    assert fake.files == {}
    assert receipt["cost_usd"] is None


@pytest.fixture(params=[GroqFake, TogetherFake])
def reached(request: pytest.FixtureRequest, workspace: Workspace) -> Iterator[OpenAIFake]:
    """A service of the documentation's table, and a job with the sections that stand there."""
    fake: OpenAIFake = request.param()
    fake.hold = False
    name = request.param.__name__.removesuffix("Fake")
    (service,) = [service for service in other_services() if service.name == name]
    workspace.tree["provider"] = {**service.provider, "base_url": fake.url, "api_key_env": "TEST_KEY"}
    workspace.tree["limits"] = dict(service.limits)
    yield fake
    fake.close()


def test_a_service_is_reached_with_the_settings_of_the_table(
    workspace: Workspace, reached: OpenAIFake, fast_faults: None
) -> None:
    reached.script = {"t-3": "failed", "t-4": "truncated"}
    reached.fault("upload", "drop_reply")
    reached.fault("create", "drop_reply")
    receipt = workspace.run()
    assert workspace.statuses() == {"succeeded": 8, "failed": 1, "truncated": 1}
    (code,) = {code for code in workspace.column("llm_error_code") if code}
    assert code == "invalid_value"
    assert receipt["cost_usd"] is None
    assert len(reached.batches) == 1
    assert reached.files == {}


def test_the_doctor_finds_a_service_of_the_table_fit(
    workspace: Workspace, reached: OpenAIFake, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = [f"--set=provider.{k}={v}" for k, v in workspace.tree["provider"].items() if k != "name"]
    code = nightmail("doctor", "--provider", "openai", "--model", "m", "--wait", "20s", *settings)
    said = capsys.readouterr().out
    assert (code, said.splitlines()[-1]) == (0, "fit"), said
    assert reached.files == {}


def test_why_a_batch_failed_is_said_in_the_words_of_the_service(
    workspace: Workspace, reached: OpenAIFake
) -> None:
    workspace.change("prompt.endpoint", "/v1/embeddings")
    workspace.run()
    assert workspace.statuses() == {"failed": 10}
    assert "/v1/embeddings is no batch endpoint." in workspace.column("llm_error_message")[0]


@pytest.mark.parametrize("reached", [GroqFake], indirect=True)
def test_a_window_of_days_is_posted_where_the_service_has_it(
    workspace: Workspace, reached: OpenAIFake
) -> None:
    workspace.change("provider.completion_window", "7d")
    workspace.run()
    assert [batch["completion_window"] for batch in reached.batches.values()] == ["7d"]


def test_without_its_settings_a_service_refuses_the_upload_in_its_own_words(
    workspace: Workspace, fake: OpenAIFake
) -> None:
    workspace.change("provider.file_purpose", "batch-api")
    with pytest.raises(NightmailError, match=r"Must be \.jsonl"):
        workspace.run()
    assert fake.batches == {}
