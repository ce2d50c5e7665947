"""What a flow run does when it falls asleep, or lost its lease, and others have moved it: a cancellation, a server that is away."""

from __future__ import annotations

import itertools
import types
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx
import pytest
from prefect.client.schemas.objects import StateType
from prefect.client.schemas.responses import SetStateStatus
from prefect.exceptions import Pause
from prefect.states import Cancelled, Cancelling, Completed, Running, Scheduled

from configs.errors import LeaseLost, StorageError
from rigs.clock import HandClock
from tasks.orchestration import current_run, durable_sleep, sleep
from tasks.orchestration.lease_wait import wait_while_lease_is_held

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

NAP = timedelta(minutes=5)


class Server:
    """One flow run; `away` calls get no answer, and `meanwhile` somebody else sets a state right after it was read."""

    def __init__(self, state: State[Any], meanwhile: State[Any] | None = None, away: int = 0) -> None:
        self.state, self.meanwhile, self.away = state, meanwhile, away
        self.process: str | None = "1234"
        self.can_pause = True

    def request(self, *_: Any, json: dict[str, str], **__: Any) -> None:
        self.process = json["infrastructure_pid"]

    def read_flow_run(self, _: Any) -> Any:
        if self.away:
            self.away -= 1
            raise httpx.ConnectError("refused")
        found = types.SimpleNamespace(state=self.state)
        self.state, self.meanwhile = self.meanwhile or self.state, None
        return found

    def set_flow_run_state(self, _: Any, state: State[Any]) -> Any:
        if self.state.is_cancelling() and not state.is_cancelled():
            return types.SimpleNamespace(status=SetStateStatus.REJECT)
        if state.is_paused() and not self.can_pause:
            return types.SimpleNamespace(status=SetStateStatus.ABORT)
        self.state = state
        return types.SimpleNamespace(status=SetStateStatus.ACCEPT)


