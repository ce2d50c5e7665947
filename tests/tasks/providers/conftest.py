"""A server on loopback that answers as told."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rigs.scripted_openai import CALLS, SUBMISSION, Calls, ScriptedOpenAI, scripted_server
from tasks.providers.base import Submission


@pytest.fixture
def submission() -> Submission:
    """A batch of one row."""
    return SUBMISSION


@pytest.fixture
def calls() -> Calls:
    """Calls of a service that need nothing but the service."""
    return CALLS


@pytest.fixture(scope="session")
def session_script() -> Iterator[ScriptedOpenAI]:
    """The server for the whole session, as the test before has left it."""
    with scripted_server() as script:
        yield script


@pytest.fixture
def scripted(session_script: ScriptedOpenAI) -> ScriptedOpenAI:
    """The server, with nothing armed and nothing sent yet."""
    session_script.forget()
    return session_script
