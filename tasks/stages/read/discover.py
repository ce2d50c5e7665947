"""Find the files of a dataset: from `source.path` (a file, folder or glob) to sorted fragments of one format."""

from __future__ import annotations

import difflib
import hashlib
import posixpath
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import unquote, urlsplit

from configs.errors import InputError
from configs.job import Source
from tasks.storage.source_files import Format, Fragment, SourceFilesystem, source_filesystem
from tasks.storage.urls import is_file_absent, redacted

_FORMATS: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".arrow": "arrow",
    ".arrows": "arrow",
    ".feather": "arrow",
}
_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2", ".xz": "xz"}
# What is often given for a dataset and is not read, with what to do.
_OTHER_FORMATS = {
    ".zip": "a ZIP archive; unpack it",
    ".tar": "a tar archive; unpack it",
    ".tgz": "a tar archive; unpack it",
    ".7z": "a 7-Zip archive; unpack it",
    ".xlsx": "an Excel workbook; save the sheet as CSV (UTF-8)",
    ".xls": "an Excel workbook; save the sheet as CSV (UTF-8)",
    ".ods": "a spreadsheet; save the sheet as CSV (UTF-8)",
    ".json": "JSON; write one object a line (jq -c '.[]'), or set source.format: jsonl if it is so",
    ".orc": "an ORC file; write it as Parquet",
    ".avro": "an Avro file; write it as Parquet",
    ".db": "a database; export the table as Parquet or CSV",
    ".sqlite": "a database; export the table as Parquet or CSV",
    ".duckdb": "a database; export the table as Parquet or CSV",
    ".pkl": "a Python pickle; write it as Parquet",
}
_MAGIC = {
    b"PAR1": "a Parquet file; set source.format: parquet",
    b"PK\x03\x04": "a ZIP archive or an Excel workbook; unpack it, or save the sheet as CSV (UTF-8)",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook; save the sheet as CSV (UTF-8)",
    b"\x1f\x8b": "gzip-compressed; let its name end in .gz",
    b"BZh": "bzip2-compressed; let its name end in .bz2",
    b"\xfd7zXZ\x00": "xz-compressed; let its name end in .xz",
    b"\x28\xb5\x2f\xfd": "zstd-compressed; let its name end in .zst",
    b"ARROW1": "an Arrow file; set source.format: arrow",
    b"ORC": "an ORC file; write it as Parquet",
    b"Obj\x01": "an Avro file; write it as Parquet",
    b"SQLite format 3\x00": "a database; export the table as Parquet or CSV",
    b"%PDF": "a PDF; extract its text first",
}
# What backends call the thing that changes when a file is written again.
_VERSION_KEYS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")
_HASHED_AT_ONCE = 4 << 20
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def discover(source: Source) -> tuple[SourceFilesystem, tuple[Fragment, ...]]:
    """The dataset's files, sorted by path, all of one format. Raises InputError.

    In folders and globs, names that start with `_` or `.` are left out. `name=value` folders count as
    partitions below the folder or the glob's first wildcard, not in the part of the path that was spelled out.
    """
    storage, path = source_filesystem(source.path)
    with storage.input_errors(path, "be listed"):
        listed, base = _list_files(storage, path)
    files = {name: info for name, info in listed.items() if base is None or not _hidden(name, base)}
    formats = _files_of_one_format(source, files, exact=base is None)
    fragments = tuple(_fragment(name, files[name], formats[name], base) for name in sorted(formats))
    _check_same_partitions(storage, fragments)
    return storage, fragments


def fingerprint(fragments: Iterable[Fragment]) -> str:
    """Changes whenever a file comes, goes or is written again: a hash of (path, size, version) of each."""
    digest = hashlib.sha256()
    for fragment in fragments:
        digest.update(f"{fragment.path}\0{fragment.size}\0{fragment.version}\0".encode())
    return digest.hexdigest()[:16]


