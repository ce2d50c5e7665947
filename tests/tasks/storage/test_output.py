"""The published dataset: whole or not there, and nobody else's."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from configs.errors import ConfigError, LeaseLost, StorageError
from rigs.s3 import S3Prefix
from tasks.storage import atomic
from tasks.storage.output import EnrichedOutput
from tasks.storage.urls import filesystem_of


def part(*values: int) -> Any:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"n": pa.array(values, pa.int64())}), buffer)
    return lambda: io.BytesIO(buffer.getvalue())


def content(run: str, report: str | None) -> dict[str, Any]:
    return {"job": "letters", "rows": {"total": 3}, "run": run, "report": report}


def receipt(run: str) -> Callable[[str | None], bytes]:
    """The receipt of that run, made when it is known where the report is."""
    return lambda report: json.dumps(content(run, report)).encode()


def publish(path: str, run: str, *parts: Any, guard: Callable[[], None] = lambda: None) -> None:
    EnrichedOutput(path, "letters", run, guard).publish(parts, receipt(run))


def lost() -> None:
    raise LeaseLost("gone")


RCLONE = pytest.param("rclone", marks=pytest.mark.slow)


@pytest.fixture(params=["disk", "seaweedfs", RCLONE])
def place(request: pytest.FixtureRequest, tmp_path: Path, s3_at: Callable[[str], S3Prefix]) -> str:
    if request.param == "disk":
        return str(tmp_path / "deep" / "out")
    return str(s3_at(request.param).url) + "/deep/out"


@pytest.fixture(params=["seaweedfs", RCLONE])
def store(request: pytest.FixtureRequest, s3_at: Callable[[str], S3Prefix]) -> S3Prefix:
    return s3_at(request.param)


def numbers(path: str) -> list[int]:
    fs, where = filesystem_of(path)
    names = (
        [where] if where.endswith(".parquet") else sorted(n for n in fs.find(where) if n.endswith(".parquet"))
    )
    found: list[int] = []
    for name in names:
        with fs.open(name, "rb") as file:
            found += pq.read_table(file)["n"].to_pylist()
    return found


@pytest.mark.parametrize("name", ["", "/all.parquet"])
def test_parts_appear_in_order_with_the_receipt(place: str, name: str) -> None:
    publish(place + name, "r1", part(1, 2), part(3))
    assert numbers(place + name) == [1, 2, 3]
    fs, where = filesystem_of(place)
    written = f"{where}/all.receipt.json" if name else f"{where}/_receipt.json"
    assert json.loads(fs.cat_file(written)) == content("r1", None)


@pytest.mark.parametrize(("name", "page"), [("", "/_report.html"), ("/all.parquet", "/all.report.html")])
def test_the_report_lies_beside_them_until_the_next_run(place: str, name: str, page: str) -> None:
    fs, where = filesystem_of(place)
    report = EnrichedOutput(place + name, "letters", "r1").publish([part(1)], receipt("r1"), b"<p>one")
    assert report == place + page
    assert fs.cat_file(where + page) == b"<p>one"
    EnrichedOutput(place + name, "letters", "r2").publish([part(2)], receipt("r2"), b"<p>two")
    assert fs.cat_file(where + page) == b"<p>two"
    assert EnrichedOutput(place + name, "letters", "r3").publish([part(3)], receipt("r3")) is None
    assert not fs.exists(where + page)
    assert numbers(place + name) == [3]


@pytest.mark.parametrize(("name", "page"), [("", "/_report.html"), ("/all.parquet", "/all.report.html")])
def test_a_browser_shows_the_report_from_the_store(store: S3Prefix, name: str, page: str) -> None:
    path = f"{store.url}/out"
    EnrichedOutput(path + name, "letters", "r1").publish([part(1)], receipt("r1"), b"<p>")
    assert store.fs.info(path + page)["ContentType"] == "text/html; charset=utf-8"


@pytest.mark.parametrize("name", ["out", "out.parquet"])
def test_a_report_without_room_keeps_the_rows_from_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    def full(path: Path, *args: Any, **options: Any) -> Any:
        file = open(path, *args, **options)  # noqa: PTH123, SIM115
        if "report" in path.name:
            file.close()
            raise OSError(28, "No space left on device")
        return file

    monkeypatch.setattr(atomic, "open", full, raising=False)
    report = EnrichedOutput(str(tmp_path / name), "letters", "r1").publish([part(1)], receipt("r1"), b"<p>")
    assert report is None
    assert numbers(str(tmp_path / name)) == [1]
    assert not list(tmp_path.rglob("*report*"))


@pytest.mark.parametrize("name", ["", "/all.parquet"])
def test_publishing_again_replaces_everything(place: str, name: str) -> None:
    publish(place + name, "r1", part(1), part(2), part(3))
    publish(place + name, "r2", part(4))
    assert numbers(place + name) == [4]
    publish(place + name, "r2", part(4))
    assert numbers(place + name) == [4]


@pytest.mark.parametrize("name", ["", "/all.parquet"])
def test_files_that_rows_point_to_are_replaced_with_the_rows(place: str, name: str) -> None:
    fs, where = filesystem_of(place)
    for run, files in (("r1", {"00001/a-1.png": b"1", "00001/b-1.png": b"2"}), ("r2", {"00001/a-1.png": b"3"}),
                       ("r2", {"00001/a-1.png": b"3"}), ("r3", {})):  # fmt: skip
        output = EnrichedOutput(place + name, "letters", run)
        opened = ((each, partial(io.BytesIO, data)) for each, data in files.items())
        output.publish([part(1)], receipt(run), assets=opened)
        there = {
            path.removeprefix(f"{where}/"): fs.cat_file(path)
            for path in fs.find(where)
            if path.endswith(".png")
        }
        assert there == {f"{output.assets}/{each}": data for each, data in files.items()}
        assert numbers(place + name) == [1]
        output.check_owner()


@pytest.mark.parametrize(("name", "ours"), [("", "/_{}-r1.jsonl"), ("/all.parquet", "/all.{}.jsonl")])
def test_result_lines_lie_beside_them_until_the_next_run(place: str, name: str, ours: str) -> None:
    output = EnrichedOutput(place + name, "letters", "r1")
    lines = [("output", partial(io.BytesIO, b"{}\n")), ("error", partial(io.BytesIO, b""))]
    told = {**content("r1", None), "result_lines": [output.lines(kind) for kind, _ in lines]}
    output.publish([part(1)], lambda _: json.dumps(told).encode(), lines=lines)
    paths = [place + ours.format(kind) for kind in ("output", "error")]
    assert told["result_lines"] == paths
    fs, _ = filesystem_of(place)
    assert [fs.cat_file(filesystem_of(path)[1]) for path in paths] == [b"{}\n", b""]
    publish(place + name, "r2", part(2))
    assert numbers(place + name) == [2]
    assert [fs.exists(filesystem_of(path)[1]) for path in paths] == [False, False]


def test_a_folder_that_happens_to_have_the_name_keeps_what_is_in_it(tmp_path: Path) -> None:
    mine = tmp_path / "all.assets" / "mine.txt"
    mine.parent.mkdir()
    mine.write_text("mine")
    for run in ("r1", "..", "r2"):
        EnrichedOutput(str(tmp_path / "all.parquet"), "letters", run).publish([part(1)], receipt(run))
    assert mine.read_text() == "mine"


def test_part_names_tell_runs_apart_so_that_no_reader_mixes_two(tmp_path: Path) -> None:
    EnrichedOutput(str(tmp_path / "out"), "letters", "r1").publish([part(1)], receipt("r1"))
    first = {path.name for path in (tmp_path / "out").glob("*.parquet")}
    EnrichedOutput(str(tmp_path / "out"), "letters", "r2").publish([part(1)], receipt("r2"))
    assert first.isdisjoint(path.name for path in (tmp_path / "out").glob("*.parquet"))


@pytest.mark.parametrize("name", ["", ".parquet"])
@pytest.mark.parametrize("fails", ["in the middle", "when it lost the run"])
def test_a_publication_that_fails_leaves_the_old_one(place: str, name: str, fails: str) -> None:
    path = place + name
    publish(path, "r1", part(1))
    with pytest.raises(LeaseLost):
        if fails == "in the middle":
            publish(path, "r2", part(2), lost)
        else:
            publish(path, "r2", part(2), part(3), guard=lost)
    assert numbers(path) == [1]
    EnrichedOutput(path, "letters", "r2").check_owner()
    publish(path, "r2", part(2))
    assert numbers(path) == [2]


def test_no_temporary_file_is_left_beside_the_output(tmp_path: Path) -> None:
    for name in ("out", "out.parquet"):
        with pytest.raises(LeaseLost):
            publish(str(tmp_path / name), "r2", part(2), lost)
        publish(str(tmp_path / name), "r2", part(2))
    assert not [p for p in tmp_path.iterdir() if p.name.startswith(".")]


class Killed(BaseException):
    """kill -9, as far as one process can feel it: nothing is tidied up after it."""


def die_at(monkeypatch: pytest.MonkeyPatch, path: str, point: str) -> None:
    """Let the next publication on S3 end at that request, and leave its uploads as they are."""
    from s3fs import S3File

    fs = filesystem_of(path)[0]  # the one that everybody in this process gets
    seen = {"number": 0}

    def dying(name: str, real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            seen["number"] += name == point.partition(" ")[0]
            if f"{name} {seen['number']}" == point:
                raise Killed
            return real(*args, **kwargs)

        return call

    for owner, name in ((S3File, "commit"), (fs, "pipe_file"), (fs, "rm")):
        monkeypatch.setattr(owner, name, dying(name, getattr(owner, name)))
    monkeypatch.setattr(S3File, "discard", lambda self: None)


def follow(path: str) -> list[int]:
    """What a reader who follows the receipt sees; nothing where there is no receipt."""
    fs, where = filesystem_of(path)
    if not fs.exists(f"{where}/_receipt.json"):
        return []
    run = json.loads(fs.cat_file(f"{where}/_receipt.json"))["run"]
    found: list[int] = []
    for name in sorted(name for name in fs.ls(where, detail=False) if name.endswith(f"-{run}.parquet")):
        found += pq.read_table(io.BytesIO(fs.cat_file(name)))["n"].to_pylist()
    return found


@pytest.mark.parametrize("old", [[1, 1], []])
@pytest.mark.parametrize("point", ["pipe_file 1", "commit 1", "commit 2", "pipe_file 2", "rm 1", "never"])
def test_killed_anywhere_a_reader_of_the_receipt_sees_one_run_whole_and_the_next_try_finishes(
    store: S3Prefix, point: str, old: list[int]
) -> None:
    path = f"{store.url}/out"
    if old:
        publish(path, "r1", *(part(number) for number in old))
    new = [part(2), part(3), part(4)]
    with pytest.MonkeyPatch.context() as patch:
        die_at(patch, path, point)
        try:
            publish(path, "r2", *new)
            died = False
        except Killed:
            died = True
    assert died or point in ("never", "pipe_file 2")  # the second one only marks a folder that is new
    switched = not died or point == "rm 1"
    assert follow(path) == ([2, 3, 4] if switched else old)
    EnrichedOutput(path, "letters", "r3").check_owner()
    if store.names("out/"):
        with pytest.raises(ConfigError, match="belongs to the job 'letters'"):
            EnrichedOutput(path, "other").check_owner()
    publish(path, "r2", *new)
    assert (numbers(path), follow(path)) == ([2, 3, 4], [2, 3, 4])
    assert store.unfinished() == []
    parts = [name for name in store.names("out/") if name.endswith(".parquet")]
    assert sorted({*store.names("out/")} - {*parts}) == ["out/_receipt.json"]


def with_picture(path: str, run: str, *parts: Any) -> None:
    """Publish with a file that the rows point to."""
    assets = [("00001/a-1.png", partial(io.BytesIO, run.encode()))]
    EnrichedOutput(path, "letters", run).publish(parts, receipt(run), b"<p>", assets)


def files(path: str) -> dict[str, bytes]:
    """What lies in a folder and below it."""
    fs, where = filesystem_of(path)
    return {name.removeprefix(f"{where}/"): fs.cat_file(name) for name in fs.find(where)}


def put_theirs(path: str) -> dict[str, bytes]:
    """Put into a job's folder what is not its own: files, and the output of another job; all of that."""
    fs, where = filesystem_of(path)
    names = (
        "deep/part-00001-r1.parquet",
        "mine.txt",
        "part-of-it.parquet",
        "_assets/mine.txt",
        "_assets/r1/00001/x/y",
    )
    for name in names:
        fs.makedirs(f"{where}/{name}".rpartition("/")[0], exist_ok=True)
        fs.pipe_file(f"{where}/{name}", b"x")
    with_picture(f"{path}/deep/other", "r8", part(8))
    there = files(path)
    return {
        name: there[name] for name in (*names, *(name for name in there if name.startswith("deep/other/")))
    }


