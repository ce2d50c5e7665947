"""What `nightmail doctor --provider` does, at every service that stands the contract."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from configs.clock import SystemClock
from configs.home import Home
from fakes.contract import STAGES, Stage
from tasks.diagnostics.facts import Fact, Grade
from tasks.diagnostics.preflight import Preflight
from tasks.providers.registry import connect


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest, stages: Callable[[str], Stage]) -> Stage:
    """A service and what it speaks to, as new."""
    made = stages(request.param)
    made.renew()
    return made


def looked_at(stage: Stage, model: str | None, key: str | None = None) -> dict[str, Fact]:
    """The facts by name; batches end while they are waited for."""
    told: list[Fact] = []

    def wait(_: float) -> bool:
        made = next((fact for fact in told if fact.name == "create"), None)
        if made is not None:
            stage.let_end(made.detail)
        return True

    environ = {stage.key_variable: stage.key if key is None else key}
    trial = Preflight(
        stage.settings,
        lambda: connect(stage.settings, Home.from_environment({}), environ),
        SystemClock(),
        told.append,
        wait,
    )
    trial.run(model, "/v1/chat/completions")
    assert not any("secret" in fact.detail for fact in told)
    return {fact.name: fact for fact in told}


def test_two_rows_go_there_and_come_back(stage: Stage) -> None:
    before = stage.created()
    found = looked_at(stage, "m")
    assert {name for name, fact in found.items() if fact.grade is Grade.BAD} == set(), found
    assert {"reachable", "create", "finds again", "ends", "answers", "delete"} <= set(found)
    assert stage.created() == before + 1


def test_a_look_costs_nothing(stage: Stage) -> None:
    before = stage.created()
    assert set(looked_at(stage, None)) == {"reachable", "limits"}
    assert stage.created() == before


def test_a_wrong_key_is_told_as_such(stage: Stage) -> None:
    found = looked_at(stage, None, key="sk-but-wrong")
    assert found["key"].grade is Grade.BAD
    assert stage.key_variable in found["key"].detail
