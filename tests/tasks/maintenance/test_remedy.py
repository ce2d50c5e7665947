"""What a sweep does, for every state of a flow run, its lease, its signs of life, the time and its crashes."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import timedelta

import pytest

from tasks.maintenance.remedy import (
    CRASHES,
    LATE,
    QUIET,
    RARELY,
    SETTLED,
    SILENT,
    Remedy,
    Role,
    Signs,
    choose_remedy,
)

S = timedelta(seconds=1)
NOW = 5 * S
HOUR = timedelta(hours=1)
DUE = timedelta(0)
STATES = (
    "SCHEDULED",
    "PENDING",
    "RUNNING",
    "PAUSED",
    "CANCELLING",
    "CANCELLED",
    "CRASHED",
    "FAILED",
    "COMPLETED",
    None,
)


def signs(
    state: str | None,
    still_for: timedelta = HOUR,
    silent_for: timedelta | None = None,
    overdue: timedelta = DUE,
    crashes: int = 0,
    held: bool = False,
    unfinished: bool = True,
    deployed: bool = True,
    role: Role = Role.RUN,
    pause_over: bool = False,
) -> Signs:
    return Signs(state, still_for, silent_for, overdue, crashes, held, unfinished, deployed, role, pause_over)


@pytest.mark.parametrize(
    ("found", "remedy"),
    [
        (signs("RUNNING", held=True), Remedy.LEAVE),  # somebody works on it
        (
            signs("RUNNING", held=True, silent_for=HOUR),
            Remedy.LEAVE,
        ),  # its heartbeats were lost, the lease was not
        (signs("RUNNING", NOW), Remedy.LEAVE),  # it starts, or falls asleep
        (signs("RUNNING", QUIET - S), Remedy.LEAVE),
        (signs("RUNNING", QUIET), Remedy.WAKE),  # never heard of
        (signs("RUNNING", silent_for=SILENT - S), Remedy.LEAVE),  # it lives: a backfill, a dry run
        (signs("RUNNING", silent_for=SILENT), Remedy.WAKE),
        (signs("RUNNING", silent_for=SILENT, unfinished=False), Remedy.WAKE),
        (signs("RUNNING", silent_for=NOW, unfinished=False), Remedy.LEAVE),
        (signs("PAUSED"), Remedy.LEAVE),  # a person's
        (signs("PAUSED", pause_over=True), Remedy.WAKE),
        (signs("PAUSED", pause_over=True, unfinished=False), Remedy.WAKE),  # somebody else finished its run
        (signs("PAUSED", pause_over=True, held=True), Remedy.LEAVE),
        (signs("PAUSED", pause_over=True, role=Role.CANCELLED), Remedy.END),
        (signs("PENDING", NOW), Remedy.LEAVE),
        (signs("PENDING", QUIET - S), Remedy.LEAVE),  # an image is pulled
        (signs("PENDING", QUIET), Remedy.WAKE),
        (signs("PENDING", QUIET, unfinished=False), Remedy.WAKE),
        (signs("CRASHED", SETTLED - S), Remedy.LEAVE),  # its worker may report it once more
        (signs("CRASHED", SETTLED), Remedy.WAKE),
        (
            signs("CRASHED", SETTLED, unfinished=False),
            Remedy.WAKE,
        ),  # a backfill, or one without a row in the ledger
        (signs("CRASHED", held=True), Remedy.LEAVE),  # its process lives, whatever somebody said of it
        (signs("CRASHED", SETTLED, crashes=CRASHES - 1), Remedy.WAKE),
        (signs("CRASHED", SETTLED, crashes=CRASHES), Remedy.TELL_CRASHING),
        (signs("CRASHED", RARELY - S, crashes=9), Remedy.TELL_CRASHING),
        (signs("CRASHED", RARELY, crashes=9), Remedy.WAKE),
        (signs("CANCELLING", held=True), Remedy.LEAVE),
        (signs("CANCELLING", NOW), Remedy.LEAVE),
        (signs("CANCELLING", silent_for=SILENT - S), Remedy.LEAVE),
        (signs("CANCELLING", silent_for=SILENT), Remedy.END),
        (signs("CANCELLING", QUIET), Remedy.END),
        (signs("CANCELLED", NOW), Remedy.LEAVE),  # the automation is quicker
        (signs("CANCELLED", QUIET), Remedy.CANCEL),
        (signs("CANCELLED", QUIET, held=True), Remedy.CANCEL),  # by a process that nobody told
        (signs("CANCELLED", unfinished=False), Remedy.LEAVE),
        (signs("SCHEDULED", overdue=-HOUR), Remedy.LEAVE),  # it sleeps
        (signs("SCHEDULED", overdue=LATE - S), Remedy.LEAVE),  # it waits for a worker
        (signs("SCHEDULED", overdue=LATE), Remedy.TELL_LATE),
        (signs("FAILED"), Remedy.REPORT),
        (signs("FAILED", NOW), Remedy.LEAVE),
        (signs("FAILED", unfinished=False), Remedy.LEAVE),  # told when it failed
        (signs("COMPLETED"), Remedy.REPORT),
        (signs("COMPLETED", unfinished=False), Remedy.LEAVE),
        (signs(None, deployed=False), Remedy.REPORT),
        (signs(None, held=True, deployed=False), Remedy.LEAVE),
    ],
)
def test_what_a_sweep_does(found: Signs, remedy: Remedy) -> None:
    assert choose_remedy(found) is remedy


@pytest.mark.parametrize(
    ("state", "remedy"),
    [
        ("RUNNING", Remedy.REPORT),  # begun at a terminal: no worker can take it up
        ("CRASHED", Remedy.REPORT),
        ("CANCELLING", Remedy.END),
        ("CANCELLED", Remedy.CANCEL),
    ],
)
def test_what_a_sweep_does_for_a_flow_run_without_a_deployment(state: str, remedy: Remedy) -> None:
    assert choose_remedy(signs(state, deployed=False)) is remedy


@pytest.mark.parametrize(
    ("found", "remedy"),
    [
        (signs("PENDING", QUIET - S), Remedy.LEAVE),
        (signs("PENDING", QUIET), Remedy.END),  # its worker was killed
        (signs("RUNNING", silent_for=NOW), Remedy.LEAVE),
        (signs("RUNNING", silent_for=SILENT), Remedy.END),
        (signs("CRASHED"), Remedy.END),
        (signs("CANCELLING", QUIET), Remedy.END),
        (signs("SCHEDULED", overdue=QUIET - S), Remedy.LEAVE),
        (signs("SCHEDULED", overdue=QUIET), Remedy.END),  # missed: the one after it does its work
        (signs("COMPLETED"), Remedy.LEAVE),
        (signs("FAILED"), Remedy.LEAVE),
        (signs("CANCELLED"), Remedy.LEAVE),
    ],
)
def test_a_sweep_that_nothing_comes_of_is_ended(found: Signs, remedy: Remedy) -> None:
    assert choose_remedy(replace(found, role=Role.SWEEP, unfinished=False)) is remedy


@pytest.mark.parametrize(
    ("state", "role", "remedy"),
    [
        ("CRASHED", Role.CANCELLED, Remedy.END),  # waked, it would go on and pay
        ("RUNNING", Role.CANCELLED, Remedy.END),
        ("PENDING", Role.CANCELLED, Remedy.WAKE),  # somebody has just started it again
        ("CRASHED", Role.REPLACED, Remedy.REPORT),
        ("RUNNING", Role.REPLACED, Remedy.REPORT),
    ],
)
def test_a_flow_run_whose_run_is_cancelled_or_anothers_does_not_go_on(
    state: str, role: Role, remedy: Remedy
) -> None:
    assert choose_remedy(signs(state, unfinished=False, role=role)) is remedy


EVERYTHING = [
    Signs(*values)
    for values in itertools.product(
        STATES,
        (timedelta(0), SETTLED, QUIET, RARELY),
        (None, timedelta(0), SILENT),
        (-HOUR, DUE, LATE),
        (0, CRASHES),
        (True, False),
        (True, False),
        (True, False),
        Role,
    )
]


def test_whatever_sleeps_or_is_held_or_gives_a_sign_of_life_is_never_waked_or_ended() -> None:
    moved = (Remedy.WAKE, Remedy.END)
    for found in EVERYTHING:
        asleep = found.state == "SCHEDULED" and found.overdue < QUIET
        works = (
            found.state in ("RUNNING", "CANCELLING")
            and found.silent_for is not None
            and found.silent_for < SILENT
        )
        held = found.held and found.role is not Role.SWEEP  # a sweep has no run
        if asleep or works or held or found.state in ("PAUSED", "COMPLETED", "FAILED", "CANCELLED", None):
            assert choose_remedy(found) not in moved, found


def test_what_claims_to_work_and_is_lost_is_never_left_alone() -> None:
    for found in EVERYTHING:
        lost = found.silent_for is None or found.silent_for >= SILENT
        claims = found.state in ("RUNNING", "PENDING", "CRASHED", "CANCELLING")
        if claims and lost and not found.held and found.still_for >= QUIET:
            assert choose_remedy(found) is not Remedy.LEAVE, found


def test_only_what_a_worker_can_take_up_is_waked() -> None:
    assert {found.deployed for found in EVERYTHING if choose_remedy(found) is Remedy.WAKE} == {True}