def test_what_others_put_into_the_folder_is_left_alone(place: str) -> None:
    with_picture(place, "r1", part(1))
    theirs = put_theirs(place)
    assert len(theirs) == 9
    with_picture(place, "r2", part(2))
    assert follow(place) == [2]
    ours = {"_receipt.json", "_report.html", "part-00001-r2.parquet", "_assets/r2/00001/a-1.png"}
    assert {*files(place)} == ours | {*theirs}
    assert theirs.items() < files(place).items()


def die_on_disk_at(monkeypatch: pytest.MonkeyPatch, point: int) -> None:
    """Let the process end right before it changes the disk for that time; nothing that it does later comes through."""
    seen = {"number": 0}

    def dying(real: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            seen["number"] += 1
            if seen["number"] >= point:
                raise Killed
            return real(*args, **kwargs)

        return call

    for name in ("rename", "replace", "unlink", "rmdir", "mkdir", "fsync"):
        monkeypatch.setattr(os, name, dying(getattr(os, name)))


def dies(path: str, run: str, point: int) -> bool:
    """Whether a publication has that many changes of the disk, and was killed at the last of them."""
    with pytest.MonkeyPatch.context() as patch:
        die_on_disk_at(patch, point)
        try:
            with_picture(path, run, part(2), part(3))
        except Killed:
            return True
    return False


@pytest.mark.parametrize(
    ("meanwhile", "then"),
    [
        ("nothing", "the same run"),
        ("nothing", "another run, killed there too"),
        ("the output below is published again", "the same run"),
        ("the output below is published again", "another run, killed there too"),
        ("a file of theirs is back", "another run"),
    ],
)
def test_killed_anywhere_on_a_disk_nothing_of_others_is_lost_and_the_next_try_finishes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, meanwhile: str, then: str
) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)  # what is killed here is a process, not a disk
    for point in count(1):
        path = str(tmp_path / f"{point}" / "out")
        with_picture(path, "r1", part(1), part(1))
        theirs = put_theirs(path)
        died = dies(path, "r2", point)
        assert not died or follow(path) in ([], [1, 1], [2, 3])  # none between two renames, never a half
        assert follow(path) == ours_in(path)
        kept = theirs
        if meanwhile == "a file of theirs is back":
            Path(path).mkdir(exist_ok=True)
            (Path(path) / "mine.txt").write_bytes(b"new")
            kept = {**theirs, "mine.txt": b"new"}
        elif meanwhile != "nothing":
            with_picture(f"{path}/deep/other", "r9", part(9))
            kept = {name: data for name, data in theirs.items() if not name.startswith("deep/other/")}
        EnrichedOutput(path, "letters", "r3").check_owner()
        with pytest.raises(ConfigError, match="belongs to the job 'letters'"):
            EnrichedOutput(path, "stranger").check_owner()
        if then.endswith("killed there too"):
            dies(path, "r3", point)
        with_picture(path, "r2" if then == "the same run" else "r3", part(2), part(3))
        assert kept.items() < files(path).items()
        if meanwhile == "the output below is published again":
            assert numbers(f"{path}/deep/other") == [9]
        assert (follow(path), ours_in(path)) == ([2, 3], [2, 3])
        assert not [found for found in Path(path).parent.iterdir() if found.suffix == ".old"]
        if not died:
            break
    assert point > 15


