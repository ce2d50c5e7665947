"""CSV: text stays text, lines are named, nothing is swallowed."""

from __future__ import annotations

import csv
import dataclasses
import io
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.errors import InputError
from configs.job import Source
from tasks.stages.read import Dataset, csv_files, csv_text, open_dataset


def opened(path: Path, content: str | bytes | None = None, **options: Any) -> Dataset:
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return open_dataset(Source(path=str(path), **options))


def rows_of(dataset: Dataset, rows: int = 1024) -> list[tuple[Any, ...]]:
    return [
        row
        for batch in dataset.batches(rows)
        for row in zip(*(c.to_pylist() for c in batch.columns), strict=True)
    ]


def small_blocks(dataset: Dataset, size: int) -> Dataset:
    return dataclasses.replace(dataset, _reader=dataclasses.replace(dataset._reader, block=size))  # type: ignore[type-var]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "a.csv"


@pytest.mark.parametrize(
    ("content", "rows"),
    [
        ("a,b\n007,18446744073709551616123\n", [("007", "18446744073709551616123")]),
        ("a,b\nNA,null\nNaN,None\n,\n", [("NA", "null"), ("NaN", "None"), ("", "")]),
        ("a,b\n 1 ,2024-01-01\n", [(" 1 ", "2024-01-01")]),
        ('a,b\r\n"x\r\ny",2\r\n', [("x\r\ny", "2")]),
        ("\ufeffa,b\n1,2", [("1", "2")]),
        ("\n\na,b\n\n1,2\n\n\n3,4\n\n", [("1", "2"), ("3", "4")]),
        ('a,b\n"he said ""hi""",5" wide\n', [('he said "hi"', '5" wide')]),
        ("a,b\nx\u2028y\u0085,\x00\n", [("x\u2028y\u0085", "\x00")]),
        ('"a\nb",c\n1,2\n', [("1", "2")]),
        ('a\n""\nx\n', [("",), ("x",)]),
        (",b\n1,2\n", [("1", "2")]),
    ],
)
def test_fields_are_text_as_they_are(file: Path, content: str, rows: list[tuple[str, ...]]) -> None:
    dataset = opened(file, content)
    assert set(dataset.schema.types) == {pa.string()}
    assert rows_of(dataset) == rows
    assert dataset.rows_hint is None


cells = st.text(
    st.one_of(st.sampled_from('",\n\r;\t é\u2028\u0085\x00😀'), st.characters(codec="utf-8")),
    max_size=12,
).filter(lambda text: "\ufdd1" not in text)


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(cells, min_size=width, max_size=width), min_size=1, max_size=20)
    ),
    # With \n alone, older versions of the writer leave a lone \r unquoted: a line end to any reader.
    style=st.sampled_from([("\r\n", csv.QUOTE_MINIMAL), ("\n", csv.QUOTE_ALL)]),
    delimiter=st.sampled_from([",", ";", "\t"]),
    block=st.sampled_from([16, 64, 1 << 20]),
)
def test_what_a_csv_writer_writes_comes_back(
    file: Path, rows: list[list[str]], style: tuple[str, Any], delimiter: str, block: int
) -> None:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator=style[0], quoting=style[1])
    writer.writerow([f"c{i}" for i in range(len(rows[0]))])
    writer.writerows(rows)
    dataset = opened(file, out.getvalue(), csv={"delimiter": delimiter})
    assert rows_of(small_blocks(dataset, block)) == [tuple(row) for row in rows]


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    width=st.integers(1, 3),
    body=st.text('",\r\n aé', max_size=60),
    block=st.sampled_from([8, 16, 40, 1 << 20]),
)
def test_any_text_gives_the_records_that_python_reads(file: Path, width: int, body: str, block: int) -> None:
    content = ",".join(f"c{i}" for i in range(width)) + "\n" + (body if width > 1 else body.replace(",", "c"))
    parsed = list(csv.reader(io.StringIO(content, newline="")))[1:]
    # A blank line is nothing, except in a file of one column, where it is an empty field.
    expected = [fields or [""] for fields in parsed if fields or width == 1]
    good = [tuple(fields) for fields in expected if len(fields) == width]
    dataset = small_blocks(opened(file, content, bad_lines="skip"), block)
    try:
        assert rows_of(dataset) == good
    except InputError as error:
        if "never closed" not in str(error):
            assert not good
            return
        with pytest.raises(csv.Error):
            list(csv.reader(io.StringIO(content, newline=""), strict=True))
    else:
        assert dataset.bad_line_count == len(expected) - len(good)