def content_fingerprint(storage: SourceFilesystem, fragments: Iterable[Fragment]) -> str:
    """The same by what the files hold, wherever they are and whenever they were written: requests are bought by it."""
    digest = hashlib.sha256()
    for fragment in fragments:
        with storage.input_errors(fragment.path), storage.open_stream(fragment) as stream:
            while block := stream.read(_HASHED_AT_ONCE):
                digest.update(block)
    return digest.hexdigest()[:16]


def source_fingerprint(source: Source) -> str:
    """The fingerprint of a source as it is now; only requests are opened for it. InputError when it is not there."""
    return fingerprint_of(*discover(source))


def fingerprint_of(storage: SourceFilesystem, fragments: tuple[Fragment, ...]) -> str:
    """The fingerprint of files that were found."""
    if fragments[0].format == "requests":
        return content_fingerprint(storage, fragments)
    return fingerprint(fragments)


def is_unchanged(storage: SourceFilesystem, fragment: Fragment) -> bool:
    """Whether a file is still as it was when it was found, by its size and version."""
    storage.fs.invalidate_cache()
    found = _fragment(fragment.path, storage.fs.info(fragment.path), fragment.format, None)
    return (found.size, found.version) == (fragment.size, fragment.version)


def format_ending(path: str) -> str:
    """The file ending that tells the format, in lower case: `.csv` of `a.CSV.gz`."""
    stem, last = posixpath.splitext(path.lower())
    return posixpath.splitext(stem)[1] if last in _COMPRESSIONS else last


def _list_files(storage: SourceFilesystem, path: str) -> tuple[dict[str, dict[str, Any]], str | None]:
    """Files under a path, and the folder below which names are found; None for one exact file."""
    fs = storage.fs
    fs.invalidate_cache()  # a listing that was remembered would hide files that came since
    try:
        info = fs.info(path)
    except FileNotFoundError as error:
        if not is_file_absent(error):
            raise
        return _list_glob(storage, path)
    if info["type"] != "directory":
        return {path: info}, None
    return dict(fs.find(path, detail=True)), path


def _list_glob(storage: SourceFilesystem, path: str) -> tuple[dict[str, dict[str, Any]], str]:
    """Files that a pattern matches, also those in folders it matches; and the folder before its first wildcard."""
    first = next((i for i, char in enumerate(path) if char in "*?["), None)
    if first is None:
        raise InputError(
            f"{storage.display_path(path)}: no such file or folder; {_nearest_name(storage, path)}"
        )
    files: dict[str, dict[str, Any]] = {}
    for name, info in storage.fs.glob(path, detail=True).items():
        files |= storage.fs.find(name, detail=True) if info["type"] == "directory" else {name: info}
    if not files:
        raise InputError(f"{storage.display_path(path)}: matches no file; check source.path")
    return files, path[:first].rpartition("/")[0]


def _nearest_name(storage: SourceFilesystem, path: str) -> str:
    """The end of a message about a path that does not exist: a file of nearly that name, if there is one."""
    parent, _, name = path.rstrip("/").rpartition("/")
    try:
        siblings = [str(item).rstrip("/").rpartition("/")[2] for item in storage.fs.ls(parent, detail=False)]
    except OSError:
        return f"{storage.display_path(parent)} does not exist either: check source.path"
    near = difflib.get_close_matches(name, siblings, 1)
    return f"did you mean {near[0]}?" if near else "check source.path"


def _below(name: str, base: str) -> list[str]:
    """The parts of a path below a folder."""
    return name.removeprefix(base).strip("/").split("/")


def _hidden(name: str, base: str) -> bool:
    """Whether a file is left out, as other readers of dataset folders do: `_SUCCESS`, `.part-0.crc`."""
    return name.endswith("/") or any(
        part.startswith(("_", ".")) and "=" not in part for part in _below(name, base)
    )


