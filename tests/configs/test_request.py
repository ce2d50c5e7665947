"""What is asked for, and what of it the form of a run offers."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema

from configs.load import load_job
from configs.request import ROOT, RunRequest, job_choices, job_files, job_path, override, provider_names
from flows.enrich import enrich

QUICKSTART = "configs/jobs/quickstart.yaml"


@pytest.fixture(scope="module")
def form() -> dict[str, Any]:
    return parameter_schema(enrich).properties


def test_the_job_is_a_choice_of_the_job_files(form: dict[str, Any]) -> None:
    assert form["job"]["enum"] == job_choices()
    assert QUICKSTART in form["job"]["enum"]


def test_the_choices_are_looked_up_when_the_form_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "configs/jobs").mkdir(parents=True)
    (tmp_path / "configs/jobs/new.yaml").touch()
    monkeypatch.setattr("configs.request.ROOT", tmp_path)
    monkeypatch.setenv("NIGHTMAIL_JOBS_URL", str(tmp_path / "configs/jobs"))
    assert parameter_schema(enrich).properties["job"]["enum"] == ["configs/jobs/new.yaml"]
    (tmp_path / "other").mkdir()
    (tmp_path / "other/x.yml").touch()
    monkeypatch.setenv("NIGHTMAIL_JOBS_URL", str(tmp_path / "other"))
    monkeypatch.setattr("configs.request.ROOT", ROOT)
    assert parameter_schema(enrich).properties["job"]["enum"] == [str(tmp_path / "other/x.yml")]


def test_what_editors_leave_behind_is_no_job(tmp_path: Path) -> None:
    for name in (
        "a.yaml",
        "b.yml",
        ".hidden.yaml",
        ".b.yml.swp",
        "a.yaml~",
        "#a.yaml#",
        "c.yoml",
        "d.YAML",
        ".yaml",
    ):
        (tmp_path / name).touch()
    (tmp_path / "folder.yaml").mkdir()
    (tmp_path / ".#a.yaml").symlink_to("somebody@machine.4711:1700000000")  # Emacs' lock
    (tmp_path / "gone.yaml").symlink_to("nowhere.yaml")
    (tmp_path / "mounted.yaml").symlink_to(tmp_path / ".hidden.yaml")  # as Kubernetes mounts a ConfigMap
    expected = ["a.yaml", "b.yml", "mounted.yaml"]
    assert job_files(tmp_path) == [str(tmp_path / name) for name in expected]


def test_jobs_in_an_object_store_are_asked_for_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTMAIL_JOBS_URL", "s3://no-such-bucket/jobs")
    field = parameter_schema(enrich).properties["job"]
    assert (field["type"], "enum" in field) == ("string", False)


def test_the_provider_is_a_choice_of_those_a_job_file_knows(form: dict[str, Any]) -> None:
    assert form["provider"]["enum"] == provider_names()
    assert {"local", "openai", None} <= set(provider_names())


def test_only_the_date_has_a_tab_that_says_none(form: dict[str, Any]) -> None:
    assert [name for name in form if "anyOf" in form[name]] == ["date"]


def test_a_form_sent_as_it_is_changes_nothing(form: dict[str, Any]) -> None:
    untouched = {name: field["default"] for name, field in form.items() if "default" in field}
    request = RunRequest(QUICKSTART, **untouched)
    assert request.job_overrides == []
    assert request.parameters == {"job": QUICKSTART}


def test_the_form_has_what_everyone_needs_first(form: dict[str, Any]) -> None:
    order = sorted(form, key=lambda name: form[name]["position"])
    assert order[:6] == ["job", "date", "provider", "model", "limit", "dry_run"]


def test_no_secret_is_a_parameter(form: dict[str, Any]) -> None:
    assert not [
        name for name in form if ("key" in name and name != "key") or "secret" in name or "token" in name
    ]


def test_a_job_of_the_form_is_found_from_any_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert job_path(QUICKSTART) == str(ROOT / QUICKSTART)
    (tmp_path / "configs/jobs").mkdir(parents=True)
    (tmp_path / QUICKSTART).touch()
    assert job_path(QUICKSTART) == QUICKSTART
    assert job_path("absent.yaml") == "absent.yaml"


def test_options_change_the_job_and_overrides_win_over_them() -> None:
    request = RunRequest(
        QUICKSTART,
        provider="openai",
        model="7",
        limit=3,
        overrides=("poll.first_seconds=5", "source.limit=4"),
    )
    job = load_job(ROOT / QUICKSTART, request.job_overrides)
    assert (job.provider.name, job.prompt.model, job.source.limit) == ("openai", "7", 4)
    assert job.poll.first_seconds == 5


@pytest.mark.parametrize(
    "text",
    [
        "answers #1",
        "a: b",
        "a:",
        "[a",
        "{a",
        "- a",
        "null",
        "24",
        " a ",
        "%&*!|>?@`",
        "quotes ' and \"",
        "back\\slash\\n",
        "line\nand\ttab\n",
        "\x00\x1b\x7f\x85\u2028\ufeff",
        "Ä\U0001f600",
        "no UTF-8: \udc80",
        "long " * 100,
    ],
)
def test_an_override_gives_its_key_the_text_as_it_is(text: str) -> None:
    job = load_job(ROOT / QUICKSTART, [override("prompt.user", text)])
    assert job.prompt.user == text


def test_null_and_empty_say_that_an_option_is_not_given() -> None:
    request = RunRequest(QUICKSTART, provider=None, model=None, limit=None, key=None, overrides=None)
    assert request.job_overrides == []
    assert request.parameters == {"job": QUICKSTART}


def test_a_flow_is_called_with_what_was_given_and_nothing_else() -> None:
    day = datetime.date(2026, 11, 1)
    request = RunRequest("job.yaml", date=day, limit=3, retry=True, overrides=("a=1",))
    given = {"job": "job.yaml", "date": day, "limit": 3, "retry": True, "overrides": ("a=1",)}
    assert request.parameters == given
    assert RunRequest(**given) == request