@pytest.mark.parametrize("rows", [1, 7, 1024])
def test_batches_hold_at_most_the_rows_asked_for(file: Path, rows: int) -> None:
    dataset = opened(file, "n\n" + "".join(f"{n}\n" for n in range(3000)))
    batches = list(dataset.batches(rows))
    assert max(batch.num_rows for batch in batches) <= rows
    assert [int(n) for (n,) in rows_of(dataset, rows)] == list(range(3000))


@pytest.mark.parametrize(
    ("type_", "text", "value"),
    [
        ("int64", " -9223372036854775808 ", -(2**63)),
        ("int32", "007", 7),
        ("float64", "1e3", 1000.0),
        ("float32", "0.5", 0.5),
        ("bool", "TRUE", True),
        ("bool", "0", False),
        ("date", "2026-03-01", date(2026, 3, 1)),
        ("timestamp", "2026-03-01", datetime(2026, 3, 1)),  # noqa: DTZ001
        ("timestamp", "2026-03-01 10:00:00.123456", datetime(2026, 3, 1, 10, 0, 0, 123456)),  # noqa: DTZ001
        ("timestamp_utc", "2026-03-01T10:00:00+09:00", datetime(2026, 3, 1, 1, tzinfo=UTC)),
        ("timestamp_utc", "2026-03-01 10:00:00Z", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("timestamp_utc", "2026-03-01 10:00:00", datetime(2026, 3, 1, 10, tzinfo=UTC)),
        ("timestamp_utc", "2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)),
        ("string", " ", " "),
        *(
            (type_, blank, None)
            for type_ in ("int32", "float64", "bool", "date", "timestamp_utc")
            for blank in ("", " ")
        ),
    ],
)
def test_asked_types(file: Path, type_: str, text: str, value: object) -> None:
    assert rows_of(opened(file, f"k,v\n1,{text}\n", types={"v": type_})) == [("1", value)]


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        ("int64", "9223372036854775808"),
        ("int64", "1.0"),
        ("int32", "99999999999"),
        ("float64", "1,5"),
        ("bool", "yes"),
        ("date", "01/02/2026"),
        ("timestamp", "2026-03-01T10:00:00Z"),
        ("timestamp", "2026-03-01 10:00:00.123456789"),
        ("timestamp_utc", "soon"),
    ],
)
@pytest.mark.parametrize("bad_lines", ["error", "skip"])
def test_a_value_that_is_not_of_the_type_is_named_with_its_line(
    file: Path, type_: str, text: str, bad_lines: str
) -> None:
    content = f'k,v\n"1\n\n1",\n2,\n\n3,"{text}"\n4,\n'
    with pytest.raises(InputError) as caught:
        rows_of(opened(file, content, types={"v": type_}, bad_lines=bad_lines))
    assert f"a.csv: line 7: {text!r} in column 'v' is not " in str(caught.value)


def test_the_line_of_a_misfit_counts_left_out_lines(file: Path) -> None:
    content = b"k,v\nragged\n\xff,1\n1,2\nragged\n2,x\n"
    with pytest.raises(InputError, match="line 6: 'x' in column 'v'"):
        rows_of(opened(file, content, types={"v": "int64"}, bad_lines="skip"))


@pytest.mark.parametrize(
    ("content", "line", "reason", "kept"),
    [
        (b"a,b\n1,2\n3\n4,5\n", 3, "has 1 field, not 2", [("1", "2"), ("4", "5")]),
        (b'a,b\n"1\n1",2\n\n3,4,5\n4,5\n', 5, "has 3 fields, not 2", [("1\n1", "2"), ("4", "5")]),
        (b"a,b\n1,2\n3,\xff\n4,5\n", 3, "is not utf-8 text", [("1", "2"), ("4", "5")]),
        (b'a,b\n1,"\n\xe3\x81"\n4,5\n', 2, "is not utf-8 text", [("4", "5")]),
        (b"a,b\r1,2\r3\r4,5\r", 3, "has 1 field, not 2", [("1", "2"), ("4", "5")]),
        (b"a,b\n1,2\n3,4\n5", 4, "has 1 field, not 2", [("1", "2"), ("3", "4")]),
    ],
)
def test_bad_lines_stop_or_are_counted(
    file: Path, content: bytes, line: int, reason: str, kept: list[tuple[str, ...]]
) -> None:
    with pytest.raises(InputError) as caught:
        rows_of(opened(file, content))
    assert str(caught.value).startswith(f"{file}: line {line}: {reason}; ")
    dataset = opened(file, content, bad_lines="skip")
    for _ in range(2):  # the counts are those of the latest pass
        assert rows_of(dataset) == kept
        assert dataset.bad_line_count == 1
        assert [(bad.path, bad.line, bad.reason) for bad in dataset.bad_lines] == [(str(file), line, reason)]


