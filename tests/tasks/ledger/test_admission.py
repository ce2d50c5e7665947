"""Quota and budgets are checked in the transaction that records the intent: the same on every database."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rigs.clock import HandClock
from tasks.ledger.caps import NoRoom, OverBudget, QuotaSource, Refusal, SpendingCap
from tasks.ledger.records import BatchRecord, ChunkRecord
from tasks.ledger.run_ledger import RunLedger
from tasks.ledger.store import Ledger
from tasks.ledger.transitions import ChunkState, RunState

NewRun = Callable[..., RunLedger]
S = ChunkState
_numbers = itertools.count()
EXAMPLES = settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def batch_of(chunk: ChunkRecord, now: datetime, model: str = "m", **values: Any) -> BatchRecord:
    key = f"{chunk.run_id}/{chunk.number}/{chunk.attempt}.{chunk.posting}"
    made = BatchRecord(
        chunk.run_id,
        chunk.number,
        chunk.attempt,
        chunk.posting,
        key,
        "acc",
        model,
        5,
        100,
        chunk.tokens_estimate,
        now,
    )
    return replace(made, provider="openai", **values)


def ask(
    run: RunLedger,
    clock: HandClock,
    configured: int | None = None,
    caps: tuple[SpendingCap, ...] = (),
    number: int = 1,
    **values: Any,
) -> ChunkRecord | Refusal:
    chunk = run.chunk(number)
    return run.move_if_admitted(
        chunk,
        S.INTENDED,
        "x",
        batch=batch_of(chunk, clock.now(), **values),
        configured=configured,
        caps=caps,
        next_look=clock.now() + timedelta(seconds=20),
    )


def admitted(answer: ChunkRecord | Refusal) -> bool:
    return isinstance(answer, ChunkRecord)


def end(run: RunLedger, clock: HandClock, number: int = 1, **values: Any) -> None:
    run.update_batch(run.chunk(number), **{"ended_at": clock.now(), "batch_id": "b", **values})


def any_cap(**values: Any) -> SpendingCap:
    return SpendingCap("all", lambda *_: True, **values)


def test_a_batch_is_held_back_while_others_fill_the_queue(new_run: NewRun, clock: HandClock) -> None:
    one, other = new_run("r1", "a"), new_run("r2", "b")
    assert admitted(ask(one, clock, 40))
    refusal = ask(other, clock, 40)
    assert isinstance(refusal, NoRoom)
    assert (refusal.enqueued, refusal.quota.tokens, refusal.quota.source) == (25, 40, QuotaSource.JOB)
    assert [(holder.title, holder.tokens) for holder in refusal.holders] == [("letters a", 25)]
    assert other.chunk(1).state is S.PREPARED
    assert other.batches() == ()
    assert admitted(ask(new_run("r3", "c"), clock, 40, model="another")), (
        "another model has a queue of its own"
    )
    end(one, clock)
    assert admitted(ask(other, clock, 40))


def test_a_batch_larger_than_the_limit_is_posted_alone(new_run: NewRun, clock: HandClock) -> None:
    assert admitted(ask(new_run(), clock, 10))


@pytest.mark.parametrize(
    ("values", "later", "counts"),
    [
        ({"batch_id": "b"}, timedelta(0), True),
        ({"batch_id": "b"}, timedelta(days=3), True),
        ({"batch_id": "b", "expires_at": timedelta(hours=24)}, timedelta(hours=26), False),
        ({}, timedelta(hours=23), True),
        ({}, timedelta(hours=25), False),
    ],
    ids=["open", "open for days", "expired", "perhaps posted", "never posted"],
)
def test_a_cancelled_runs_open_batch_counts_until_it_is_seen_to_have_ended(
    new_run: NewRun, clock: HandClock, values: dict[str, Any], later: timedelta, counts: bool
) -> None:
    cancelled = new_run("r1", "a")
    ask(cancelled, clock)
    expires = {"expires_at": clock.now() + values["expires_at"]} if "expires_at" in values else {}
    cancelled.update_batch(cancelled.chunk(1), **{"polls": 1, **values, **expires})
    cancelled.update_run(state=RunState.CANCELLED)
    clock.sleep(later.total_seconds())
    refusal = ask(new_run("r2", "b"), clock, 40)
    assert admitted(refusal) is not counts
    assert not counts or (isinstance(refusal, NoRoom) and refusal.holders[0].is_over)


def test_what_another_run_has_seen_end_takes_no_room(
    ledger: Ledger, new_run: NewRun, clock: HandClock
) -> None:
    cancelled = new_run("r1", "a")
    ask(cancelled, clock, batch_id="b-1")
    cancelled.update_run(state=RunState.CANCELLED)
    ledger.note_left_queue(*ledger.forsaken_batches("acc", "m"))
    assert admitted(ask(new_run("r2", "b"), clock, 40))


@pytest.mark.parametrize(
    ("stated", "hours", "limit", "source"),
    [
        (30, 0, 30, QuotaSource.STATED),
        (30, 23, 30, QuotaSource.STATED),
        (30, 25, None, None),
        (None, 0, 40, QuotaSource.GUESSED),
        (None, 2, 48, QuotaSource.GUESSED),
        (2_000_000, 0, 40, QuotaSource.GUESSED),
    ],
    ids=["named", "named yesterday", "forgotten", "guessed", "grown", "others fill the queue too"],
)
def test_a_quota_is_learned_from_a_refusal(
    new_run: NewRun,
    clock: HandClock,
    stated: int | None,
    hours: float,
    limit: int | None,
    source: QuotaSource | None,
) -> None:
    one, refused, third = new_run("r1", "a"), new_run("r2", "b"), new_run("r3", "c")
    ask(one, clock)
    ask(refused, clock)
    since = clock.now()
    refused.learn_quota(refused.batch(refused.chunk(1)), stated)
    end(refused, clock, status="failed")
    clock.sleep(hours * 3600)
    answer = ask(third, clock, tokens_estimate=60)
    if limit is None:
        assert admitted(answer)
    else:
        assert isinstance(answer, NoRoom)
        assert (answer.quota.tokens, answer.quota.source, answer.quota.known_since) == (limit, source, since)


def test_the_oldest_waiter_goes_first_after_four_looks(new_run: NewRun, clock: HandClock) -> None:
    first, big = new_run("r1", "a"), new_run("r2", "b")
    ask(first, clock, 60)
    for look in range(4):
        assert not admitted(ask(big, clock, 60, tokens_estimate=60))
        clock.sleep(1)
        small = new_run(f"s{look}", f"s{look}")
        answer = ask(small, clock, 60, tokens_estimate=1)
        assert admitted(answer) is (look < 3)
    assert isinstance(answer, NoRoom)
    assert answer.goes_first == "letters b"
    for look in range(3):
        end(RunLedger(small._transactions, clock, f"s{look}", 1), clock)
    end(first, clock)
    assert not admitted(ask(small, clock, 60, tokens_estimate=1)), "though nothing is in the queue"
    assert admitted(ask(big, clock, 60, tokens_estimate=60))


@pytest.mark.parametrize("why", ["cancelled", "killed"])
def test_a_waiter_that_is_gone_keeps_nobody_out(new_run: NewRun, clock: HandClock, why: str) -> None:
    ask(new_run("r1", "a"), clock, 60)
    waiter = new_run("r2", "b")
    for _ in range(4):
        ask(waiter, clock, 60, tokens_estimate=60)
    assert not admitted(ask(new_run("r3", "c"), clock, 60, tokens_estimate=1))
    if why == "cancelled":
        waiter.update_run(state=RunState.CANCELLED)
    else:
        clock.sleep(16 * 60)
    assert admitted(ask(new_run("r4", "d"), clock, 60, tokens_estimate=1))


@pytest.mark.parametrize("cap", ["quota", "budget"])
def test_of_many_that_post_at_once_no_more_are_admitted_than_there_is_room_for(
    new_run: NewRun, clock: HandClock, cap: str
) -> None:
    runs = [new_run(f"r{number}", f"k{number}") for number in range(8)]
    configured, caps = (80, ()) if cap == "quota" else (None, (any_cap(usd=3.5, since=clock.now()),))

    def post(run: RunLedger) -> bool:
        return admitted(ask(run, clock, configured, caps, reserved_usd=1.0))

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(post, runs)) == 3


@pytest.mark.slow
@settings(EXAMPLES, max_examples=3)
@given(order=st.lists(st.integers(0, 9), min_size=30, max_size=60), ends=st.randoms(use_true_random=False))
def test_ten_runs_of_three_chunks_go_through_room_for_three_without_starving(
    new_run: NewRun, clock: HandClock, order: Sequence[int], ends: Any
) -> None:
    number, model = next(_numbers), f"m{next(_numbers)}"
    runs = [new_run(f"{number}-{each}", f"{number}-{each}", chunks=3) for each in range(10)]
    todo = {each: [1, 2, 3] for each in range(10)}
    is_open: list[tuple[int, int]] = []
    for each in itertools.chain(order, itertools.cycle(range(10))):
        if not any(todo.values()):
            break
        if is_open and (len(is_open) == 3 or ends.random() < 0.3):
            ended_run, chunk = is_open.pop(ends.randrange(len(is_open)))
            end(runs[ended_run], clock, chunk)
        clock.sleep(1)
        if todo[each] and admitted(ask(runs[each], clock, 75, number=todo[each][0], model=model)):
            is_open.append((each, todo[each].pop(0)))
        assert len(is_open) <= 3
    else:
        pytest.fail("somebody starves")


Step = tuple[str, int, float]
steps = st.lists(
    st.tuples(st.sampled_from(["ask", "ask", "end", "refused", "later"]), st.integers(0, 4), st.floats(0, 6)),
    max_size=25,
)


@EXAMPLES
@given(steps=steps)
def test_only_what_open_batches_cost_beyond_their_reservations_goes_beyond_a_budget_however_runs_interleave(
    new_run: NewRun, clock: HandClock, steps: Sequence[Step]
) -> None:
    number, model = next(_numbers), f"m{next(_numbers)}"
    mine = SpendingCap("b", lambda _job, _provider, of: of == model, usd=10.0, since=clock.now())
    run = new_run(f"b{number}", f"b{number}", chunks=25)
    others = [run, *(new_run(f"b{number}-{each}", f"b{number}-{each}", chunks=25) for each in range(4))]
    above = 0.0  # by which batches that were open at the last admission have gone beyond what they reserved
    spent: dict[tuple[int, int], float] = {}
    reserved: dict[tuple[int, int], float] = {}
    for turn, (what, who, usd) in enumerate(steps, start=1):
        mine_open = [key for key in reserved if key[0] == who]
        if what == "ask":
            fits = sum(spent.values()) + sum(reserved.values()) + usd <= 10.0
            answer = ask(others[who], clock, caps=(mine,), number=turn, model=model, reserved_usd=usd)
            assert admitted(answer) is (fits or usd == 0)
            if admitted(answer):
                reserved[who, turn] = usd
                above = 0.0 if usd else above
        elif what == "end" and mine_open:
            key = mine_open[0]
            promised = reserved.pop(key)
            cost = promised * usd / 4  # answers may be longer than 95 of 100 earlier ones
            above += max(0.0, cost - promised)
            end(others[who], clock, key[1], input_tokens=1, cost_usd=cost)
            spent[key] = cost
        elif what == "refused" and mine_open:
            reserved.pop(mine_open[0])
            end(others[who], clock, mine_open[0][1], status="failed")
        clock.sleep(usd if what == "later" else 0)
        assert sum(spent.values()) + sum(reserved.values()) <= 10.0 + above + 1e-9


@pytest.mark.parametrize(
    ("values", "counts"),
    [
        ({"batch_id": "b"}, 4.0),
        ({"batch_id": "b", "ended_at": True, "status": "completed"}, 4.0),
        ({"batch_id": "b", "ended_at": True, "input_tokens": 7, "cost_usd": 1.5}, 1.5),
        ({"batch_id": "b", "ended_at": True, "input_tokens": 7}, 4.0),
        ({"batch_id": "b", "ended_at": True, "status": "failed"}, 0.0),
        ({"ended_at": True}, 0.0),
    ],
    ids=["in flight", "ended, not booked", "booked", "booked, price unknown", "refused", "never posted"],
)
def test_what_a_batch_counts_for(
    new_run: NewRun, clock: HandClock, values: dict[str, Any], counts: float
) -> None:
    run, other = new_run("r1", "a"), new_run("r2", "b")
    ask(run, clock, reserved_usd=4.0)
    run.update_batch(
        run.chunk(1), **{name: clock.now() if value is True else value for name, value in values.items()}
    )
    refusal = ask(other, clock, caps=(any_cap(usd=4.0, since=clock.now()),), reserved_usd=4.01)
    assert isinstance(refusal, OverBudget)
    assert refusal.spent == counts


@pytest.mark.parametrize(
    ("cap", "spent"),
    [
        ({"usd": 1.0, "since": timedelta(0)}, 0.0),
        ({"usd": 1.0, "since": timedelta(hours=-1)}, 3.0),
        ({"usd": 1.0}, 0.0),
        ({"tokens": 10, "since": timedelta(hours=-1)}, 70.0),
    ],
    ids=["a window that began since", "a window that holds it", "this run's own", "tokens"],
)
def test_a_cap_counts_what_lies_in_its_window(
    new_run: NewRun, clock: HandClock, cap: dict[str, Any], spent: float
) -> None:
    run, other = new_run("r1", "a"), new_run("r2", "b")
    ask(run, clock, reserved_usd=3.0, reserved_tokens=70)
    clock.sleep(60)
    since = {"since": clock.now() + cap["since"]} if "since" in cap else {}
    refusal = ask(other, clock, caps=(any_cap(**{**cap, **since}),), reserved_usd=2.0, reserved_tokens=20)
    assert isinstance(refusal, OverBudget)
    assert refusal.spent == spent


def test_a_run_that_was_killed_after_its_intent_keeps_its_reservation(
    ledger: Ledger, new_run: NewRun, clock: HandClock
) -> None:
    cap = any_cap(usd=5.0, since=clock.now())
    ask(new_run("r1", "a"), clock, caps=(cap,), reserved_usd=4.0)
    ledger.claim("r1", "successor", 60, lambda _: True)  # the process died, another has taken over
    assert not admitted(ask(new_run("r2", "b"), clock, caps=(cap,), reserved_usd=2.0))


@pytest.mark.parametrize(
    ("state", "values", "counts"),
    [
        (S.PREPARED, {}, False),
        (S.UPLOADED, {}, True),
        (S.UPLOADED, {"ended_at": True}, False),
        (S.SUBMITTED, {"batch_id": "b"}, True),
        (S.ENDED, {"batch_id": "b", "ended_at": True, "status": "completed"}, True),
        (S.ENDED, {"batch_id": "b", "ended_at": True, "status": "failed"}, False),
        (S.MERGED, {"batch_id": "b", "ended_at": True, "status": "completed"}, False),
    ],
    ids=["prepared", "perhaps posted", "refused", "posted", "ended", "queue was full", "merged"],
)
def test_what_a_chunk_that_waits_for_money_may_still_hope_for(
    new_run: NewRun, clock: HandClock, state: S, values: dict[str, Any], counts: bool
) -> None:
    run = new_run(chunks=2)
    if state is not S.PREPARED:
        ask(run, clock)
        values = {name: clock.now() if value is True else value for name, value in values.items()}
        run.update_batch(run.chunk(1), **values)
        path = list(S)[list(S).index(S.INTENDED) + 1 : list(S).index(state) + 1]
        for each in path:
            run.move(run.chunk(1), each, "x")
    assert run.others_on_their_way(run.chunk(2)) is counts


def lane_caps(**caps: Any) -> tuple[SpendingCap, ...]:
    return tuple(any_cap(**{name: value}, in_lane=True) for name, value in caps.items())


def leave(
    run: RunLedger, clock: HandClock, caps: tuple[SpendingCap, ...], number: int = 1, **wanted: Any
) -> ChunkRecord | Refusal:
    """Let a chunk leave its batch for real-time calls."""
    chunk = run.chunk(number)
    return run.leave_batch(chunk, batch_of(chunk, clock.now(), lane="standard", **wanted), caps)


def end_unanswered(run: RunLedger, clock: HandClock, number: int = 1) -> None:
    """The chunk's batch ends without an answer, and its rows go into the next attempt."""
    end(run, clock, number, input_tokens=0, output_tokens=0, cost_usd=0.0)
    for state in (S.UPLOADED, S.SUBMITTED, S.ENDED, S.COLLECTED):
        run.move(run.chunk(number), state, "x")
    run.move(run.chunk(number), S.PREPARED, "x", attempt=2)


