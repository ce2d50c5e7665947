"""Budgets in configuration files: what they say, and the one line that a mistake gets."""

from __future__ import annotations

from pathlib import Path

import pytest

from configs import load
from configs.budgets import Budget, HouseBudget
from configs.errors import ConfigError


@pytest.fixture
def budgets_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The house's budgets, in a place of the test's own."""
    file = tmp_path / "budgets.yaml"
    monkeypatch.setattr(load, "_BUDGETS", file)
    return file


def test_entries_are_read_with_their_patterns(budgets_file: Path) -> None:
    budgets_file.write_text(
        "budgets:\n- {name: a, usd: 5, window: day}\n- {name: b, tokens: 7, window: rolling-24h, job: x*}\n"
    )
    assert load.load_budgets() == (
        HouseBudget(name="a", usd=5, window="day"),
        HouseBudget(name="b", tokens=7, window="rolling-24h", job="x*"),
    )


@pytest.mark.parametrize("content", [None, "budgets: []\n"])
def test_there_need_be_none(budgets_file: Path, content: str | None) -> None:
    if content is not None:
        budgets_file.write_text(content)
    assert load.load_budgets() == ()


def test_the_file_that_is_shipped_is_read() -> None:
    assert load.load_budgets() == ()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("budgets:\n- {name: a, usd: 5, windw: day}\n", "budgets.0.windw: unknown key; did you mean window?"),
        ("budget:\n- {name: a, usd: 5, window: day}\n", "budget: unknown key; did you mean budgets?"),
        (
            "budgets:\n- {name: a, usd: 5, window: dya}\n",
            "budgets.0.window: 'dya' is not known; allowed: 'run', 'day'",
        ),
        ("budgets:\n- {name: a, usd: 5}\n", "budgets.0.window: is required"),
        ("budgets:\n- {name: a, window: day}\n", "budgets.0: give either usd or tokens"),
        ("budgets:\n- {name: a, usd: 5, tokens: 5, window: day}\n", "budgets.0: give either usd or tokens"),
        ("budgets:\n- {name: a, usd: -5, window: day}\n", "budgets.0.usd"),
        ("budgets:\n- {name: a, usd: lots, window: day}\n", "budgets.0.usd"),
        ("- name: a\n", "it holds one key, budgets, with a list"),
        ("", "it holds one key, budgets, with a list"),
        ("budgets: [\n", "not valid YAML"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_file_and_the_key(
    budgets_file: Path, content: str, said: str
) -> None:
    budgets_file.write_text(content)
    with pytest.raises(ConfigError) as error:
        load.load_budgets()
    assert str(budgets_file) in str(error.value)
    assert said in str(error.value)
    assert "\n" not in str(error.value)


def test_a_jobs_budget_has_a_window_for_each_limit_that_is_set() -> None:
    assert Budget().windows == ()
    assert Budget(run_usd=1.0, month_usd=9.0).windows == (
        ("budget.run_usd", "run", 1.0),
        ("budget.month_usd", "month", 9.0),
    )