def test_every_bad_line_counts_but_only_twenty_are_kept(file: Path) -> None:
    dataset = opened(file, "a,b\n" + "1,2\nragged\n" * 500, bad_lines="skip")
    assert len(rows_of(small_blocks(dataset, 64))) == 500
    assert dataset.bad_line_count == 500
    assert [bad.line for bad in dataset.bad_lines] == list(range(3, 43, 2))


def test_undecodable_bytes_in_a_column_nobody_reads_do_no_harm(file: Path) -> None:
    assert rows_of(opened(file, b"a,b\n1,\xff\n", columns=["a"])) == [("1",)]


@pytest.mark.parametrize("bad_lines", ["error", "skip"])
@pytest.mark.parametrize(
    ("content", "line"),
    [
        ('a,b\n1,2\n"3,4\n5,6\n7,8\n', 3),
        ('a,b\n1,"2\n3,4\n5,6\n', 2),
        ('a\n"x\ny"\n"z\n1\n', 4),
        ('a,b\n1,2\n1,"', 3),
    ],
)
def test_a_quote_that_is_never_closed_swallows_nothing(
    file: Path, content: str, line: int, bad_lines: str
) -> None:
    with pytest.raises(InputError, match=rf"a\.csv: line {line}: a quote opened in this record"):
        rows_of(opened(file, content, bad_lines=bad_lines))


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("cp1252", "é€"), ("utf-16", "日本😀"), ("shift_jis", "表示"), ("latin-1", "\x85ÿ"), ("UTF8", "日本")],
)
def test_any_python_codec(file: Path, encoding: str, text: str) -> None:
    content = f"n,v\n{text},{text}\n".encode(encoding)
    assert rows_of(opened(file, content, csv={"encoding": encoding})) == [(text, text)]


@pytest.mark.parametrize("encoding", ["nope", "base64"])
def test_an_unknown_codec_is_named(file: Path, encoding: str) -> None:
    with pytest.raises(InputError, match=f"source.csv.encoding: '{encoding}'"):
        opened(file, "a\n1\n", csv={"encoding": encoding})


@pytest.mark.parametrize("option", [{"delimiter": "→"}, {"quote": "\n"}, {"delimiter": '"'}])
def test_a_delimiter_or_quote_that_cannot_work_is_refused(file: Path, option: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"source\.csv"):
        opened(file, "a\n1\n", csv=option)


def test_delimiter_and_quote_are_settings_and_tsv_means_tabs(tmp_path: Path) -> None:
    assert rows_of(opened(tmp_path / "a.csv", "a;b\n'x;y';\"\n", csv={"delimiter": ";", "quote": "'"})) == [
        ("x;y", '"')
    ]
    assert rows_of(opened(tmp_path / "a.tsv", "a\tb\nx,y\t2\n")) == [("x,y", "2")]
    assert rows_of(opened(tmp_path / "b.tsv", "a,b\n1,2\n", csv={"delimiter": ","})) == [("1", "2")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty; a CSV file needs a header line"),
        (b"\n\n", "is empty"),
        (b"a,b,a\n1,2,3\n", "two columns are named 'a'"),
        (b'a,"b\n1,2\n', "line 1: a quote in the header is never closed"),
        (b"a,\xff\n1,2\n", "line 1: not utf-8 text"),
        (b"a,b\n", "has no rows"),
        (b"a,b\n\n\n", "has no rows"),
    ],
)
def test_files_without_usable_rows_are_refused(file: Path, content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=message):
        next(iter(opened(file, content).batches()))