@pytest.fixture
def in_flow_run(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the test be the process of a deployed flow run on that server, which came into `mine`."""

    def be(server: Server, mine: State[Any] | None = None) -> None:
        @contextmanager
        def client(**_: Any) -> Iterator[Server]:
            yield server

        flow_run = types.SimpleNamespace(
            id=uuid4(),
            deployment_id=uuid4(),
            state=mine or server.state,
            auto_scheduled=False,
            expected_start_time=None,
            start_time=None,
        )
        context = types.SimpleNamespace(flow_run=flow_run)
        for module in (current_run, durable_sleep):
            monkeypatch.setattr(module, "flow_run_context", lambda: context)
        monkeypatch.setattr(durable_sleep, "get_client", client)
        monkeypatch.setattr(
            durable_sleep,
            "get_run_logger",
            lambda: types.SimpleNamespace(info=lambda *_: None, warning=lambda *_: None),
        )

    return be


def fall_asleep(paused: str | None = None, is_look_due: Callable[[], bool] = lambda: False) -> HandClock:
    """Fall asleep; the clock afterwards."""
    clock = HandClock()
    sleep.sleep_until(clock.now() + NAP, "waits", clock, paused, is_look_due)
    return clock


@pytest.mark.parametrize(
    ("can_pause", "then"), [(True, ("PAUSED", sleep.WAITS_FOR_APPROVAL)), (False, ("SCHEDULED", "Sleeping"))]
)
def test_one_that_waits_for_a_person_is_paused_or_sleeps_where_the_server_refuses_that(
    in_flow_run: Any, can_pause: bool, then: tuple[str, str]
) -> None:
    server = Server(Running())
    server.can_pause = can_pause
    in_flow_run(server)
    with pytest.raises(Pause):
        fall_asleep(sleep.WAITS_FOR_APPROVAL)
    assert (server.state.type.value, server.state.name) == then
    assert server.state.message == "waits"
    assert not server.process


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
    in_flow_run: Any, state: State[Any], meanwhile: State[Any] | None, then: tuple[str, str]
) -> None:
    server = Server(state, meanwhile)
    in_flow_run(server)
    with pytest.raises(Pause) as paused:
        fall_asleep()
    assert (server.state.type.value, server.state.name) == then
    assert paused.value.state.type == StateType(then[0])
    assert not server.process or state.is_cancelled()


def test_a_server_that_comes_back_before_the_time_lets_the_process_end(in_flow_run: Any) -> None:
    server = Server(Running(), away=3)
    in_flow_run(server)
    with pytest.raises(Pause):
        fall_asleep()
    assert server.state.name == "Sleeping"


def test_while_the_server_is_away_the_process_sleeps_itself_and_goes_on_in_time(in_flow_run: Any) -> None:
    server = Server(Running(), away=1000)
    in_flow_run(server)
    began = HandClock().now()
    assert fall_asleep().now() - began == NAP
    assert server.state.is_running()


def told_at(look: int) -> Callable[[], bool]:
    """A ledger in which a webhook has come when it is asked for the n-th time, and not before."""
    looks = itertools.count(1)
    return lambda: next(looks) >= look


def test_a_flow_run_that_is_told_before_it_sleeps_goes_on_in_its_process(in_flow_run: Any) -> None:
    server = Server(Running())
    in_flow_run(server)
    assert fall_asleep(is_look_due=told_at(1)).now() == HandClock().now()
    assert server.state.is_running()


def test_a_flow_run_that_is_told_while_it_falls_asleep_is_due_at_once(in_flow_run: Any) -> None:
    server = Server(Running())
    in_flow_run(server)
    with pytest.raises(Pause):
        fall_asleep(is_look_due=told_at(2))
    assert server.state.name == "Sleeping"
    assert server.state.state_details.scheduled_time == HandClock().now()
    assert not server.process


def test_one_that_somebody_has_waked_by_then_is_left_alone(in_flow_run: Any) -> None:
    server = Server(Running())
    in_flow_run(server)
    waked = Scheduled(name="AwaitingRetry")

    def is_look_due() -> bool:
        if server.state.name == "Sleeping":
            server.state = waked
        return server.state is waked

    with pytest.raises(Pause):
        fall_asleep(is_look_due=is_look_due)
    assert server.state is waked


@pytest.mark.parametrize(("look", "seconds"), [(1, 0), (2, 10), (4, 30), (1000, 300)])
def test_a_run_without_a_deployment_looks_within_seconds_of_being_told(look: int, seconds: int) -> None:
    slept = fall_asleep(is_look_due=told_at(look)).now() - HandClock().now()
    assert slept == timedelta(seconds=seconds)


def test_a_run_that_waits_for_a_person_is_not_waked_by_a_webhook(in_flow_run: Any) -> None:
    server = Server(Running())
    in_flow_run(server)
    with pytest.raises(Pause):
        fall_asleep(sleep.WAITS_FOR_APPROVAL, told_at(1))
    assert server.state.is_paused()


def test_a_ledger_that_is_away_ends_no_sleep() -> None:
    def away() -> bool:
        raise StorageError("ledger: away")

    assert fall_asleep(is_look_due=away).now() - HandClock().now() == NAP


@pytest.mark.parametrize(
    ("now", "then"),
    [
        (Scheduled(name="AwaitingRetry"), "AwaitingRetry"),
        (Scheduled(name="Sleeping"), "Sleeping"),
        (Running(), "Running"),
        (Completed(), "Completed"),
        (Cancelled(), "Cancelled"),
        (Cancelling(), "Cancelled"),
    ],
)
def test_a_process_that_was_overtaken_says_nothing_of_its_flow_run(
    in_flow_run: Any, now: State[Any], then: str
) -> None:
    server = Server(now)
    in_flow_run(server, mine=Running())
    with pytest.raises(Pause), wait_while_lease_is_held(HandClock()):
        raise LeaseLost("taken over")
    assert server.state.name == then


def test_a_process_that_lost_its_lease_to_another_flow_run_or_to_a_person_fails(in_flow_run: Any) -> None:
    in_flow_run(Server(Running()))
    with pytest.raises(LeaseLost), wait_while_lease_is_held(HandClock()):
        raise LeaseLost("taken over")
