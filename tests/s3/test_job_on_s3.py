"""The whole job on S3: source, run folder and output there, killed and resumed, read and cleaned up."""

from __future__ import annotations

import datetime
import io
import json
import os
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from configs.errors import InputError
from configs.home import Home
from configs.job import Source
from rigs.command_line import nightmail
from rigs.console import client_of, console_over
from rigs.interrupted import stopped_after_submitting
from rigs.ledger_files import lose
from rigs.s3 import S3Prefix, S3Workspace
from rigs.workspace import Workspace
from tasks.maintenance.cleanup import clean
from tasks.stages.read import open_dataset, source_fingerprint
from tasks.stages.read.discover import discover
from tasks.storage.urls import filesystem_of


@pytest.fixture
def far(workspace: Workspace, s3: S3Prefix, monkeypatch: pytest.MonkeyPatch) -> S3Workspace:
    """A job with everything on S3: three files in folders by region."""
    far = S3Workspace(workspace.folder, workspace.service)
    monkeypatch.setenv("NIGHTMAIL_RUNS_URL", f"{s3.url}/runs")
    for number, region in enumerate(("east", "north", "west")):
        rows = {"id": [f"{region}-{n}" for n in range(10)], "text": [f"word {number}{n}" for n in range(10)]}
        put_table(s3, f"in/region={region}/rows.parquet", rows)
    far.change("source.path", f"{s3.url}/in/")
    far.change("limits.max_requests", 8)
    far.change("output.path", f"{s3.url}/out")
    far.s3 = s3
    return far


def put_table(s3: S3Prefix, name: str, rows: dict[str, list[Any]]) -> None:
    file = io.BytesIO()
    pq.write_table(pa.table(rows), file)
    s3.fs.pipe_file(f"{s3.url}/{name}", file.getvalue())


def published(workspace: Workspace) -> pa.Table:
    """The rows as a reader gets them who follows the receipt of a folder, or reads the file."""
    fs, path = filesystem_of(workspace.tree["output"]["path"])
    if path.endswith(".parquet"):
        return pq.read_table(io.BytesIO(fs.cat_file(path)))
    run = json.loads(fs.cat_file(f"{path}/_receipt.json"))["run"]
    names = sorted(name for name in fs.find(path) if name.endswith(f"-{run}.parquet"))
    return pa.concat_tables(pq.read_table(io.BytesIO(fs.cat_file(name))) for name in names)


