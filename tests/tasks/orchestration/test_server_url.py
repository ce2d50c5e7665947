"""Where a Prefect server may be named, and that nothing else makes Prefect be asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from tasks.orchestration.server_url import may_be_configured, server_url

ASKED, NOT_ASKED = True, False


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is both the working folder and somebody's home, without a word of Prefect in the environment."""
    for name in [name for name in os.environ if name.upper().startswith("PREFECT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text", "asked"),
    [
        (None, "", NOT_ASKED),
        ("prefect.toml", "", ASKED),
        (".env", "prefect_api_url=http://s/api", ASKED),
        (".env", "OTHER=1", NOT_ASKED),
        ("pyproject.toml", '[tool]\nprefect.api.url = "http://s/api"', ASKED),
        ("pyproject.toml", '[project]\ndependencies = ["prefect"]', NOT_ASKED),
        ("pyproject.toml", "[tool", ASKED),
        (".prefect/profiles.toml", 'active = "a"\n[profiles.a]\nPREFECT_API_URL = "http://s/api"', ASKED),
        (".prefect/profiles.toml", 'active = "b"\n[profiles.a]\nPREFECT_API_URL = "http://s/api"', NOT_ASKED),
        (".prefect/profiles.toml", 'active = "a"\n[profiles.a]\nPREFECT_API_KEY = "k"', ASKED),
        (".prefect/profiles.toml", 'active = "a"\n[profiles.a]\nPREFECT_HOME = "h"', NOT_ASKED),
        (".prefect/profiles.toml", "active = ", ASKED),
    ],
)
def test_prefect_is_asked_where_a_file_may_name_a_server(
    elsewhere: Path, file: str | None, text: str, asked: bool
) -> None:
    if file is not None:
        (elsewhere / file).parent.mkdir(exist_ok=True)
        (elsewhere / file).write_text(text)
    assert may_be_configured() is asked


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("PREFECT_API_URL", ASKED),
        ("prefect_api_url", ASKED),
        ("PREFECT_PROFILE", ASKED),
        ("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", NOT_ASKED),
    ],
)
def test_prefect_is_asked_where_a_variable_may_name_a_server(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, name: str, asked: bool
) -> None:
    monkeypatch.setenv(name, "x")
    assert may_be_configured() is asked


def test_what_prefect_says_counts() -> None:
    with temporary_settings({PREFECT_API_URL: "http://s/api"}):
        assert server_url() == "http://s/api"
    with temporary_settings(restore_defaults={PREFECT_API_URL}):
        assert server_url() is None
