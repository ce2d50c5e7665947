"""A long source is prepared range by range while it is posted: what may go wrong in the middle, and what is left of it then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from configs.errors import ConfigError, IntegrityError
from rigs.command_line import nightmail
from rigs.console import client_of, console_over
from rigs.ledger_files import lose
from rigs.workspace import Workspace
from tasks import advance
from tasks.ledger.records import ChunkRecord
from tasks.runs import preparation, prices
from tasks.runs.queries import describe_run
from tasks.runs.session import Run
from tasks.stages import ranges
from tasks.stages.plan import RequestPlan, RowSlice
from tasks.submit import submit

_ROWS, _RANGES = 24, 4  # of 6 rows, in chunks of 3


class _KilledError(BaseException):
    """As SIGKILL: nobody catches it."""


@pytest.fixture
def long_source(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A source of several ranges."""
    monkeypatch.setattr(ranges, "RANGE_ROWS", 6)
    workspace.change("limits.max_requests", 3)
    workspace.source(_ROWS)
    return workspace


@pytest.fixture
def long_csv(long_source: Workspace, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """The same as text, whose rows only reading tells; as long as one that is surveyed."""
    monkeypatch.setattr(preparation, "SURVEYED_BYTES", 100)
    rows = [f"t-{n},word {n}" for n in range(_ROWS)]
    (long_source.folder / "rows.csv").write_text("\n".join(["id,text", *rows]))
    long_source.change("source.path", "rows.csv")
    return long_source


@contextmanager
def _in_range(monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], Any]) -> Iterator[None]:
    """Let something happen once, in the middle of a range: those before it are recorded, it is not."""
    original = RequestPlan.later_slices

    def later_slices(self: RequestPlan, first: int) -> Iterator[RowSlice]:
        slices = 0
        for row_slice in original(self, first):
            slices += row_slice.first_row // 6 == number
            if row_slice.first_row // 6 == number and slices == 2:
                act()
            yield row_slice

    with monkeypatch.context() as patch:
        patch.setattr(RequestPlan, "later_slices", later_slices)
        yield


def _kill() -> None:
    raise _KilledError


def _history(workspace: Workspace) -> list[tuple[str, str]]:
    return [(event.kind, event.detail) for event in workspace.ledger.history(workspace.run_id)]


def _assert_each_row_once(workspace: Workspace, rows: int = _ROWS) -> None:
    assert workspace.column("id") == [f"t-{n}" for n in range(rows)]
    assert workspace.statuses() == {"succeeded": rows}
    assert set(workspace.paid().values()) == {1}
    assert len(workspace.paid()) == rows // 3


def _posted_in_range(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, number: int, act: Callable[[], Any]
) -> Any:
    """Run, and `act` in the middle of the preparing of that range, when a batch is posted."""
    posted = threading.Event()

    def submit_and_tell(run: Run, chunk: ChunkRecord) -> ChunkRecord:
        after = submit(run, chunk)
        posted.set()
        return after

    def wait_for_a_batch() -> None:
        assert posted.wait(60)
        act()

    monkeypatch.setitem(advance._STEPS, advance.Step.SUBMIT, submit_and_tell)
    with _in_range(monkeypatch, number, wait_for_a_batch):
        return workspace.run()


