"""A dead owner is told from a living one, and only on its own machine."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from tasks.ledger.leases import current_owner, is_held, owner_is_dead
from tasks.ledger.run_ledger import RunLedger

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="needs /proc")  # noqa: PTH110


def test_a_living_process_is_not_gone() -> None:
    assert not owner_is_dead(current_owner())


def test_a_dead_process_of_this_machine_is_gone() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "from tasks.ledger.leases import current_owner; print(current_owner())"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert owner_is_dead(said.stdout.strip())


def test_a_reused_process_id_does_not_keep_a_lease() -> None:
    host, machine, pid, started = current_owner().rsplit("/", 3)
    assert owner_is_dead(f"{host}/{machine}/{pid}/{int(started) - 1}")


@pytest.mark.parametrize("owner", ["", "somebody", "host/other-machine/1/1", "host/x/not-a-number/1"])
def test_what_cannot_be_told_counts_as_alive(owner: str) -> None:
    assert not owner_is_dead(owner)


@pytest.mark.parametrize(
    ("owner", "seconds", "held"),
    [
        ("somebody", 60, True),
        ("somebody", 0, False),  # it has lapsed
        (None, 60, False),
        ("dead", 60, False),
    ],
)
def test_a_run_is_held_while_its_lease_lasts_and_its_owner_may_live(
    new_run: Callable[..., RunLedger], clock: Any, owner: str | None, seconds: float, held: bool
) -> None:
    run = new_run()
    host, machine, pid, started = current_owner().rsplit("/", 3)
    dead = f"{host}/{machine}/{pid}/{int(started) - 1}"
    run.update_run(lease_owner=dead if owner == "dead" else owner)
    run.renew(seconds)
    assert is_held(run.read_run(), clock.now()) is held
