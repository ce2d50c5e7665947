"""`nightmail rows`: the rows of a run, or those of a status, for other programs."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Callable
from typing import Any

import pytest

from rigs.command_line import nightmail, started
from rigs.interrupted import Stop
from rigs.workspace import Workspace
from tasks.ledger.transitions import ChunkState, Step

Printed = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def printed(capfdbinary: pytest.CaptureFixture[bytes]) -> Printed:
    """The rows that the command prints, when it ends with that code."""

    def run(*words: str, code: int = 0) -> list[dict[str, Any]]:
        assert nightmail("rows", *words) == code
        lines = capfdbinary.readouterr().out.split(b"\n")
        return [json.loads(line) for line in lines if line]

    return run


@pytest.mark.parametrize("output", ["out/letters", "out/letters.parquet"])
def test_rows_of_the_named_statuses_are_printed_in_source_order(
    workspace: Workspace, printed: Printed, capfdbinary: pytest.CaptureFixture[bytes], output: str
) -> None:
    workspace.change("output.path", output)
    workspace.change("limits.max_requests", 4)
    workspace.faults("row_error:400:t-8|t-3,row_missing:t-5*9")
    workspace.run()
    whole = printed("letters/k")
    assert [*whole[0]] == workspace.out.column_names
    assert [row["id"] for row in whole] == workspace.column("id")
    failed = printed("letters/k", "--status", "failed")
    assert failed == [row for row in whole if row["id"] in ("t-3", "t-8")]
    assert all(row["llm_error_code"] and row["llm_error_message"] for row in failed)
    several = printed(workspace.run_id, "--status", "failed", "--status", "succeeded")
    assert len(several) == len(whole)
    assert nightmail("rows", "letters/k", "--status", "failed", "--csv") == 0
    text = capfdbinary.readouterr().out.decode()
    as_text = [*csv.DictReader(io.StringIO(text, newline=""))]
    assert text.split("\n")[0].split(",") == workspace.out.column_names
    assert [(row["id"], row["text"], row["llm_status"], row["llm_error_message"]) for row in as_text] == [
        (row["id"], row["text"], "failed", row["llm_error_message"]) for row in failed
    ]
    assert nightmail("rows", "letters/k", "--status", "refused", "--csv") == 0
    assert capfdbinary.readouterr().out.decode() == text.split("\n")[0] + "\n"


def test_rows_of_a_run_whose_output_was_replaced_come_from_its_folder(
    workspace: Workspace, printed: Printed, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    workspace.run(key="first")
    before = printed("letters/first")
    workspace.source(3)
    workspace.run(key="second")
    assert printed("letters/first") == before
    assert len(printed("letters/second")) == 3
    shutil.rmtree(workspace.home.folder / "runs/letters/first")
    assert nightmail("rows", "letters/first") == 2
    said = capfdbinary.readouterr().err.decode()
    assert said.startswith("nightmail: letters first: ")
    assert said.count("\n") == 1
    assert str(workspace.folder / "out/letters") in said
    shutil.rmtree(workspace.home.folder / "runs/letters/second")
    assert len(printed("letters/second")) == 3


def test_of_a_run_under_way_the_merged_rows_are_printed_and_a_line_says_so(
    workspace: Workspace, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace.change("limits.max_requests", 4)
    stopped_at_the_second_merge(workspace, monkeypatch)
    assert nightmail("rows", "letters/k") == 3
    out, err = capfdbinary.readouterr()
    (merged,) = [c for c in workspace.ledger.chunks(workspace.run_id) if c.state is ChunkState.MERGED]
    ids = [f"t-{row}" for row in range(merged.first_row, merged.first_row + merged.rows)]
    assert [json.loads(line)["id"] for line in out.split(b"\n") if line] == ids
    assert err == b"nightmail: letters k is running: these are the rows merged so far, 1 of 3 chunks\n"


def stopped_at_the_second_merge(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks import advance

    merge, merged = advance._STEPS[Step.MERGE], []

    def stop(*given: Any) -> Any:
        if merged:
            raise Stop
        merged.append(given)
        return merge(*given)

    with monkeypatch.context() as patched:
        patched.setitem(advance._STEPS, Step.MERGE, stop)
        with pytest.raises(Stop):
            workspace.run()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("letters/nobody",), "letters/nobody: no such run"),
        (("letters/k", "--status", "bad"), "succeeded"),
        ((), "RUN is missing"),
    ],
)
def test_what_it_cannot_show_is_one_line_with_the_next_step(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    assert nightmail("rows", *words) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


@pytest.mark.slow
def test_a_reader_that_stops_early_is_no_error(workspace: Workspace) -> None:
    workspace.source(20_000, note=["x" * 200] * 20_000)
    workspace.run()
    process = started(workspace, "rows", "letters/k", "--csv")
    assert process.stdout is not None
    assert process.stdout.readline().startswith("id,text,note,llm_answer")
    process.stdout.close()
    assert process.wait(120) == 0
    assert process.stderr is not None
    assert process.stderr.read() == ""
