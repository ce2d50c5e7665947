"""What Prefect's form offers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.utilities.callables import parameter_schema

from configs.forms import ROOT, as_overrides, job_files, job_path, provider_names
from configs.load import load_job
from flows.enrich import enrich


@pytest.fixture(scope="module")
def form() -> dict[str, Any]:
    return parameter_schema(enrich).properties


def test_the_job_is_a_choice_of_the_job_files(form: dict[str, Any]) -> None:
    assert form["job"]["enum"] == job_files()
    assert "configs/jobs/quickstart.yaml" in job_files()


def test_the_choices_are_looked_up_when_the_form_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "configs/jobs").mkdir(parents=True)
    (tmp_path / "configs/jobs/new.yaml").touch()
    monkeypatch.setattr("configs.forms.ROOT", tmp_path)
    assert parameter_schema(enrich).properties["job"]["enum"] == ["configs/jobs/new.yaml"]


def test_the_provider_is_a_choice_of_those_a_job_file_knows(form: dict[str, Any]) -> None:
    assert form["provider"]["enum"] == [*provider_names(), None]
    assert {"local", "openai"} <= set(provider_names())


def test_only_the_date_has_a_tab_that_says_none(form: dict[str, Any]) -> None:
    assert [name for name in form if "anyOf" in form[name]] == ["date"]


def test_a_form_sent_as_it_is_changes_nothing(form: dict[str, Any]) -> None:
    untouched = {name: field.get("default") for name, field in form.items()}
    shortcuts = (untouched[name] for name in ("provider", "model", "limit", "overrides"))
    assert as_overrides(*shortcuts) == []


def test_the_form_has_what_everyone_needs_first_and_says_what_each_field_is(form: dict[str, Any]) -> None:
    order = sorted(form, key=lambda name: form[name]["position"])
    assert order[:6] == ["job", "date", "provider", "model", "limit", "dry_run"]
    for field in form.values():
        assert field["description"]
        assert "\n" not in field["description"]


def test_no_secret_is_a_parameter(form: dict[str, Any]) -> None:
    assert not [
        name for name in form if ("key" in name and name != "key") or "secret" in name or "token" in name
    ]


def test_a_job_of_the_form_is_found_from_any_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert job_path("configs/jobs/quickstart.yaml") == str(ROOT / "configs/jobs/quickstart.yaml")
    (tmp_path / "configs/jobs").mkdir(parents=True)
    (tmp_path / "configs/jobs/quickstart.yaml").touch()
    assert job_path("configs/jobs/quickstart.yaml") == "configs/jobs/quickstart.yaml"
    assert job_path("absent.yaml") == "absent.yaml"


def test_what_the_form_says_ends_up_in_the_job() -> None:
    items = as_overrides("openai", "7", 3, ["poll.first_seconds=5", "source.limit=4"])
    job = load_job(ROOT / "configs/jobs/quickstart.yaml", items)
    assert (job.provider.name, job.prompt.model, job.source.limit) == ("openai", "7", 4)
    assert as_overrides(None, None, None, None) == []
