"""Whole jobs through Gemini's batches: the genuine SDK against the fake service."""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture
def letters(works: Any, gemini_server: Any) -> Any:
    """The working folder, with Gemini as its provider."""
    works.tree["provider"] = {"name": "gemini", "base_url": gemini_server.url, "api_key_env": "TEST_KEY"}
    works.change("prompt.model", "gemini-2.5-flash")
    works.gemini = gemini_server
    return works


def test_a_job_written_for_openai_runs_on_gemini(letters: Any) -> None:
    letters.change("prompt.system", "Be brief.")
    letters.change("prompt.params", {"max_completion_tokens": 200, "temperature": 0})
    receipt = letters.run()
    assert letters.statuses() == {"succeeded": 10}
    assert letters.column("llm_answer") == [f"Say word {n}" for n in range(10)]
    assert receipt["batches"] == {"posted": 1, "follow_ups": 0}
    assert receipt["tokens"] == {"input": 140, "output": 260, "cached": 0, "reasoning": 210}