@pytest.mark.parametrize(
    ("caps", "room"),
    [({"rows": 10}, 2), ({"rows": 9}, 1), ({"rows": 4}, 0), ({"usd": 2.0}, 2), ({"usd": 1.9}, 1), ({"rows": 10, "usd": 1.0}, 1)],
)  # fmt: skip
def test_real_time_calls_keep_to_the_deadlines_caps_on_their_way_and_when_posted(
    new_run: NewRun, clock: HandClock, caps: dict[str, Any], room: int
) -> None:
    """Four chunks of five rows and a dollar, every second of which leaves a batch."""
    run, own = new_run(chunks=4), lane_caps(**caps)
    new = {"lane": "standard", "reserved_usd": 1.0}
    went = 0
    for number in (1, 3):
        assert admitted(ask(run, clock, number=number))
    for number in (1, 2, 3, 4):
        answer = (
            leave(run, clock, own, number, reserved_usd=1.0)
            if number % 2
            else ask(run, clock, None, own, number, **new)
        )
        went += admitted(answer)
        assert admitted(answer) or isinstance(answer, OverBudget)
    assert went == room
    for number in (1, 3):  # what was reserved on the way is there for the posting
        if run.chunk(number).goes_in_lane:
            end_unanswered(run, clock, number)
            assert admitted(ask(run, clock, None, own, number, **new))
            assert (run.chunk(number).lane_rows, run.chunk(number).lane_usd) == (None, None)
    assert sum(batch.lane is not None for batch in run.batches()) == room


