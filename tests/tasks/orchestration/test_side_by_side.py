"""Several things at once: in order, in the caller's context, and stopped together."""

from __future__ import annotations

import contextvars
import os
import signal
import threading
from collections.abc import Iterator

import pytest

from configs.errors import LeaseLost
from tasks.orchestration import side_by_side as module
from tasks.orchestration.side_by_side import side_by_side

LONG = 60.0  # seconds: whoever waits for so long waits for ever


def unstopped() -> None:
    raise AssertionError("nothing went wrong")


def test_results_are_in_the_order_of_the_items_however_long_each_takes() -> None:
    second_is_done = threading.Event()

    def double(item: int) -> int:
        if item == 0:
            assert second_is_done.wait(LONG)
        if item == 1:
            second_is_done.set()
        return 2 * item

    assert side_by_side(double, range(20), 2, unstopped) == [2 * item for item in range(20)]


@pytest.mark.parametrize(("items", "threads"), [(1, 4), (3, 1), (0, 4)])
def test_where_one_thread_is_enough_it_is_the_callers(items: int, threads: int) -> None:
    found = side_by_side(lambda _: threading.get_ident(), range(items), threads, unstopped)
    assert found == [threading.get_ident()] * items


def test_no_more_threads_than_asked_for() -> None:
    full = threading.Barrier(3)
    found = side_by_side(lambda _: (full.wait(LONG), threading.get_ident())[1], range(6), 3, unstopped)
    assert len(set(found)) == 3


def test_each_thread_has_the_callers_context() -> None:
    name = contextvars.ContextVar[str]("name")
    name.set("the flow run")
    assert side_by_side(lambda _: name.get(), range(4), 4, unstopped) == ["the flow run"] * 4


@pytest.fixture
def interrupts() -> Iterator[None]:
    """SIGINT raises KeyboardInterrupt here, whatever was set before."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("how", ["error", "interrupt"])
def test_what_one_raises_stops_all(how: str, interrupts: None) -> None:
    stopped, under_way, begun = threading.Event(), threading.Event(), list[int]()

    def work(item: int) -> None:
        begun.append(item)
        if item == 1:
            under_way.set()
            assert stopped.wait(LONG)
            raise LeaseLost("at the next block")
        assert under_way.wait(LONG)
        if how == "error":
            raise LeaseLost("taken over")
        os.kill(os.getpid(), signal.SIGINT)
        assert stopped.wait(LONG)

    with pytest.raises(LeaseLost if how == "error" else KeyboardInterrupt) as caught:
        side_by_side(work, range(9), 2, stopped.set)
    assert str(caught.value) in ("taken over", "")
    assert sorted(begun) == [0, 1]


def test_a_thread_that_does_not_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "STOP_SECONDS", 0.01)
    under_way, ended = threading.Event(), threading.Event()

    def work(item: int) -> None:
        if item == 1:
            under_way.set()
            ended.wait(LONG)
            return
        assert under_way.wait(LONG)
        raise LeaseLost("taken over")

    with pytest.raises(LeaseLost, match="taken over"):
        side_by_side(work, range(2), 2, lambda: None)
    assert not ended.is_set()
    left = [thread for thread in threading.enumerate() if thread.name.startswith("transfer-")]
    assert left
    assert all(thread.daemon for thread in left)
    ended.set()
