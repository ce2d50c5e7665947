"""Several chunks on their way at once: what one meets counts for the others."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from configs.errors import LeaseLost, TerminalError, TransientError
from configs.progress import SilentReporter
from fakes.loopback import Call, Reply
from fakes.openai_fake import OpenAIFake
from fakes.unpaid import REFUSED
from rigs.opened_run import opened
from rigs.workspace import Workspace
from tasks import advance as module
from tasks.advance import advance
from tasks.execution.engine import Engine
from tasks.ledger.records import ChunkRecord
from tasks.ledger.transitions import ChunkState, Step
from tasks.orchestration.side_by_side import side_by_side
from tasks.runs.session import Run

LONG = 60.0  # seconds: whoever waits for so long waits for ever


class Holding(OpenAIFake):
    """Before it answers an upload, it calls `before_upload` with how many have come."""

    def forget(self) -> None:
        super().forget()
        self.before_upload: Callable[[int], object] = lambda _: None
        self.uploads = 0
        self._counting = threading.Lock()

    def answer(self, call: Call) -> Reply | None:
        if call.method == "POST" and call.path.endswith("/files"):
            with self._counting:
                self.uploads += 1
                number = self.uploads
            self.before_upload(number)
        return super().answer(call)


@pytest.fixture
def fake() -> Iterator[Holding]:
    """A provider whose batches end when they are looked at."""
    made = Holding()
    made.hold = False
    yield made
    made.close()


@pytest.fixture
def two_chunks(workspace: Workspace, fake: Holding) -> Workspace:
    """A job of two chunks at that provider."""
    workspace.change("provider.base_url", fake.url)
    workspace.change("limits.max_requests", 5)
    workspace.change("execution.transfers", 4)
    return workspace


def calls(fake: Holding) -> list[str]:
    return [call.path.rpartition("/")[2] for call in fake.calls if call.method == "POST"]


def until(so: Callable[[], bool]) -> None:
    """Return when it is so."""
    deadline = time.monotonic() + LONG
    while not so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_two_uploads_are_under_way_at_once(two_chunks: Workspace, fake: Holding) -> None:
    both = threading.Barrier(2)
    fake.before_upload = lambda _: both.wait(LONG)  # neither is answered before the other has come
    assert two_chunks.run()["rows"] == {"total": 10, "succeeded": 10}
    assert two_chunks.column("id") == [f"t-{n}" for n in range(10)]
    assert sorted(calls(fake)) == ["batches", "batches", "files", "files"]


def test_with_one_transfer_chunks_are_posted_one_after_the_other(
    two_chunks: Workspace, fake: Holding
) -> None:
    two_chunks.change("execution.transfers", 1)
    two_chunks.run()
    assert calls(fake) == ["files", "batches", "files", "batches"]


@pytest.mark.parametrize("how", ["the account cannot pay", "refused for good"])
def test_what_is_uploaded_meanwhile_is_not_posted_when_a_chunk_is_refused(
    two_chunks: Workspace, fake: Holding, how: str
) -> None:
    status, body = REFUSED["openai"]["insufficient_quota"] if "pay" in how else (400, None)
    fake.fault("create", f"status:{status}", body=body)
    with opened(two_chunks) as run:

        def hold_the_second(number: int) -> None:
            if number == 2:
                until(lambda: run.paused_until is not None or not run.posts)

        fake.before_upload = hold_the_second
        if "pay" in how:
            advance(run, SilentReporter())
        else:
            with pytest.raises(TerminalError, match="HTTP 400"):
                advance(run, SilentReporter())
        assert sorted(calls(fake)) == ["batches", "files", "files"]
        assert {chunk.state for chunk in run.ledger.chunks()} == {ChunkState.UPLOADED}
        run.end_pause("a person said so")
        fake.before_upload = lambda _: None
        advance(run, SilentReporter())
        assert sorted(calls(fake)) == ["batches", "batches", "batches", "files", "files"]


def test_when_the_lease_is_lost_nothing_more_is_sent(
    two_chunks: Workspace, fake: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    uploading, stopped = threading.Event(), threading.Event()
    submit = module._STEPS[Step.SUBMIT]

    def lose_the_lease(run: Run, chunk: ChunkRecord) -> ChunkRecord:
        if chunk.number == 1:
            return submit(run, chunk)
        assert uploading.wait(LONG)
        raise LeaseLost("taken over")

    def hold(_: int) -> None:
        uploading.set()
        assert stopped.wait(LONG)

    monkeypatch.setitem(module._STEPS, Step.SUBMIT, lose_the_lease)
    fake.before_upload = hold
    with opened(two_chunks) as run:
        end_effects = run.end_effects

        def stop() -> None:
            end_effects()
            stopped.set()

        monkeypatch.setattr(run, "end_effects", stop)
        with pytest.raises(LeaseLost, match="taken over"):
            advance(run, SilentReporter())
        assert calls(fake) == ["files"]


def test_chunks_are_merged_one_at_a_time(
    two_chunks: Workspace, fake: Holding, monkeypatch: pytest.MonkeyPatch
) -> None:
    merging, most = list[int](), list[int]()
    merge = module._STEPS[Step.MERGE]

    def counting(run: Run, chunk: ChunkRecord) -> ChunkRecord:
        merging.append(chunk.number)
        most.append(len(merging))
        merged = merge(run, chunk)
        merging.remove(chunk.number)
        return merged

    monkeypatch.setitem(module._STEPS, Step.MERGE, counting)
    two_chunks.run()
    assert most == [1, 1]


def test_writers_in_many_threads_wait_for_each_other(two_chunks: Workspace) -> None:
    with opened(two_chunks) as run:

        def write(number: int) -> None:
            for turn in range(5):
                run.ledger.note("look", f"{number} {turn}")
                run.ledger.chunks()

        side_by_side(write, range(32), 32, lambda: None)
    looks = [event for event in two_chunks.ledger.history(two_chunks.run_id) if event.kind == "look"]
    assert len(looks) == 32 * 5


def test_chunks_wait_for_a_cluster_that_is_away_when_they_are_to_be_merged(
    two_chunks: Workspace, fast_faults: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine_for, away = Run.engine_for, iter(range(3))

    def away_for_a_while(run: Run, rows: int | None = None) -> Engine:
        is_merging = any(chunk.state is ChunkState.COLLECTED for chunk in run.ledger.chunks())
        if is_merging and next(away, None) is not None:
            raise TransientError("Dask at tcp://10.0.0.5:8786: the scheduler cannot be reached")
        return engine_for(run, rows)

    monkeypatch.setattr(Run, "engine_for", away_for_a_while)
    assert two_chunks.run()["rows"] == {"total": 10, "succeeded": 10}
    assert next(away, None) is None
