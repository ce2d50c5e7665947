"""What a flow run does when it falls asleep and something is in the way: a cancellation, a server that is away."""

from __future__ import annotations

import types
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import Pause
from prefect.states import Cancelled, Cancelling, Running

from rigs.clock import HandClock
from tasks.orchestration import sleep

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

NAP = timedelta(minutes=5)


class Server:
    """One flow run; `away` calls get no answer, and `meanwhile` somebody else sets a state right after it was read."""

    def __init__(self, state: State[Any], meanwhile: State[Any] | None = None, away: int = 0) -> None:
        self.state, self.meanwhile, self.away = state, meanwhile, away
        self.process: str | None = "1234"

    def request(self, *_: Any, json: dict[str, str], **__: Any) -> None:
        if self.away:
            self.away -= 1
            raise httpx.ConnectError("refused")
        self.process = json["infrastructure_pid"]

    def read_flow_run(self, _: Any) -> Any:
        found = types.SimpleNamespace(state=self.state)
        self.state, self.meanwhile = self.meanwhile or self.state, None
        return found

    def set_flow_run_state(self, _: Any, state: State[Any]) -> Any:
        if self.state.is_cancelling() and not state.is_cancelled():
            return types.SimpleNamespace(status=SetStateStatus.REJECT)
        self.state = state
        return types.SimpleNamespace(status=SetStateStatus.ACCEPT)


@pytest.fixture
def fall_asleep(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Fall asleep on a server; the clock afterwards."""

    def run(server: Server) -> HandClock:
        @contextmanager
        def client(**_: Any) -> Iterator[Server]:
            yield server

        clock = HandClock()
        flow_run = types.SimpleNamespace(id=uuid4(), deployment_id=uuid4())
        context = types.SimpleNamespace(flow_run=flow_run)
        monkeypatch.setattr(sleep, "FlowRunContext", types.SimpleNamespace(get=lambda: context))
        monkeypatch.setattr(sleep, "get_client", client)
        monkeypatch.setattr(sleep, "get_run_logger", lambda: types.SimpleNamespace(warning=lambda *_: None))
        sleep.sleep_until(clock.now() + NAP, "waits", clock)
        return clock

    return run


@pytest.mark.parametrize(
    ("state", "meanwhile", "then"),
    [
        (Running(), None, ("SCHEDULED", "Sleeping")),
        (Cancelling(), None, ("CANCELLED", "Cancelled")),
        (Running(), Cancelling(), ("CANCELLED", "Cancelled")),
        (Cancelled(), None, ("CANCELLED", "Cancelled")),
    ],
)
def test_a_run_that_was_cancelled_while_it_worked_does_not_sleep_but_ends(
    fall_asleep: Any, state: State[Any], meanwhile: State[Any] | None, then: tuple[str, str]
) -> None:
    server = Server(state, meanwhile)
    with pytest.raises(Pause) as paused:
        fall_asleep(server)
    assert (server.state.type.value, server.state.name) == then
    assert paused.value.state.type == StateType(then[0])
    assert server.process == ""


def test_a_server_that_comes_back_before_the_time_lets_the_process_end(fall_asleep: Any) -> None:
    server = Server(Running(), away=3)
    with pytest.raises(Pause):
        fall_asleep(server)
    assert server.state.name == "Sleeping"


def test_while_the_server_is_away_the_process_sleeps_itself_and_goes_on_in_time(fall_asleep: Any) -> None:
    server = Server(Running(), away=1000)
    began = HandClock().now()
    assert fall_asleep(server).now() - began == NAP
    assert server.state.is_running()