def ours_in(path: str) -> list[int]:
    """What a reader who takes every part of ours in the folder sees."""
    parts = sorted(Path(path).glob("part-0*.parquet"))
    return [number for found in parts for number in pq.read_table(found)["n"].to_pylist()]


def test_a_folder_made_in_its_place_at_the_wrong_moment_brings_the_old_output_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out"
    publish(str(path), "r1", part(1))
    theirs = put_theirs(str(path))
    real = os.rename

    def racing(source: Any, target: Any) -> None:
        real(source, target)
        if str(target).endswith(".old"):
            (path / "deep" / ".other.r9.new").mkdir(parents=True)

    with monkeypatch.context() as patch, pytest.raises(StorageError, match="every answer is kept"):
        patch.setattr(os, "rename", racing)
        publish(str(path), "r2", part(2))
    assert follow(str(path)) == [1]
    assert theirs.items() < files(str(path)).items()
    publish(str(path), "r2", part(2))
    assert follow(str(path)) == [2]
    assert theirs.items() < files(str(path)).items()


def test_a_folder_in_it_that_cannot_be_moved_is_named_before_anything_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "out")
    publish(path, "r1", part(1))
    theirs = put_theirs(path)
    monkeypatch.setattr(os.path, "ismount", lambda name: Path(name).name == "deep")
    with pytest.raises(StorageError, match="out: the folder deep in it cannot be moved; make room or access"):
        publish(path, "r2", part(2))
    assert follow(path) == [1]
    assert theirs.items() < files(path).items()


