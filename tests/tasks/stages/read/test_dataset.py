"""Finding the files of a dataset: paths, partitions, fingerprints, column names."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
import pytest

from configs.errors import InputError
from configs.job import Source
from tasks.stages.read import Dataset, open_dataset
from tasks.storage.urls import redacted


def rows_of(dataset: Dataset) -> list[dict[str, Any]]:
    return [row for batch in dataset.batches() for row in batch.to_pylist()]


def put_csv(path: Path, text: str = "n\n1\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def memory() -> Iterator[Callable[[str, bytes], str]]:
    fs = fsspec.filesystem("memory")

    def put(path: str, content: bytes) -> str:
        fs.pipe_file(f"/{path}", content)
        return f"memory://{path}"

    yield put
    fs.rm("/", recursive=True)


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("a/1.csv", [1]),
        ("a/*.csv", [1, 2]),
        ("**/*.csv", [1, 2, 3, 4]),
        ("?", [1, 2, 3, 4]),
        (".", [1, 2, 3, 4]),
        ("a", [1, 2, 3]),
        ("weird[1].csv", [5]),
    ],
)
def test_a_file_a_glob_or_a_folder(tmp_path: Path, pattern: str, found: list[int]) -> None:
    for n, name in enumerate(["a/1.csv", "a/2.csv", "a/deep/3.csv", "b/4.csv"], 1):
        put_csv(tmp_path / name, f"n\n{n}\n")
    for name in ("_SUCCESS", "a/.hidden.csv", "a/_temporary/9.csv", "a/README.txt"):
        put_csv(tmp_path / name, "x\n9\n")
    if "[" in pattern:
        put_csv(tmp_path / pattern, "n\n5\n")
    dataset = open_dataset(Source(path=os.path.normpath(tmp_path / pattern)))
    assert [int(row["n"]) for row in rows_of(dataset)] == found
    assert [f.path for f in dataset.fragments] == sorted(f.path for f in dataset.fragments)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("data.csv", r"data\.csv: no such file or folder; did you mean dota\.csv\?"),
        ("zzz", "no such file or folder; check source.path"),
        ("no/where.csv", "no does not exist either"),
        ("*.parquet", r"\*\.parquet: matches no file"),
        ("empty", "empty: holds no data files; known endings are .parquet"),
        ("notes.txt", r"notes\.txt: the ending does not tell its format"),
        ("mixed", r"mixed: mixes formats: csv \(a\.csv\), jsonl \(b\.jsonl\); set source.format"),
        ("packed.parquet.gz", "the ending does not tell"),
    ],
)
def test_a_path_that_does_not_work_says_why(tmp_path: Path, path: str, message: str) -> None:
    put_csv(tmp_path / "dota.csv")
    put_csv(tmp_path / "empty" / "_SUCCESS")
    put_csv(tmp_path / "notes.txt")
    put_csv(tmp_path / "packed.parquet.gz")
    put_csv(tmp_path / "mixed" / "a.csv")
    put_csv(tmp_path / "mixed" / "b.jsonl")
    with pytest.raises(InputError, match=message) as caught:
        open_dataset(Source(path=str(tmp_path / path)))
    assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    put_csv(tmp_path / "a.csv")
    (tmp_path / "a.csv").chmod(0)
    with pytest.raises(InputError, match=r"a\.csv: cannot be read .*; check its permissions"):
        open_dataset(Source(path=str(tmp_path / "a.csv")))


def test_an_unknown_protocol_is_named() -> None:
    with pytest.raises(InputError, match=r"nope://bucket/a\.csv: cannot be opened .* check source\.path"):
        open_dataset(Source(path="nope://bucket/a.csv"))


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("https://me:secret@host/a.csv?sig=secret#x", "https://host/a.csv"),
        ("sftp://me@host/a.csv", "sftp://host/a.csv"),
        ("s3://bucket/a?b/me@home.csv", "s3://bucket/a?b/me@home.csv"),
        ("memory:///a.csv", "memory:///a.csv"),
        ("/data/what?#.csv", "/data/what?#.csv"),
    ],
)
def test_messages_show_no_secret_of_a_url(url: str, text: str) -> None:
    assert redacted(url) == text


def test_a_given_format_picks_its_files_or_takes_what_has_no_ending(tmp_path: Path) -> None:
    put_csv(tmp_path / "mixed" / "a.csv")
    put_csv(tmp_path / "mixed" / "b.jsonl", '{"n":2}\n')
    put_csv(tmp_path / "bare" / "part-00000")
    assert rows_of(open_dataset(Source(path=str(tmp_path / "mixed"), format="jsonl"))) == [{"n": 2}]
    assert rows_of(open_dataset(Source(path=str(tmp_path / "bare"), format="csv"))) == [{"n": "1"}]


@pytest.mark.parametrize(("ending", "codec"), [(".gz", "gzip"), (".zst", "zstd")])
@pytest.mark.parametrize(
    ("name", "content"), [("a.csv", b"n\n1\n2\n"), ("a.jsonl", b'{"n":"1"}\n{"n":"2"}\n')]
)
def test_packed_text_is_unpacked(tmp_path: Path, ending: str, codec: str, name: str, content: bytes) -> None:
    path = tmp_path / (name + ending)
    with pa.CompressedOutputStream(str(path), codec) as out:
        out.write(content)
    assert rows_of(open_dataset(Source(path=str(path)))) == [{"n": "1"}, {"n": "2"}]


@pytest.mark.parametrize(("ending", "pack"), [(".bz2", bz2.compress), (".xz", lzma.compress)])
def test_text_packed_in_several_streams_is_unpacked(
    tmp_path: Path, ending: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"a.csv{ending}"
    path.write_bytes(pack(b"n\n1\n") + pack(b"2\n"))
    assert rows_of(open_dataset(Source(path=str(path)))) == [{"n": "1"}, {"n": "2"}]


@pytest.mark.parametrize(
    ("name", "is_a"),
    [
        ("a.zip", "ZIP archive; unpack it"),
        ("a.xlsx", "Excel workbook; save the sheet as CSV"),
        ("a.json", "JSON; write one object a line"),
        ("a.orc", "ORC file; write it as Parquet"),
    ],
)
def test_other_formats_are_named_as_what_they_are(tmp_path: Path, name: str, is_a: str) -> None:
    (tmp_path / name).write_bytes(b"x")
    for path in (tmp_path / name, tmp_path):
        with pytest.raises(InputError, match=is_a):
            open_dataset(Source(path=str(path)))


@pytest.mark.parametrize("format_", ["csv", "jsonl"])
@pytest.mark.parametrize(
    ("content", "is_a"),
    [
        (bz2.compress(b"n\n1\n"), "let its name end in .bz2"),
        (lzma.compress(b"n\n1\n"), "let its name end in .xz"),
        (gzip.compress(b"n\n1\n", mtime=0), "let its name end in .gz"),
        (b"PK\x03\x04\x14\x00", "Excel workbook"),
        (b"PAR1\x15\x04", "set source.format: parquet"),
        (b"ARROW1\x00\x00", "set source.format: arrow"),
        (b"ORC\x0a\x03", "an ORC file"),
    ],
)
def test_a_file_under_a_false_name_is_named_as_what_it_is(
    tmp_path: Path, format_: str, content: bytes, is_a: str
) -> None:
    (tmp_path / "rows").write_bytes(content)
    with pytest.raises(InputError, match=is_a):
        open_dataset(Source.model_validate({"path": str(tmp_path / "rows"), "format": format_}))


def test_a_header_may_begin_like_another_format(tmp_path: Path) -> None:
    put_csv(tmp_path / "a.csv", "ORC,BZh\n1,2\n")
    assert rows_of(open_dataset(Source(path=str(tmp_path)))) == [{"ORC": "1", "BZh": "2"}]


@pytest.mark.parametrize("name", ["a.csv.gz", "a.jsonl.zst", "a.csv.bz2", "a.jsonl.xz"])
def test_a_broken_archive_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"not packed at all")
    with pytest.raises(InputError, match=f"{name}: cannot be read"):
        rows_of(open_dataset(Source(path=str(tmp_path / name))))


def test_an_archive_that_ends_early_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv.gz"
    with pa.CompressedOutputStream(str(path), "gzip") as out:
        out.write(b"n\n" + b"".join(b"%d\n" % (n * n) for n in range(100_000)))
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(InputError, match=r"a\.csv\.gz"):
        rows_of(open_dataset(Source(path=str(path))))


def test_any_fsspec_filesystem_will_do(memory: Callable[[str, bytes], str]) -> None:
    table = pa.table({"n": range(5000)})
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, row_group_size=1000)
    memory("data/year=2025/a.parquet", sink.getvalue().to_pybytes())
    memory("data/year=2026/b.parquet", sink.getvalue().to_pybytes())
    text = pa.BufferOutputStream()
    pa_csv.write_csv(table, text)
    memory("text/a.csv", text.getvalue().to_pybytes())
    memory("lines/a.jsonl", b'{"n":1}\n')

    where = [["year", "==", 2026], ["n", ">=", 4999]]
    assert rows_of(open_dataset(Source(path="memory://data", where=where))) == [{"n": 4999, "year": 2026}]
    assert len(rows_of(open_dataset(Source(path="memory://data/year=*/*.parquet")))) == 10_000
    assert len(rows_of(open_dataset(Source(path="memory://text/*.csv")))) == 5000
    assert rows_of(open_dataset(Source(path="memory://lines/a.jsonl"))) == [{"n": 1}]
    with pytest.raises(InputError, match="memory:///data/zz: no such file"):
        open_dataset(Source(path="memory://data/zz"))


def test_partition_folders_become_columns_after_the_files_own(tmp_path: Path) -> None:
    for year, month, city in [("2025", "12", "a%20b"), ("2026", "01", "__HIVE_DEFAULT_PARTITION__")]:
        put_csv(tmp_path / f"year={year}" / f"month={month}" / f"city={city}" / "x.csv", f"n\n{year}\n")
    dataset = open_dataset(Source(path=str(tmp_path)))
    assert dataset.carried == ("n", "year", "month", "city")
    assert rows_of(dataset) == [
        {"n": "2025", "year": 2025, "month": 12, "city": "a b"},
        {"n": "2026", "year": 2026, "month": 1, "city": None},
    ]
    typed = open_dataset(Source(path=str(tmp_path), types={"month": "string", "year": "int32"}))
    assert [row["month"] for row in rows_of(typed)] == ["12", "01"]
    assert typed.schema.field("year").type == pa.int32()


def test_partition_columns_alone_still_have_the_rows_of_their_files(tmp_path: Path) -> None:
    put_csv(tmp_path / "day=1" / "a.csv", "n\n1\n2\n")
    assert rows_of(open_dataset(Source(path=str(tmp_path), columns=["day"]))) == [{"day": 1}] * 2


def test_the_part_of_the_path_that_was_spelled_out_is_no_partition(tmp_path: Path) -> None:
    put_csv(tmp_path / "a=1" / "b=2" / "x.csv")
    assert open_dataset(Source(path=str(tmp_path / "a=1"))).carried == ("n", "b")
    assert open_dataset(Source(path=str(tmp_path / "a=1" / "b=2" / "*.csv"))).carried == ("n",)
    assert open_dataset(Source(path=str(tmp_path / "a=1" / "b=2" / "x.csv"))).carried == ("n",)


def test_a_column_of_the_file_wins_over_its_folder(tmp_path: Path) -> None:
    put_csv(tmp_path / "n=7" / "x.csv")
    assert rows_of(open_dataset(Source(path=str(tmp_path)))) == [{"n": "1"}]


def test_files_of_a_pruned_partition_are_not_opened(tmp_path: Path) -> None:
    put_csv(tmp_path / "day=1" / "a.csv", "n\n1\n")
    put_csv(tmp_path / "day=2" / "a.csv", "n\nragged,line\n")
    assert rows_of(open_dataset(Source(path=str(tmp_path), where=[["day", "<", 2]]))) == [
        {"n": "1", "day": 1}
    ]


@pytest.mark.parametrize(
    ("other", "types", "message"),
    [
        ("month=1", {}, "lies in other name=value folders"),
        ("day=x", {"day": "int64"}, "does not have the type"),
    ],
)
def test_partitions_that_do_not_fit_are_refused(
    tmp_path: Path, other: str, types: dict[str, str], message: str
) -> None:
    put_csv(tmp_path / "day=1" / "a.csv")
    put_csv(tmp_path / other / "a.csv")
    with pytest.raises(InputError, match=message):
        open_dataset(Source(path=str(tmp_path), types=types))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "extra", "place"),
    [
        ({"columns": ["prise"]}, (), "source.columns"),
        ({"key": "prise"}, (), "source.key"),
        ({"where": [["prise", "==", 1]]}, (), "source.where"),
        ({"types": {"prise": "int64"}}, (), "source.types"),
        ({}, ("prise",), "the prompt"),
    ],
)
@pytest.mark.parametrize("columns", [None, ["n"]])
def test_an_unknown_column_gets_a_suggestion(
    tmp_path: Path, options: dict[str, Any], extra: tuple[str, ...], place: str, columns: list[str] | None
) -> None:
    put_csv(tmp_path / "1.csv", "n,price\n1,2\n")
    put_csv(tmp_path / "2.csv", "n,price\n1,2\n")
    with pytest.raises(InputError, match=f"{place} names the column 'prise'; did you mean 'price'"):
        open_dataset(Source(path=str(tmp_path), **{"columns": columns, **options}), extra)


def test_types_are_refused_where_files_bring_their_own(tmp_path: Path) -> None:
    pq.write_table(pa.table({"n": [1]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match="parquet files bring their own types"):
        open_dataset(Source(path=str(tmp_path), types={"n": "string"}))


def test_the_fingerprint_changes_with_any_file(tmp_path: Path) -> None:
    def current() -> str:
        return open_dataset(Source(path=str(tmp_path))).fingerprint

    put_csv(tmp_path / "a.csv")
    first = current()
    assert first == current()
    os.utime(tmp_path / "a.csv", (1, 1))
    touched = current()
    put_csv(tmp_path / "b.csv")
    added = current()
    put_csv(tmp_path / "b.csv", "n\n1\n2\n")
    assert len({first, touched, added, current()}) == 4


def test_stopping_early_closes_the_file(tmp_path: Path) -> None:
    put_csv(tmp_path / "a.csv", "n\n" + "1\n" * 5000)
    batches = open_dataset(Source(path=str(tmp_path))).batches()
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not [fd for fd in Path("/proc/self/fd").glob("*") if _target(fd) == str(tmp_path / "a.csv")]


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def test_fewer_columns_are_read_only_where_no_value_of_the_others_can_be_refused(tmp_path: Path) -> None:
    table = pa.table({"a": [1, 2], "b": ["x", "y"], "c": [0.5, 1.5]})
    pq.write_table(table, tmp_path / "1.parquet")
    pq.write_table(table.set_column(2, "c", pa.array([1, 2])), tmp_path / "2.parquet")
    (tmp_path / "rows.csv").write_text("a,b,c\n1,x,2\n")
    parquet = open_dataset(Source(path=str(tmp_path / "*.parquet")))
    for used, names in (["a"], ["a", "c"]), ([], ["c"]), (["b"], ["b", "c"]):
        fewer = parquet.with_fewer_columns(used)
        assert fewer.schema.names == names
        assert sum(batch.num_rows for batch in fewer.batches()) == 4
    csv = open_dataset(Source(path=str(tmp_path / "rows.csv")))
    assert csv.with_fewer_columns(["a"]).schema.names == ["a", "b", "c"]
