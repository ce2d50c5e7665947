"""A dead owner is told from a living one, and only on its own machine."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tasks.ledger.leases import current_owner, owner_is_dead

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
