"""The one decision "what next", and the waits it leads to."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ledger.records import BatchRecord, ChunkRecord, situation
from tasks.ledger.transitions import (
    MOVES,
    ChunkState,
    Situation,
    Step,
    fault_delay,
    next_step,
    pause_length,
    poll_delay,
)

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)
EARLIER, LATER = NOW - timedelta(seconds=1), NOW + timedelta(seconds=1)
S = ChunkState


@pytest.mark.parametrize(
    ("situation", "step"),
    [
        (Situation(S.PREPARED, 5, None), Step.SUBMIT),
        (Situation(S.PREPARED, 5, EARLIER), Step.SUBMIT),
        (Situation(S.PREPARED, 5, LATER), Step.WAIT),
        (Situation(S.PREPARED, 0, None), Step.COLLECT),
        (Situation(S.INTENDED, 5, None), Step.SUBMIT),
        (Situation(S.UPLOADED, 5, None), Step.SUBMIT),
        (Situation(S.UPLOADED, 5, LATER), Step.WAIT),
        (Situation(S.SUBMITTED, 5, LATER), Step.WAIT),
        (Situation(S.SUBMITTED, 5, NOW), Step.POLL),
        (Situation(S.ENDED, 5, None), Step.COLLECT),
        (Situation(S.ENDED, 5, None, 1, "mismatched_model"), Step.COLLECT),
        (Situation(S.ENDED, 5, None, 1, "token_limit_exceeded"), Step.REPOST),
        (Situation(S.ENDED, 5, None, 99, "token_limit_exceeded"), Step.REPOST),
        (Situation(S.ENDED, 5, None, 5, "file_not_found"), Step.REPOST),
        (Situation(S.ENDED, 5, None, 6, "file_not_found"), Step.COLLECT),
        (Situation(S.ENDED, 5, LATER), Step.WAIT),
        (Situation(S.PREPARED, 5, None, paused=True), Step.WAIT),
        (Situation(S.INTENDED, 5, EARLIER, paused=True), Step.WAIT),
        (Situation(S.UPLOADED, 5, None, paused=True), Step.WAIT),
        (Situation(S.PREPARED, 5, None, paused=True, giving_up=True), Step.ABANDON),
        (Situation(S.PREPARED, 0, None, paused=True), Step.COLLECT),
        (Situation(S.SUBMITTED, 5, None, paused=True), Step.POLL),
        (Situation(S.COLLECTED, 5, None, paused=True), Step.MERGE),
        (Situation(S.ENDED, 5, None, 99, "billing_refused"), Step.REPOST),
        (Situation(S.ENDED, 5, None, 1, "billing_refused", paused=True), Step.REPOST),
        (Situation(S.ENDED, 5, None, 1, "billing_refused", has_results=True), Step.COLLECT),
        (Situation(S.ENDED, 5, None, 1, "billing_refused", giving_up=True), Step.COLLECT),
        (Situation(S.PREPARED, 5, None, giving_up=True), Step.ABANDON),
        (Situation(S.INTENDED, 5, LATER, giving_up=True), Step.ABANDON),
        (Situation(S.UPLOADED, 5, LATER, giving_up=True), Step.ABANDON),
        (Situation(S.SUBMITTED, 5, LATER, giving_up=True), Step.CANCEL),
        (Situation(S.SUBMITTED, 5, LATER, overdue=True), Step.CANCEL),
        (Situation(S.SUBMITTED, 5, LATER, overdue=True, cancel_asked=True), Step.WAIT),
        (Situation(S.SUBMITTED, 5, EARLIER, overdue=True, cancel_asked=True), Step.POLL),
        (
            Situation(S.SUBMITTED, 5, LATER, overdue=True, cancel_asked=True, cancel_ignored=True),
            Step.ABANDON,
        ),
        (Situation(S.SUBMITTED, 5, EARLIER, cancel_asked=True, cancel_ignored=True), Step.POLL),
        (Situation(S.ENDED, 5, None, 1, "token_limit_exceeded", giving_up=True), Step.COLLECT),
        (Situation(S.COLLECTED, 5, None, giving_up=True), Step.MERGE),
        (Situation(S.COLLECTED, 5, None), Step.MERGE),
        (Situation(S.MERGED, 5, None), Step.DONE),
        (Situation(S.MERGED, 5, LATER), Step.DONE),
        # after the deadline: what is not posted yet is asked in another way, as soon as its wait is over
        (Situation(S.PREPARED, 5, None, hurries=True), Step.SUBMIT),
        (Situation(S.INTENDED, 5, LATER, hurries=True), Step.WAIT),
        (Situation(S.INTENDED, 5, EARLIER, hurries=True), Step.ABANDON),
        (Situation(S.UPLOADED, 5, None, hurries=True), Step.ABANDON),
        (Situation(S.UPLOADED, 5, None, hurries=True, paused=True), Step.WAIT),
        (Situation(S.SUBMITTED, 5, NOW, hurries=True), Step.POLL),
        (Situation(S.ENDED, 5, None, 1, "token_limit_exceeded", hurries=True), Step.COLLECT),
        (Situation(S.ENDED, 5, None, 1, "file_not_found", hurries=True), Step.REPOST),
        (Situation(S.ENDED, 5, None, 1, "billing_refused", hurries=True), Step.REPOST),
        # what leaves its batch waits until that has ended, however long it takes
        (Situation(S.SUBMITTED, 5, LATER, leaves_batch=True), Step.CANCEL),
        (Situation(S.SUBMITTED, 5, LATER, leaves_batch=True, cancel_asked=True), Step.WAIT),
        (
            Situation(S.SUBMITTED, 5, NOW, leaves_batch=True, cancel_asked=True, cancel_ignored=True),
            Step.POLL,
        ),
        (Situation(S.COLLECTED, 5, None, leaves_batch=True), Step.MERGE),
    ],
)
def test_what_comes_next(situation: Situation, step: Step) -> None:
    assert next_step(situation, NOW) is step


@given(
    st.builds(
        Situation,
        st.sampled_from(S),
        st.integers(0, 10),
        st.none() | st.datetimes(timezones=st.just(UTC)),
        st.integers(1, 20),
        st.none() | st.sampled_from(["token_limit_exceeded", "file_not_found", "other"]),
    )
)
def test_every_situation_has_an_answer_and_only_merged_is_done(situation: Situation) -> None:
    step = next_step(situation, NOW)
    assert (step is Step.DONE) == (situation.state is S.MERGED)
    waits = (
        situation.not_before is not None and situation.not_before > NOW and situation.state is not S.MERGED
    )
    assert (step is Step.WAIT) == waits


def test_every_state_leads_somewhere_and_all_are_reached() -> None:
    assert set(MOVES) == set(S)
    assert all(MOVES.values())
    reached = {target for targets in MOVES.values() for target in targets}
    assert reached == set(S)


@given(st.integers(0, 10_000))
def test_polls_slow_down_up_to_the_maximum(polls: int) -> None:
    delay = poll_delay(polls, 20, 900).total_seconds()
    assert 20 <= delay <= 900
    assert delay <= poll_delay(polls + 1, 20, 900).total_seconds()


@pytest.mark.parametrize(
    ("faults", "spread", "retry_after", "seconds"),
    [
        (0, 0, None, 2),
        (0, 1, None, 3),
        (3, 0, None, 16),
        (50, 0, None, 300),
        (0, 0, 600, 600),
        (0, 0, 9e9, 3600),
        (3, 0, 1, 1),
        (5, 0, 0.25, 0.25),
        (5, 1, 0.5, 0.75),
        (5, 0, 0, 64),
        (10, 0, 0.25, 300),
        (10, 0, 600, 600),
        (0, 1, 3600, 3600),
    ],
)
def test_faults_back_off_and_honour_retry_after(
    faults: int, spread: float, retry_after: float | None, seconds: float
) -> None:
    assert fault_delay(faults, spread, retry_after).total_seconds() == seconds


@pytest.mark.parametrize(
    ("window_seconds", "service_now", "step"),
    [
        (86_400, NOW, Step.CANCEL),
        (None, NOW, Step.POLL),
        (86_400, None, Step.POLL),
        (86_400, NOW - timedelta(days=3), Step.POLL),
    ],
    ids=["overdue", "no window", "the provider's time is not known", "our clock is three days ahead"],
)
def test_a_batch_is_overdue_by_the_providers_clock_and_only_where_batches_end_within_their_window(
    window_seconds: float | None, service_now: datetime | None, step: Step
) -> None:
    chunk = ChunkRecord("r", 1, 0, 5, S.SUBMITTED, 1, 1, 5, 1, 1)
    then = NOW - timedelta(days=3)
    batch = BatchRecord("r", 1, 1, 1, "r/1/1", "a", "m", 5, 1, 1, then, submitted_at=then)
    wait = timedelta(minutes=15)
    at = situation(
        chunk,
        batch,
        NOW,
        service_now=service_now,
        window_seconds=window_seconds,
        longest_wait=wait,
        giving_up=False,
    )
    assert next_step(at, NOW) is step


@pytest.mark.parametrize(("wait", "step"), [(59, Step.WAIT), (61, Step.POLL), (60 * 24 * 365, Step.POLL)])
def test_a_clock_that_was_set_back_does_not_make_a_run_wait(wait: int, step: Step) -> None:
    chunk = ChunkRecord("r", 1, 0, 5, S.SUBMITTED, 1, 1, 5, 1, 1, not_before=NOW + timedelta(minutes=wait))
    at = situation(
        chunk, None, NOW, window_seconds=86_400, longest_wait=timedelta(minutes=15), giving_up=False
    )
    assert next_step(at, NOW) is step


def test_pauses_double_from_a_quarter_of_an_hour_to_four_hours() -> None:
    minutes = [pause_length(pauses).total_seconds() / 60 for pauses in (0, 1, 2, 3, 4, 5, 999)]
    assert minutes == [15, 30, 60, 120, 240, 240, 240]