def test_a_link_to_the_folder_stays_one(tmp_path: Path) -> None:
    (tmp_path / "disk/real").mkdir(parents=True)
    (tmp_path / "out").symlink_to(tmp_path / "disk/real")
    for run in ("r1", "r2"):
        publish(str(tmp_path / "out"), run, part(1))
    assert (tmp_path / "out").is_symlink()
    assert follow(str(tmp_path / "disk/real")) == [1]
    assert [found.name for found in (tmp_path / "disk").iterdir()] == ["real"]


def test_nothing_is_shown_before_everything_is_uploaded(store: S3Prefix) -> None:
    path = f"{store.url}/out"
    publish(path, "r1", part(1))
    before = store.names("out/")

    def last() -> io.BytesIO:
        assert store.names("out/") == before
        return part(3)()

    publish(path, "r2", part(2), last)
    assert numbers(path) == [2, 3]


def test_of_two_runs_that_publish_at_once_one_is_refused_where_the_store_can_tell(s3: S3Prefix) -> None:
    path = f"{s3.url}/out"
    publish(path, "r1", part(1))

    def meanwhile() -> io.BytesIO:
        publish(path, "r3", part(3))
        return part(2)()

    with pytest.raises(
        StorageError, match=r"letters +\(run r3\) published there at the same time; every answer is kept"
    ):
        publish(path, "r2", meanwhile)
    assert (follow(path), numbers(path)) == ([3], [3])
    publish(path, "r2", part(2))
    assert (follow(path), numbers(path)) == ([2], [2])