@pytest.mark.parametrize("window", [True, False], ids=["of all runs", "of the run"])
def test_a_budget_keeps_what_the_rows_that_leave_their_batches_will_take(
    new_run: NewRun, clock: HandClock, window: bool
) -> None:
    """Ten dollars; each chunk's batch reserves one, and real-time calls for its rows would take five."""
    one = new_run("r1", "a", chunks=3)
    other = new_run("r2", "b", chunks=3) if window else one
    own = (any_cap(usd=10.0, since=clock.now() if window else None),)
    for run, number in ((one, 1), (other, 2)):
        assert admitted(ask(run, clock, None, own, number, reserved_usd=1.0))
    assert admitted(leave(one, clock, own, 1, reserved_usd=5.0))
    assert leave(other, clock, own, 2, reserved_usd=5.0) == OverBudget(own[0], 7.0, 5.0)
    assert ask(other, clock, None, own, 3, reserved_usd=4.0) == OverBudget(own[0], 7.0, 4.0)
    end_unanswered(one, clock)
    assert admitted(ask(other, clock, None, own, 3, reserved_usd=4.0)), (
        "the batch that was left has cost nothing"
    )
    assert admitted(ask(one, clock, None, own, 1, lane="standard", reserved_usd=5.0))


def test_a_run_that_is_over_keeps_nothing_for_rows_that_left_their_batch(
    new_run: NewRun, clock: HandClock
) -> None:
    one, other, own = new_run("r1", "a"), new_run("r2", "b"), (any_cap(usd=10.0, since=clock.now()),)
    assert admitted(ask(one, clock))
    assert admitted(leave(one, clock, own, reserved_usd=6.0))
    assert not admitted(ask(other, clock, None, own, reserved_usd=6.0))
    one.update_run(state=RunState.CANCELLED)
    assert admitted(ask(other, clock, None, own, reserved_usd=6.0))