def test_a_quote_left_open_in_a_large_file_does_not_take_all_memory(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (csv_files, csv_text):
        monkeypatch.setattr(module, "MAX_RECORD_BYTES", 500_000)
    dataset = small_blocks(opened(file, 'a,b\n1,2\n3,"4\n' + "5,6\n" * 500_000), 1000)
    with pytest.raises(InputError, match=r"line 3: field larger than field limit .*; close the quote"):
        rows_of(dataset)
    csv.field_size_limit(131_072)


def test_a_record_larger_than_a_block_is_read(file: Path) -> None:
    huge = "x\n" * 1_500_000
    assert rows_of(opened(file, f'a,b\n1,2\n3,"{huge}"\n4,5\n')) == [("1", "2"), ("3", huge), ("4", "5")]


@pytest.mark.parametrize("size", range(16, 26))
def test_a_line_end_inside_quotes_survives_any_block_boundary(file: Path, size: int) -> None:
    value = "x\r\n" * 20 + "\r\r\n\r"
    assert rows_of(small_blocks(opened(file, f'n\r\n"{value}"\r\n'), size)) == [(value,)]


def test_restarting_with_a_larger_block_repeats_no_row_and_no_bad_line(file: Path) -> None:
    lines = "".join(f"{n},{'x' * (5 ** (n % 6))}\nragged\n{n},\N{SNOWMAN}\n" for n in range(300))
    dataset = small_blocks(opened(file, "n,v\n" + lines, bad_lines="skip"), 32)
    assert [int(n) for n, _ in rows_of(dataset)] == [n for n in range(300) for _ in range(2)]
    assert dataset.bad_line_count == 300


def test_limit_and_where_work_on_text(file: Path) -> None:
    dataset = opened(file, "n,v\n1,a\n2,b\n3,b\n4,b\n", where=[["v", "==", "b"]], limit=2)
    assert rows_of(dataset) == [("2", "b"), ("3", "b")]


def test_several_files_need_the_same_columns_in_any_order(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("a,b\n1,2\n")
    (tmp_path / "2.csv").write_text("b,a\n4,3\n")
    assert rows_of(opened(tmp_path)) == [("1", "2"), ("3", "4")]
    (tmp_path / "3.csv").write_text("a,c\n4,3\n")
    with pytest.raises(InputError, match=r"3\.csv: has no column 'b', but .*1\.csv has"):
        opened(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "delimiter"),
    [
        ("a.csv", "id;name\n1;a\n", '";"'),
        ("a.csv", "id\tname\n1\ta\n", '"\\t"'),
        ("a.csv", "id|name\n1|a\n", '"|"'),
        ("a.csv", "id;na|me;x\n1;a;2\n", '";"'),
        ("a.tsv", "id,name\n1,a\n", '","'),
    ],
)
def test_a_header_between_other_delimiters_names_the_key_to_set(
    tmp_path: Path, name: str, content: str, delimiter: str
) -> None:
    with pytest.raises(InputError) as caught:
        opened(tmp_path / name, content)
    assert f"set source.csv.delimiter: {delimiter} " in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sep=;\na;b\n1;2\n", """line 1 is a mark for Excel, 'sep=;'; set source.csv.skip_lines: 1 and source.csv.delimiter: ";\""""),
        ("SEP=,\na,b\n1,2\n", """set source.csv.skip_lines: 1 and source.csv.delimiter: ",\""""),
        ("a;b, first;c\n1;x, y;3\n", """the header has more of ';' than of ',': 'a;b, first;c'; set source.csv.delimiter: ";" (or "," if it is meant so)"""),
        ('{"a":1,"b":2}\n{"a":3,"b":4}\n', "looks like JSON Lines: set source.format: jsonl"),
        ('[{"a":1},\n{"a":2}]\n', "looks like a JSON array: write one object a line"),
        ("<!DOCTYPE html>\n<html>\n", "looks like a web page: download the file itself"),
        ("i\0d\0,\0n\0\n\0", "the header holds zero bytes; it looks like utf-16-le: set source.csv.encoding: utf-16-le"),
    ],
)  # fmt: skip
def test_a_header_that_is_none_says_what_to_set(file: Path, content: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        opened(file, content)
    assert message in str(caught.value)


def test_what_the_job_says_of_the_delimiter_is_believed(file: Path) -> None:
    comma = {"delimiter": ","}
    assert rows_of(opened(file, "a;b, first;c\n1;x, y;3\n", csv=comma)) == [("1;x", " y;3")]
    assert rows_of(opened(file, "a (x;y;z),b\n1,2\n", csv=comma)) == [("1", "2")]
    marked = {"skip_lines": 1, "delimiter": ";"}
    assert rows_of(opened(file, "sep=;\na;b\n1;2\n", csv=marked)) == [("1", "2")]


def test_a_title_above_the_header_says_how_to_skip_it(file: Path) -> None:
    with pytest.raises(
        InputError,
        match=r"line 3: has 2 fields, not 1; if this is the header, set source\.csv\.skip_lines: 2",
    ):
        rows_of(opened(file, "Report\nof today\na,b\n1,2\n"))


def test_a_single_column_with_such_a_name_is_read_when_the_job_says_so(file: Path) -> None:
    assert rows_of(opened(file, "a;b\nx;y\n", csv={"delimiter": ","})) == [("x;y",)]


@pytest.mark.parametrize(
    ("encoding", "text", "likely"),
    [
        ("cp1252", "Zoë\nMüller – €5", "cp1252"),
        ("latin-1", "Zoë\nMüller \x81", "latin-1"),
        ("shift_jis", "これは日本語です", "shift_jis"),
        ("euc_jp", "これは日本語です", "euc_jp"),
        ("cp1251", "Привет как дела", "cp1251"),
        ("utf-16", "Zoë", "utf-16"),
        ("utf-16-le", "Zoë", "utf-16-le"),
    ],
)
def test_text_in_another_encoding_names_the_encoding_and_the_key(
    file: Path, encoding: str, text: str, likely: str
) -> None:
    content = "".join(f"{n},{part}\n" for n, part in enumerate(text.split("\n")))
    with pytest.raises(InputError) as caught:
        rows_of(opened(file, f"id,name\n{content}".encode(encoding)))
    assert str(caught.value).endswith(f"it looks like {likely}: set source.csv.encoding: {likely}")


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_lines_before_the_header_are_skipped_and_counted(file: Path, line_end: str) -> None:
    lines = ["Report, of today", '"', "a,b", "1,2", "3"]
    csv_options = {"skip_lines": 2}
    assert rows_of(opened(file, line_end.join(lines[:4]), csv=csv_options)) == [("1", "2")]
    with pytest.raises(InputError, match=r"a\.csv: line 5: has 1 field, not 2"):
        rows_of(opened(file, line_end.join(lines), csv=csv_options))
    with pytest.raises(InputError, match="is empty"):
        opened(file, line_end.join(lines), csv={"skip_lines": 9})


def test_quotes_after_a_backslash_are_part_of_the_field_by_choice(file: Path) -> None:
    dataset = opened(file, 'a,b\n"he said \\"hi, you\\"",2\n', csv={"escape": "\\"})
    assert rows_of(dataset) == [('he said "hi, you"', "2")]


def test_short_lines_are_filled_by_choice_and_long_ones_are_not(file: Path) -> None:
    dataset = opened(file, 'id,name,note\n1,a,"x\ny"\n2,b\n3\n', bad_lines="fill")
    assert rows_of(dataset) == [("1", "a", "x\ny"), ("2", "b", ""), ("3", "", "")]
    with pytest.raises(InputError, match="line 3: has 3 fields, not 2; correct it"):
        rows_of(opened(file, "a,b\n1\n1,2,3\n", bad_lines="fill"))
    with pytest.raises(InputError, match="line 3: a quote opened"):
        rows_of(opened(file, 'a,b\n1\n"1,2,3\n', bad_lines="fill"))


def test_columns_without_a_name_are_called_by_their_place(file: Path) -> None:
    dataset = opened(file, "a,b,,\n1,2,,x\n")
    assert dataset.schema.names == ["a", "b", "column_3", "column_4"]
    assert rows_of(dataset) == [("1", "2", "", "x")]


def test_two_columns_of_one_name_that_nobody_uses_do_no_harm(file: Path) -> None:
    assert rows_of(opened(file, "name,id,name\na,1,b\n", columns=["id"])) == [("1",)]
    with pytest.raises(InputError, match=r"two columns are named 'name'; .*source\.columns"):
        opened(file, "name,id,name\na,1,b\n", columns=["id", "name"])


def test_a_blank_line_is_a_row_where_there_is_one_column(file: Path) -> None:
    assert rows_of(opened(file, "\na\nx\n\ny\n")) == [("x",), ("",), ("y",)]
