"""From `source.path` to the sorted files of the dataset."""

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
}
_PACKED = {".gz": "gzip", ".zst": "zstd"}
_VERSIONS = ("ETag", "etag", "mtime", "LastModified", "last_modified", "updated", "created")
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"


def discover(source: Source) -> tuple[SourceFilesystem, tuple[Fragment, ...]]:
    """The dataset's files, sorted by path, all of one format. Raises InputError.

    In folders and globs, names that start with `_` or `.` are left out. `name=value` folders count as
    partitions below the folder or the glob's first wildcard, not in the part of the path that was spelled out.
    """
    storage, path = source_filesystem(source.path)
    with storage.input_errors(path, "be listed"):
        found, base = _listed(storage, path)
    files = {name: info for name, info in found.items() if base is None or not _hidden(name, base)}
    chosen = _of_one_format(source, files, exact=base is None)
    fragments = tuple(_fragment(name, files[name], chosen[name], base) for name in sorted(chosen))
    _same_partitions(storage, fragments)
    return storage, fragments


def fingerprint(fragments: Iterable[Fragment]) -> str:
    """Changes whenever a file comes, goes or is written again: a hash of (path, size, version) of each."""
    digest = hashlib.sha256()
    for fragment in fragments:
        digest.update(f"{fragment.path}\0{fragment.size}\0{fragment.version}\0".encode())
    return digest.hexdigest()[:16]


def source_fingerprint(source: Source) -> str:
    """The fingerprint of a source as it is now, without opening its files. InputError when it is not there."""
    return fingerprint(discover(source)[1])


def ending(path: str) -> str:
    """The ending that tells the format, lower case, without the one of a compression."""
    stem, last = posixpath.splitext(path.lower())
    return posixpath.splitext(stem)[1] if last in _PACKED else last


def _listed(storage: SourceFilesystem, path: str) -> tuple[dict[str, dict[str, Any]], str | None]:
    """Files under a path, and the folder below which names are found; None for one exact file."""
    fs = storage.fs
    fs.invalidate_cache()
    try:
        info = fs.info(path)
    except FileNotFoundError as error:
        if not is_file_absent(error):
            raise
        return _globbed(storage, path)
    if info["type"] != "directory":
        return {path: info}, None
    return dict(fs.find(path, detail=True)), path


def _globbed(storage: SourceFilesystem, path: str) -> tuple[dict[str, dict[str, Any]], str]:
    first = next((i for i, char in enumerate(path) if char in "*?["), None)
    if first is None:
        raise InputError(f"{storage.display_path(path)}: no such file or folder; {_nearest(storage, path)}")
    found: dict[str, dict[str, Any]] = {}
    for name, info in storage.fs.glob(path, detail=True).items():
        found |= storage.fs.find(name, detail=True) if info["type"] == "directory" else {name: info}
    if not found:
        raise InputError(f"{storage.display_path(path)}: matches no file; check source.path")
    return found, path[:first].rpartition("/")[0]


def _nearest(storage: SourceFilesystem, path: str) -> str:
    parent, _, name = path.rstrip("/").rpartition("/")
    try:
        siblings = [str(item).rstrip("/").rpartition("/")[2] for item in storage.fs.ls(parent, detail=False)]
    except OSError:
        return f"{storage.display_path(parent)} does not exist either: check source.path"
    near = difflib.get_close_matches(name, siblings, 1)
    return f"did you mean {near[0]}?" if near else "check source.path"


def _below(name: str, base: str) -> list[str]:
    return name.removeprefix(base).strip("/").split("/")


def _hidden(name: str, base: str) -> bool:
    return name.endswith("/") or any(
        part.startswith(("_", ".")) and "=" not in part for part in _below(name, base)
    )


def _of_one_format(source: Source, names: Iterable[str], *, exact: bool) -> dict[str, Format]:
    """Which files are read, and as what."""
    where = redacted(source.path)
    known = {name: _format_of(name) for name in names}
    if source.format != "auto":
        fitting = [name for name, format_ in known.items() if format_ == source.format]
        taken = fitting or list(known)  # part-00000 without an ending is fine once the format is given
        if not taken:
            raise InputError(f"{where}: holds no {source.format} files; check source.path")
        return dict.fromkeys(taken, source.format)
    found = {name: format_ for name, format_ in known.items() if format_}
    if not found:
        what = "the ending does not tell its format" if exact else "holds no data files"
        raise InputError(f"{where}: {what}; known endings are {', '.join(_FORMATS)} (or set source.format)")
    examples = {format_: posixpath.basename(name) for name, format_ in found.items()}
    if len(examples) > 1:
        mixed = ", ".join(f"{format_} ({name})" for format_, name in sorted(examples.items()))
        raise InputError(
            f"{where}: mixes formats: {mixed}; set source.format, or narrow source.path with a glob"
        )
    return found


def _format_of(name: str) -> Format | None:
    path = urlsplit(name).path if name.startswith(("http://", "https://")) else name
    format_ = _FORMATS.get(ending(path))
    packed = posixpath.splitext(path.lower())[1] in _PACKED
    return None if format_ == "parquet" and packed else format_


def _fragment(name: str, info: Mapping[str, Any], format_: Format, base: str | None) -> Fragment:
    path = urlsplit(name).path if name.startswith(("http://", "https://")) else name
    version = next((str(info[key]) for key in _VERSIONS if info.get(key)), "")
    return Fragment(
        path=name,
        format=format_,
        compression=None if format_ == "parquet" else _PACKED.get(posixpath.splitext(path.lower())[1]),
        size=int(info.get("size") or 0),
        version=version,
        partition=() if base is None else _partition(_below(name, base)[:-1]),
    )


def _partition(folders: Iterable[str]) -> tuple[tuple[str, str | None], ...]:
    pairs = (folder.split("=", 1) for folder in folders if "=" in folder)
    return tuple((unquote(name), None if value == _HIVE_NULL else unquote(value)) for name, value in pairs)


def _same_partitions(storage: SourceFilesystem, fragments: tuple[Fragment, ...]) -> None:
    names = [name for name, _ in fragments[0].partition]
    for fragment in fragments:
        if [name for name, _ in fragment.partition] != names:
            raise InputError(
                f"{storage.display_path(fragment.path)}: lies in other name=value folders than "
                f"{storage.display_path(fragments[0].path)}; give every file the same ones"
            )
