"""Vendors' services on loopback, one process-wide server each: see tests/fakes/."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from rigs.clock import ImpatientClock
from rigs.workspace import Workspace

if TYPE_CHECKING:  # a vendor's fake brings its SDK, and few tests need it
    from fakes.anthropic_fake import AnthropicFake
    from fakes.contract import Stage
    from fakes.gemini_fake import GeminiFake


class AnthropicWorkspace(Workspace):
    """A workspace whose job goes to Anthropic."""

    fake: AnthropicFake


def anthropic_job(
    workspace: Workspace, server: AnthropicFake, monkeypatch: pytest.MonkeyPatch
) -> AnthropicWorkspace:
    """The working folder, with Anthropic as its job's provider."""
    from fakes.anthropic_fake import KEY

    letters = AnthropicWorkspace(workspace.folder, workspace.service)
    monkeypatch.setenv("TEST_KEY", KEY)
    letters.tree["provider"] = {"name": "anthropic", "base_url": server.url, "api_key_env": "TEST_KEY"}
    letters.change("prompt.model", "claude-haiku-4-5")
    letters.fake = server
    return letters


class GeminiWorkspace(Workspace):
    """A workspace whose job goes to Gemini."""

    fake: GeminiFake


def poor_answers_asked_again(
    letters: AnthropicWorkspace | GeminiWorkspace, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """A run in which poor answers are asked again by choice, and one row when the account can pay; the request that tells of
    the invalid answer."""
    clock = ImpatientClock()
    monkeypatch.setattr("tasks.enrich.SystemClock", lambda: clock)
    letters.change(
        "prompt.schema", {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    )
    letters.change(
        "retry", {"on": ["invalid", "truncated", "refused"], "max_attempts": 2, "tell_errors": True}
    )
    words = {"t-1": "invalid", "t-2": "truncated", "t-3": "refused", "t-4": "unpaid"}
    letters.fake.script = {name: (word, "succeeded") for name, word in words.items()}
    letters.run()
    assert letters.statuses() == {"succeeded": 10}
    assert letters.column("llm_attempts") == [1, 2, 2, 2, *[1] * 6]
    assert clock.slept == [15]
    file = next(letters.home.folder.glob("runs/letters/k/chunks/00001/requests-2.jsonl"))
    told, *others = [json.loads(line) for line in file.read_bytes().split(b"\n") if line]
    assert len(others) == 3
    request: dict[str, Any] = told
    return request


@pytest.fixture(scope="session")
def session_gemini_server() -> Iterator[GeminiFake]:
    """Gemini's API for the whole session, as the test before has left it."""
    from fakes.gemini_fake import GeminiFake

    server = GeminiFake()
    yield server
    server.close()


@pytest.fixture
def gemini_server(session_gemini_server: GeminiFake) -> Iterator[GeminiFake]:
    """Gemini's API on loopback, empty and well-behaved: see tests/fakes/gemini_fake.py."""
    session_gemini_server.forget()
    yield session_gemini_server
    assert not session_gemini_server.broken


@pytest.fixture(scope="session")
def session_anthropic_server() -> Iterator[AnthropicFake]:
    """Anthropic's Message Batches for the whole session, as the test before has left them."""
    from fakes.anthropic_fake import AnthropicFake

    server = AnthropicFake()
    yield server
    server.close()


@pytest.fixture
def anthropic_server(session_anthropic_server: AnthropicFake) -> AnthropicFake:
    """Anthropic's Message Batches on loopback, empty and well-behaved: see tests/fakes/anthropic_fake.py."""
    session_anthropic_server.forget()
    return session_anthropic_server


@pytest.fixture(scope="session")
def stages(request: pytest.FixtureRequest) -> Callable[[str], Stage]:
    """Each service of the contract once, by the name of its provider: see tests/fakes/contract.py."""
    from fakes.contract import STAGES

    return functools.cache(lambda name: STAGES[name](request))


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> Callable[[Stage], Stage]:
    """Makes a service of the contract as new: its batches end when they are looked at, its key is in the environment."""
    from configs.providers.alibaba import AlibabaProvider

    def renewed(stage: Stage) -> Stage:
        stage.renew()
        stage.fake.hold = False
        monkeypatch.setenv(stage.key_variable, stage.key)
        return stage

    monkeypatch.setattr(AlibabaProvider, "poll_floor_seconds", 0.0)  # a minute is long for a test
    return renewed
