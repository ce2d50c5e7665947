"""Only a person's Resume is seen as one: nothing else that starts a process of a paused flow run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from prefect.client.schemas.objects import State, StateType

from tasks.orchestration.current_run import FlowRunInfo
from tasks.orchestration.resumed import ended_by_resume, resumed_from

TYPES = {
    "pause": (StateType.PAUSED, "Waiting for approval"),
    "other pause": (StateType.PAUSED, "Paused for billing"),
    "resume": (StateType.SCHEDULED, "Resuming"),
    "late": (StateType.SCHEDULED, "Late"),
    "sweep": (StateType.SCHEDULED, "AwaitingRetry"),
    "sleep": (StateType.SCHEDULED, "Sleeping"),
    "pending": (StateType.PENDING, "Pending"),
    "run": (StateType.RUNNING, "Running"),
    "crash": (StateType.CRASHED, "Crashed"),
}
AT = datetime(2026, 11, 22, tzinfo=UTC)
BEGUN = "pending run"


def states(words: str) -> list[State[object]]:
    found = [TYPES[word.replace("_", " ")] for word in words.split()]
    return [
        State(type=kind, name=name, timestamp=AT + timedelta(seconds=place))
        for place, (kind, name) in enumerate(found)
    ]


@pytest.mark.parametrize(
    ("since", "resumed"),
    [
        ("pause resume pending run", "Waiting for approval"),
        ("pause resume late pending run", "Waiting for approval"),
        ("pause resume pending crash sweep pending run", "Waiting for approval"),
        ("pause resume sweep pending run", "Waiting for approval"),
        ("pause sweep pending run pause resume pending run", "Waiting for approval"),
        ("pause resume pending run other_pause resume pending run", "Paused for billing"),
        ("", None),
        ("pause", None),
        ("sleep pending run", None),
        ("pause sweep pending run", None),
        ("pause pending run", None),
        ("pause run", None),
        ("pause resume pending run crash sweep pending run", None),
        ("pause resume pending run sleep pending run", None),
        ("pause resume pending run pause sweep pending run", None),
        ("pause resume pending run other_pause sweep pending run", None),
        ("resume pending run", None),
    ],
)
def test_only_the_first_process_after_resume_was_resumed(since: str, resumed: str | None) -> None:
    assert ended_by_resume(states(f"{BEGUN} {since}")) == resumed


class Server:
    """Has those states of every flow run, in any order; or is away."""

    def __init__(self, found: list[State[object]] | None) -> None:
        self.found = found

    def __call__(self, **_: object) -> Server:
        return self

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None: ...

    def read_flow_run_states(self, _: object) -> list[State[object]]:
        if self.found is None:
            raise httpx.ConnectError("refused")
        return self.found


@pytest.mark.parametrize(
    ("found", "name"),
    [(states("pending run pause resume pending run")[::-1], "Waiting for approval"), (None, None)],
)
def test_a_server_that_is_away_says_nothing_of_a_resume(
    monkeypatch: pytest.MonkeyPatch, found: list[State[object]] | None, name: str | None
) -> None:
    monkeypatch.setattr("prefect.client.orchestration.get_client", Server(found))
    here = FlowRunInfo(
        "0193b6a0-0000-7000-8000-000000000000",
        deployed=True,
        scheduled=False,
        expected_start=None,
        started_at=None,
    )
    assert resumed_from(here) == name