def test_the_first_batch_is_posted_before_the_last_range_is_prepared(
    long_source: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = _posted_in_range(long_source, monkeypatch, 3, lambda: None)
    _assert_each_row_once(long_source)
    kinds = _history(long_source)
    last = kinds.index(("prepared", f"2 chunks, {_RANGES} of {_RANGES} ranges"))
    assert "submitted" in [kind for kind, _ in kinds[:last]]
    assert receipt["rows"]["total"] == _ROWS
    assert receipt["estimate"]["prompt_tokens"] > 0


@pytest.mark.parametrize(
    ("section", "value"),
    [
        ("budget", {"run_usd": 5.0}),
        pytest.param("budget", {"approve_above_usd": 5.0}, marks=pytest.mark.slow),
        pytest.param("reuse", True, marks=pytest.mark.slow),
    ],
)
def test_what_depends_on_all_rows_is_prepared_before_anything_is_posted(
    long_source: Workspace, monkeypatch: pytest.MonkeyPatch, section: str, value: Any
) -> None:
    long_source.change(section, value)
    monkeypatch.setattr(prices, "load_prices", lambda: {"prices": [{"model": "m", "input": 0, "output": 0}]})
    monkeypatch.setattr(RequestPlan, "later_slices", _kill)
    long_source.run()
    _assert_each_row_once(long_source)


def test_a_long_csv_file_is_posted_while_it_is_prepared(
    long_csv: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    _posted_in_range(long_csv, monkeypatch, 3, lambda: None)
    _assert_each_row_once(long_csv)


def test_a_csv_file_that_is_read_in_no_time_is_prepared_before_anything_is_posted(
    long_csv: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preparation, "SURVEYED_BYTES", (long_csv.folder / "rows.csv").stat().st_size)
    monkeypatch.setattr(RequestPlan, "later_slices", _kill)
    long_csv.run()
    _assert_each_row_once(long_csv)


def test_a_half_prepared_run_says_so_everywhere_and_a_sweep_takes_nothing_from_it(
    long_csv: Workspace, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(_KilledError):
        _posted_in_range(long_csv, monkeypatch, 2, _kill)
    paid = long_csv.paid()
    console = client_of(console_over(long_csv.home, long_csv.job_file))
    capsys.readouterr()
    for page in ("/runs", f"/runs/{long_csv.run_id}"):
        assert f"preparing: 2 of {_RANGES} ranges" in console.get(page).text
    for words in (["status"], ["status", "letters/k"]):
        assert nightmail(*words) == 0
        assert f"preparing: 2 of {_RANGES} ranges" in capsys.readouterr().out
    for page in (f"/runs/{long_csv.run_id}/rows", "/batches", "/statistics", "/jobs", "/budgets"):
        assert console.get(page).status_code == 200
    assert nightmail("sweep") == 0
    assert "nobody works on it, but the run is running" in capsys.readouterr().err
    long_csv.run()
    _assert_each_row_once(long_csv)
    assert paid.items() <= long_csv.paid().items()
    assert "preparing" not in console.get(f"/runs/{long_csv.run_id}").text.partition("History")[0]


def test_a_duplicate_key_in_the_last_range_is_found_before_anything_is_posted(long_source: Workspace) -> None:
    long_source.source(_ROWS, id=[f"t-{n % (_ROWS - 1)}" for n in range(_ROWS)])
    with pytest.raises(ConfigError, match=r"source\.key: id is not unique"):
        long_source.run()
    assert not list(Path(long_source.home.runs_url).rglob("*.jsonl"))
    assert not (long_source.folder / "home" / "ledger.db").exists()


@pytest.mark.parametrize(
    "number",
    [pytest.param(number, marks=() if number == 1 else pytest.mark.slow) for number in range(_RANGES)],
)
def test_a_run_killed_in_a_range_goes_on_with_it(
    long_source: Workspace, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    with _in_range(monkeypatch, number, _kill), pytest.raises(_KilledError):
        long_source.run()
    assert (
        describe_run(long_source.home, "letters/k")["waiting_for"]
        == f"preparing: {number} of {_RANGES} ranges"
    )
    long_source.run()
    _assert_each_row_once(long_source)


def test_a_range_of_which_only_the_ledger_does_not_know_is_taken_as_it_is(
    long_source: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch, pytest.raises(_KilledError):
        patch.setattr(preparation, "_add", lambda *_: _kill())
        long_source.run()
    long_source.run()
    _assert_each_row_once(long_source)


@pytest.mark.slow
def test_a_ledger_lost_between_ranges_is_made_anew_and_nobody_pays_twice(
    long_source: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(_KilledError):
        _posted_in_range(long_source, monkeypatch, 2, _kill)
    lose(long_source.folder / "home")
    long_source.run()
    _assert_each_row_once(long_source)


def test_a_source_replaced_between_ranges_stops_the_run_until_somebody_decides(
    long_source: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replace() -> None:
        long_source.source(_ROWS, text=["another"] * _ROWS, more=[1] * _ROWS)

    with pytest.raises(
        ConfigError, match="has changed, and 2 of 4 ranges of it are prepared; put it back, or --snapshot"
    ):
        _posted_in_range(long_source, monkeypatch, 2, replace)
    with pytest.raises(ConfigError, match="put it back, or --snapshot"):
        long_source.run()
    receipt = long_source.run(snapshot=True)
    _assert_each_row_once(long_source, 12)
    assert receipt["ranges_left_out"] == 2


@pytest.mark.slow
def test_a_source_replaced_before_anything_is_prepared_is_read_anew(
    long_source: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _in_range(monkeypatch, 0, _kill), pytest.raises(_KilledError):
        long_source.run()
    long_source.source(12)
    long_source.run()
    _assert_each_row_once(long_source, 12)


def test_nothing_is_published_while_a_range_is_missing(
    long_source: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks import enrich

    monkeypatch.setattr(enrich, "advance_while_preparing", lambda *_: None)
    with pytest.raises(IntegrityError, match="4 of 4 ranges are not prepared, so nothing is published"):
        long_source.run()
    assert not (long_source.folder / "out").exists()


@pytest.mark.slow
def test_limits_that_change_between_starts_move_no_border(
    long_source: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with _in_range(monkeypatch, 2, _kill), pytest.raises(_KilledError):
        long_source.run()
    long_source.change("limits.max_requests", 4)
    long_source.run()
    assert long_source.column("id") == [f"t-{n}" for n in range(_ROWS)]
    assert [chunk.rows for chunk in long_source.ledger.chunks(long_source.run_id)] == [3, 3, 3, 3, 4, 2, 4, 2]
