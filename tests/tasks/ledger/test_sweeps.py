"""One sweep at a time, whoever dies at it, and the time of the last: the same on every database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from rigs.clock import HandClock
from tasks.ledger.sweeps import Sweeps


def nobody_is_dead(owner: str) -> bool:
    return False


@pytest.fixture
def sweeps(ledger_url: str, clock: HandClock) -> Sweeps:
    """The record of a fresh ledger."""
    return Sweeps(ledger_url, clock)


def test_a_second_sweep_is_told_who_is_at_it(sweeps: Sweeps) -> None:
    assert sweeps.begin("me", 60, nobody_is_dead) is None
    assert sweeps.begin("you", 60, nobody_is_dead) == "me"
    sweeps.release("you")  # not theirs
    assert sweeps.begin("you", 60, nobody_is_dead) == "me"
    sweeps.release("me")
    assert sweeps.begin("you", 60, nobody_is_dead) is None


@pytest.mark.parametrize("how", ["lapsed", "dead"])
def test_a_sweep_that_died_keeps_nobody_from_sweeping(sweeps: Sweeps, clock: HandClock, how: str) -> None:
    sweeps.begin("me", 60, nobody_is_dead)
    if how == "lapsed":
        clock.sleep(60)
    assert sweeps.begin("you", 60, lambda owner: how == "dead" and owner == "me") is None


def test_of_many_that_begin_at_once_one_does(sweeps: Sweeps) -> None:
    with ThreadPoolExecutor(8) as pool:
        began = list(pool.map(lambda n: sweeps.begin(f"p{n}", 60, nobody_is_dead), range(8)))
    assert began.count(None) == 1


def test_the_last_completed_one_is_remembered(sweeps: Sweeps, clock: HandClock) -> None:
    assert sweeps.last_completed() is None
    sweeps.begin("me", 60, nobody_is_dead)
    sweeps.release("me")
    assert sweeps.last_completed() is None, "one that broke off is not completed"
    sweeps.complete()
    first = clock.now()
    clock.sleep(600)
    assert sweeps.last_completed() == first
    sweeps.complete()
    assert sweeps.last_completed() == clock.now()