@pytest.mark.parametrize("output", ["out", "out/all.parquet"])
def test_every_row_comes_out_once_in_source_order_with_its_answer(
    far: S3Workspace, output: str, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    far.change("output.path", f"{far.s3.url}/{output}")
    receipt = far.run()
    assert receipt["rows"] == {"total": 30, "succeeded": 30}
    rows = published(far)
    assert rows["id"].to_pylist() == [f"{at}-{n}" for at in ("east", "north", "west") for n in range(10)]
    assert rows["region"].to_pylist() == [at for at in ("east", "north", "west") for _ in range(10)]
    assert all(f"word {n // 10}{n % 10}" in text for n, text in enumerate(rows["llm_answer"].to_pylist()))
    capfdbinary.readouterr()
    assert nightmail("rows", "letters/k") == 0
    printed = [json.loads(line) for line in capfdbinary.readouterr().out.split(b"\n") if line]
    assert [row["id"] for row in printed] == rows["id"].to_pylist()
    assert receipt["run_folder"] == f"{far.s3.url}/runs/letters/k"
    assert "runs/letters/k/receipt.json" in far.s3.names()
    assert far.s3.unfinished() == []
    assert sorted(path.name for path in (far.folder / "home").iterdir() if path.name != "local-batch") == [
        name
        for name in ("ledger.db", "ledger.db-shm", "ledger.db-wal")
        if (far.folder / "home" / name).exists()
    ]


def test_rows_without_an_answer_are_posted_again_from_the_run_folder(far: S3Workspace) -> None:
    far.faults("row_error:500:east-1*1/1,row_error:500:west-2*3/1")
    receipt = far.run()
    assert receipt["rows"] == {"total": 30, "succeeded": 30}
    assert receipt["batches"]["follow_ups"] == 2
    assert set(published(far)["llm_status"].to_pylist()) == {"succeeded"}


def test_a_run_goes_on_from_its_run_folder_although_its_ledger_is_gone(
    far: S3Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped_after_submitting(far, monkeypatch)
    run_id, paid = far.run_id, far.paid()
    lose(far.home.folder)
    assert far.run()["rows"] == {"total": 30, "succeeded": 30}
    assert (far.run_id, far.paid()) == (run_id, paid)


@pytest.mark.slow
def test_a_second_night_takes_its_answers_from_the_run_folder_of_the_first(far: S3Workspace) -> None:
    far.change("reuse", True)
    far.run(key="first")
    answers = published(far).select(["id", "llm_answer"])
    rows = {"id": [f"west-{n}" for n in range(11)], "text": [f"word 2{n}" for n in range(11)]}
    put_table(far.s3, "in/region=west/rows.parquet", rows)
    assert far.run(dry_run=True)["reuse"]["rows"] == 30
    receipt = far.run()
    assert receipt["rows"] == {"total": 31, "succeeded": 1, "reused": 30}
    assert sum(batch.requests for batch in far.batches()) == 1
    assert published(far).select(["id", "llm_answer"]).slice(0, 30) == answers
    indexes = [name for name in far.s3.names("runs") if name.endswith("reuse.index")]
    record = far.ledger.reuse_index("letters")
    assert record is not None
    assert indexes == [f"runs/{record.path}"]
    far.s3.fs.rm(f"{far.s3.url}/runs/{record.path}")
    assert far.run(key="third")["rows"] == {"total": 31, "reused": 31}
    assert far.s3.unfinished() == []


def test_the_console_shows_rows_and_gives_out_the_files_of_a_batch(far: S3Workspace) -> None:
    far.run()
    client = client_of(console_over(Home.from_environment(os.environ), far.job_file))
    assert "word 00" in client.get(f"/runs/{far.run_id}/rows").text
    for file, name in (("requests", "requests-1.jsonl"), ("results-0", "results-1-0.jsonl")):
        answer = client.get(f"/batches/{far.run_id}/1/1/{file}")
        assert answer.content == far.s3.fs.cat_file(f"{far.s3.url}/runs/letters/k/chunks/00001/{name}")


@pytest.mark.parametrize("output", ["out", "out/all.parquet"])
def test_pictures_lie_beside_the_rows(far: S3Workspace, output: str) -> None:
    far.change("output.path", f"{far.s3.url}/{output}")
    far.change("prompt.endpoint", "/v1/images/generations")
    far.run()
    base = f"{far.s3.url}/out/"
    pictures = [far.s3.fs.cat_file(base + path) for path in published(far)["llm_answer"].to_pylist()]
    assert len(set(pictures)) == 30
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert far.s3.unfinished() == []


@pytest.mark.slow
@pytest.mark.slow
@pytest.mark.parametrize("point", ["commit 1", "commit 3", "receipt", "deletion"])
def test_killed_in_the_middle_of_publishing_the_same_command_finishes_and_pays_nothing_more(
    far: S3Workspace, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import S3File

    class Killed(BaseException):
        pass

    far.run(key="earlier")
    before = published(far)["id"].to_pylist()
    fs = filesystem_of(far.s3.url)[0]
    commits = 0
    commit, put, delete = S3File.commit, fs.pipe_file, fs.rm

    def dying_commit(self: Any) -> None:
        nonlocal commits
        if not self.autocommit:  # a part of the output
            commits += 1
            if point == f"commit {commits}":
                raise Killed
        commit(self)

    def dying_put(path: str, *args: Any, **kwargs: Any) -> Any:
        if point == "receipt" and path.endswith("/_receipt.json"):
            raise Killed
        return put(path, *args, **kwargs)

    def dying_delete(path: Any, *args: Any, **kwargs: Any) -> Any:
        if point == "deletion" and isinstance(path, list):
            raise Killed
        return delete(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(S3File, "commit", dying_commit)
        patch.setattr(S3File, "discard", lambda self: None)
        patch.setattr(fs, "pipe_file", dying_put)
        patch.setattr(fs, "rm", dying_delete)
        with pytest.raises(Killed):
            far.run()
    assert published(far)["id"].to_pylist() == before
    paid = far.paid()
    assert far.run()["rows"] == {"total": 30, "succeeded": 30}
    assert far.paid() == paid == dict.fromkeys(("1/1", "2/1", "3/1", "4/1"), 1)
    run = far.ledger.latest_run("letters", "k").id
    left = {name for name in far.s3.names("out/") if f"-{run}." not in name}
    assert left == {"out/_receipt.json", "out/_report.html"}
    assert far.s3.unfinished() == []


def test_clean_removes_an_old_run_folder_once_and_never_the_output(far: S3Workspace) -> None:
    far.change("run.keep", "1d")
    far.run()
    far.run(redo=True)

    class Later:
        def now(self) -> datetime.datetime:
            return datetime.datetime.now(datetime.UTC) + datetime.timedelta(days=2)

    output = far.s3.names("out/")

    def look(*, remove: bool) -> list[str]:
        from configs.home import Home

        found = clean(Home.from_environment(os.environ), os.environ, Later(), remove=remove)
        assert found.complete
        return [f"{item.kind} {item.id} at {item.where}" for item in found.leftovers]

    there = [f"folder letters/{name} at {far.s3.url}/runs/letters/{name}" for name in ("k", "k@2")]
    assert sorted(look(remove=False)) == there
    assert far.s3.names("runs/")
    assert sorted(look(remove=True)) == there
    assert far.s3.names("runs/") == []
    assert look(remove=False) == look(remove=True) == []
    assert far.s3.names("out/") == output


def test_new_and_changed_files_are_seen_at_once(s3: S3Prefix) -> None:
    source = Source(path=f"{s3.url}/in/*.parquet")
    with pytest.raises(InputError, match=r"no such file or folder|matches no file"):
        open_dataset(source)
    seen = set()
    for names in (["a"], ["b"], ["b"]):
        for name in names:
            put_table(s3, f"in/{name}.parquet", {"n": [len(seen)]})
        seen.add(source_fingerprint(source))
    assert len(seen) == 3
    assert [row for batch in open_dataset(source).batches() for row in batch["n"].to_pylist()] == [0, 2]


@pytest.mark.slow
def test_more_files_than_one_listing_names(s3_at: Callable[[str], S3Prefix]) -> None:
    s3 = s3_at("rclone")  # takes a thousand objects in a few seconds
    s3.fs.pipe({f"{s3.url}/in/day={n % 3}/{n:05d}.csv": b"n\n%d\n" % n for n in range(1_203)})
    found = [
        len(discover(Source(path=f"{s3.url}/{path}"))[1]) for path in ("in", "in/", "in/*/*.csv", "in/day=*")
    ]
    assert found == [1_203] * 4


def test_marks_that_consoles_leave_as_folders_are_no_files(s3: S3Prefix) -> None:
    put_table(s3, "in/day=1/rows.parquet", {"n": [1]})
    bucket, _, prefix = s3.url.removeprefix("s3://").partition("/")
    for name in ("in/", "in/day=1/"):
        s3.fs.call_s3("put_object", Bucket=bucket, Key=f"{prefix}/{name}", Body=b"")
    assert [f.path for f in open_dataset(Source(path=f"{s3.url}/in")).fragments] == [
        f"{bucket}/{prefix}/in/day=1/rows.parquet"
    ]


def test_a_text_file_is_read_in_blocks_and_not_whole(s3: S3Prefix, monkeypatch: pytest.MonkeyPatch) -> None:
    from s3fs import core

    line = b"x" * 99 + b"\n"
    s3.fs.pipe_file(f"{s3.url}/rows.csv", b"text\n" + line * 200_000)  # 20 MB
    sizes: list[int] = []
    fetch = core._fetch_range

    def counted(*args: Any, **kwargs: Any) -> bytes:
        found: bytes = fetch(*args, **kwargs)
        sizes.append(len(found))
        return found

    monkeypatch.setattr(core, "_fetch_range", counted)
    dataset = open_dataset(Source(path=f"{s3.url}/rows.csv"))
    sizes.clear()
    assert sum(batch.num_rows for batch in dataset.batches()) == 200_000
    assert len(sizes) <= 4
    assert max(sizes) <= 10 << 20
    assert sum(sizes) == 20_000_005