def _files_of_one_format(source: Source, names: Iterable[str], *, exact: bool) -> dict[str, Format]:
    """The files that are read, each with its format; InputError unless they have the same one."""
    path = redacted(source.path)
    known = {name: _format_of(name) for name in names}
    if source.format != "auto":
        matching = [name for name, format_ in known.items() if format_ == source.format]
        chosen = matching or list(known)  # part-00000 without an ending is fine once the format is given
        if not chosen:
            raise InputError(f"{path}: holds no {source.format} files; check source.path")
        return dict.fromkeys(chosen, source.format)
    data_files = {name: format_ for name, format_ in known.items() if format_}
    if not data_files:
        _refuse_other_format(source, known)
        problem = "the ending does not tell its format" if exact else "holds no data files"
        raise InputError(f"{path}: {problem}; known endings are {', '.join(_FORMATS)} (or set source.format)")
    examples = {format_: posixpath.basename(name) for name, format_ in data_files.items()}
    if len(examples) > 1:
        mixed = ", ".join(f"{format_} ({name})" for format_, name in sorted(examples.items()))
        raise InputError(
            f"{path}: mixes formats: {mixed}; set source.format, or narrow source.path with a glob"
        )
    return data_files


def _refuse_other_format(source: Source, names: Iterable[str]) -> None:
    for name in names:
        other = _OTHER_FORMATS.get(format_ending(name)) or _OTHER_FORMATS.get(
            posixpath.splitext(name)[1].lower()
        )
        if other:
            raise InputError(f"{redacted(source.path)}: {posixpath.basename(name)} is {other}")


def refuse_other_content(storage: SourceFilesystem, fragment: Fragment) -> None:
    """InputError for a file that is not text, by its first bytes, once it is unpacked."""
    with storage.input_errors(fragment.path), storage.open_stream(fragment) as stream:
        first = bytes(stream.read(16))
    is_text = all(8 < byte < 128 for byte in first)  # a CSV header may begin with ORC
    for magic, other in _MAGIC.items():
        if first.startswith(magic) and not is_text:
            raise InputError(f"{storage.display_path(fragment.path)}: is {other}")


def _format_of(name: str) -> Format | None:
    path = urlsplit(name).path if name.startswith(("http://", "https://")) else name
    format_ = _FORMATS.get(format_ending(path))
    compressed = posixpath.splitext(path.lower())[1] in _COMPRESSIONS
    # Parquet and Arrow files are read from their end, not unpacked.
    return None if format_ in ("parquet", "arrow") and compressed else format_


def _fragment(name: str, info: Mapping[str, Any], format_: Format, base: str | None) -> Fragment:
    path = urlsplit(name).path if name.startswith(("http://", "https://")) else name
    version = next((str(info[key]) for key in _VERSION_KEYS if info.get(key)), "")
    return Fragment(
        path=name,
        format=format_,
        compression=None
        if format_ in ("parquet", "arrow")
        else _COMPRESSIONS.get(posixpath.splitext(path.lower())[1]),
        size=int(info.get("size") or 0),
        version=version,
        partition=() if base is None else _partition(_below(name, base)[:-1]),
    )


def _partition(folders: Iterable[str]) -> tuple[tuple[str, str | None], ...]:
    """The names and values of Hive's `name=value` folders; special characters in them are percent-encoded."""
    pairs = (folder.split("=", 1) for folder in folders if "=" in folder)
    return tuple((unquote(name), None if value == _HIVE_NULL else unquote(value)) for name, value in pairs)


def _check_same_partitions(storage: SourceFilesystem, fragments: tuple[Fragment, ...]) -> None:
    names = [name for name, _ in fragments[0].partition]
    for fragment in fragments:
        if [name for name, _ in fragment.partition] != names:
            raise InputError(
                f"{storage.display_path(fragment.path)}: lies in other name=value folders than "
                f"{storage.display_path(fragments[0].path)}; give every file the same ones"
            )