@pytest.mark.parametrize("name", ["out", "out.parquet"])
@pytest.mark.parametrize("job", ["letters", "other"])
def test_on_a_disk_the_second_of_two_that_publish_at_once_is_refused_at_once(
    tmp_path: Path, name: str, job: str
) -> None:
    path = str(tmp_path / name)

    def meanwhile() -> io.BytesIO:
        with pytest.raises(
            StorageError,
            match=r"run r2 of the job 'letters' is publishing there now; every answer is kept, run the same",
        ):
            EnrichedOutput(path, job, "r3").publish([part(3)], receipt("r3"))
        return part(2)()

    publish(path, "r2", meanwhile)
    assert numbers(path) == [2]
    if job == "letters":
        publish(path, "r3", part(3))
        assert numbers(path) == [3]
    else:
        with pytest.raises(ConfigError, match="belongs to the job 'letters'"):
            EnrichedOutput(path, job, "r3").publish([part(3)], receipt("r3"))
        assert numbers(path) == [2]
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("name", ["/out", "/out.parquet"])
def test_a_job_that_looked_before_another_published_first_does_not_replace_its_output(
    s3: S3Prefix, name: str
) -> None:
    path = f"{s3.url}{name}"
    late = EnrichedOutput(path, "other", "r3")
    late.check_owner()
    publish(path, "r2", part(2))
    with pytest.raises(ConfigError, match="belongs to the job 'letters'"):
        late.publish([part(3)], receipt("r3"))
    assert numbers(path) == [2]


def test_of_two_that_publish_one_object_at_once_the_later_is_refused(s3: S3Prefix) -> None:
    path = f"{s3.url}/out.parquet"

    def meanwhile() -> io.BytesIO:
        EnrichedOutput(path, "other", "r3").publish([part(3)], receipt("r3"))
        return part(2)()

    with pytest.raises(StorageError, match="other published there at the same time"):
        publish(path, "r2", meanwhile)
    assert numbers(path) == [3]
    assert s3.unfinished() == []