def test_batches_and_other_runs_take_nothing_of_a_deadlines_caps(new_run: NewRun, clock: HandClock) -> None:
    run, other = new_run("r1", "a", chunks=2), new_run("r2", "b")
    own = lane_caps(rows=5)
    assert admitted(ask(run, clock))
    assert admitted(ask(other, clock, lane="standard"))
    assert admitted(ask(run, clock, None, own, 2, lane="standard"))


def test_what_real_time_calls_cost_takes_the_place_of_what_was_reserved(
    new_run: NewRun, clock: HandClock
) -> None:
    run, own = new_run(chunks=2), lane_caps(usd=1.5)
    new = {"lane": "flex", "reserved_usd": 1.0}
    assert admitted(ask(run, clock, None, own, 1, **new))
    assert not admitted(ask(run, clock, None, own, 2, **new))
    end(run, clock, 1, input_tokens=10, output_tokens=1, cost_usd=0.5)
    assert admitted(ask(run, clock, None, own, 2, **new))


def test_a_chunk_that_the_caps_do_not_carry_is_left_to_batches(ledger: Ledger, new_run: NewRun) -> None:
    run = new_run()
    stays = run.stay_in_batches(run.chunk(1), "deadline.max_rows is 1")
    assert stays == run.chunk(1)
    assert (stays.lane, stays.goes_in_lane) == ("batch", False)
    assert ("deadline", "deadline.max_rows is 1") in [
        (each.kind, each.detail) for each in ledger.history("r1")
    ]