@pytest.mark.parametrize("name", ["out", "out.parquet"])
def test_a_process_that_was_frozen_and_overtaken_while_it_published_spoils_nothing(
    tmp_path: Path, name: str
) -> None:
    path = str(tmp_path / name)
    overtaken = False

    def guard() -> None:
        if overtaken:
            lost()

    def meanwhile() -> io.BytesIO:
        nonlocal overtaken
        overtaken = True
        successor = EnrichedOutput(path, "letters", "r2", lambda: None, 2)
        successor.publish([part(2), part(2)], receipt("r2"), b"<p>")
        return part(1)()

    with pytest.raises(LeaseLost):
        EnrichedOutput(path, "letters", "r2", guard, 1).publish([meanwhile], receipt("r2"), b"<p>")
    assert numbers(path) == [2, 2]
    assert hidden(tmp_path) == []


@pytest.mark.parametrize("name", ["out", "out.parquet"])
def test_what_earlier_owners_of_the_run_left_half_written_goes_and_a_later_ones_stays(
    tmp_path: Path, name: str
) -> None:
    for owner in ("r2", "r2_1", "r2_3", "r9_1"):
        temporary = tmp_path / f".{name}.{owner}.new"
        temporary.write_bytes(b"half") if "." in name else temporary.mkdir()
    EnrichedOutput(str(tmp_path / name), "letters", "r2", lambda: None, 2).publish([part(2)], receipt("r2"))
    assert hidden(tmp_path) == [f".{name}.r2_3.new", f".{name}.r9_1.new"]


def hidden(folder: Path) -> list[str]:
    """Temporary files, and whatever else is not for readers."""
    return sorted(path.name for path in folder.iterdir() if path.name.startswith("."))


@pytest.mark.slow
def test_two_runs_that_publish_at_once_leave_one_of_them_whole_where_it_cannot(
    s3_at: Callable[[str], S3Prefix],
) -> None:
    path = f"{s3_at('rclone').url}/out"
    publish(path, "r1", part(1))

    def meanwhile() -> io.BytesIO:
        publish(path, "r3", part(3))
        return part(2)()

    publish(path, "r2", meanwhile, part(2))
    assert follow(path) == [2, 2]


def test_a_receipt_whose_reply_was_lost_is_recognised(s3: S3Prefix, monkeypatch: pytest.MonkeyPatch) -> None:
    fs = filesystem_of(s3.url)[0]
    put = fs.pipe_file

    def twice(path: str, *args: Any, **kwargs: Any) -> Any:
        if path.endswith("_receipt.json"):
            put(path, *args, **kwargs)
        return put(path, *args, **kwargs)

    monkeypatch.setattr(fs, "pipe_file", twice)
    for run in ("r1", "r2"):
        publish(f"{s3.url}/out", run, part(1))
        assert follow(f"{s3.url}/out") == [1]


def test_readers_of_the_folder_do_not_stumble_over_receipt_and_report(tmp_path: Path) -> None:
    import duckdb
    import pandas as pd

    EnrichedOutput(str(tmp_path / "out"), "letters", "r1").publish([part(1, 2)], receipt("r1"), b"<p>")
    assert (tmp_path / "out/_report.html").exists()
    assert pd.read_parquet(tmp_path / "out")["n"].tolist() == [1, 2]
    assert pq.read_table(tmp_path / "out").num_rows == 2
    assert ds.dataset(tmp_path / "out").count_rows() == 2
    assert duckdb.sql(f"select sum(n) from '{tmp_path}/out/*.parquet'").fetchall() == [(3,)]


@pytest.mark.parametrize("name", ["", "/all.parquet"])
def test_the_owner_is_recognised_and_strangers_are_refused(place: str, name: str) -> None:
    path = place + name
    EnrichedOutput(path, "letters").check_owner()
    EnrichedOutput(path, "letters", "r1").publish([part(1)], receipt("r1"))
    EnrichedOutput(path, "letters").check_owner()
    with pytest.raises(ConfigError, match="belongs to the job 'letters'"):
        EnrichedOutput(path, "other").check_owner()


@pytest.mark.parametrize("what", ["folder", "file", "parquet"])
def test_what_nightmail_did_not_write_is_left_alone(tmp_path: Path, what: str) -> None:
    path = tmp_path / ("out.parquet" if what == "parquet" else "out")
    if what == "folder":
        path.mkdir()
        (path / "mine.txt").write_text("x")
    elif what == "file":
        path.write_text("x")
    else:
        pq.write_table(pa.table({"n": [1]}), path)
    with pytest.raises(ConfigError, match="was not written by Nightmail; choose another path"):
        EnrichedOutput(str(path), "letters").check_owner()


def test_an_empty_folder_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    EnrichedOutput(str(tmp_path / "out"), "letters").check_owner()
