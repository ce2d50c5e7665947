"""Publish the enriched dataset: a folder of Parquet parts or one Parquet file, replaced as a whole.

On a disk, a folder is written beside the old one and renamed into its place; a part's name carries the run, so that a reader
who listed the old folder gets an error rather than a mix. An object store does not rename: there one file
appears at once, and a folder is what its `_receipt.json` says: the parts with that run in their names.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from configs.errors import ConfigError
from tasks.storage.atomic import atomic_file
from tasks.storage.local_output import LocalOutputFolder, delete_temporaries, interrupted_publications
from tasks.storage.multipart import atomic_object
from tasks.storage.object_output import (
    ASSETS,
    COPY_BYTES,
    OWNER,
    RECEIPT,
    REPORT,
    ObjectOutputFolder,
    OpenFile,
    lines_name,
    part_name,
    published_meanwhile,
)
from tasks.storage.publishing import only_publication
from tasks.storage.urls import filesystem_of, is_file_absent, one_line, redacted, storage_errors

_OWNER = b"nightmail.job"
_COPIES_AT_ONCE = 8
_LARGE_PART = 64 << 20  # bytes; one file may be a whole dataset, and S3 takes 10,000 parts


T = TypeVar("T")

MakeReceipt = Callable[[str | None], bytes]
"""The receipt as a JSON file, given where the run report is (None: nowhere)."""


@dataclass(frozen=True)
class _Publication:
    """What a run publishes: its parts in order, its receipt and report, the files that rows point to, and its result lines as
    (kind, opener)."""

    parts: Iterable[OpenFile]
    receipt: MakeReceipt
    report: bytes | None
    assets: Iterable[tuple[str, OpenFile]]
    lines: Sequence[tuple[str, OpenFile]]


@dataclass(frozen=True)
class _Published:
    """What a receipt says of the output beside it; of a folder that has none yet, only whose it is."""

    job: str | None
    run: str = ""
    key: str = ""
    rows: int = 0
    lines: bool = False


class EnrichedOutput:
    """The output of one job at `output.path`: checked before a run, replaced at its end."""

    def __init__(
        self,
        path: str,
        job: str,
        run_id: str = "",
        guard: Callable[[], None] = lambda: None,
        fence: int = 0,
    ) -> None:
        self.path = path
        self._job = job
        self._run_id = run_id
        self._guard = guard
        self._fence = fence  # of the run's lease: tells the temporary files of two owners apart
        try:
            self._fs, inner_path = filesystem_of(path)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"output.path: {redacted(path)}: {one_line(error)}; correct it") from error
        self._path = PurePosixPath(inner_path)  # in the filesystem; `path` is the URL
        self._local = isinstance(self._fs, LocalFileSystem)
        self._single = self._path.suffix == ".parquet"

    def check_owner(self) -> None:
        """ConfigError when something that this job did not write is in the way."""
        with self._storage_errors("nothing was done"):
            if not self._is_there():
                return
            owner = self._owner_of_file() if self._single else self._owner_of_folder()
        if owner != self._job:
            problem = f"belongs to the job {owner!r}" if owner else "was not written by Nightmail"
            raise ConfigError(f"output.path: {self.path} {problem}; choose another path, or move it away")

    def check_limit(self, key: str, limit: int | None) -> None:
        """ConfigError when a job limited to `limit` rows would replace what another key published, and more of it."""
        with self._storage_errors("nothing was done"):
            published = self._published()
        if limit is None or published is None or published.key == key or published.rows <= limit:
            return
        raise ConfigError(
            f"output.path: {self.path} holds {published.rows:,} rows of {published.key}, and source.limit is {limit:,};"
            f" --limit {limit} instead makes a trial beside it, or put {{key}} into output.path"
        )

    @property
    def report(self) -> str:
        """The path or URL at which the run report is published."""
        if self._single:
            return self.path.removesuffix(".parquet") + ".report.html"
        return f"{self.path.rstrip('/')}/{REPORT}"

    @property
    def assets(self) -> str:
        """The folder of files that rows point to, as they name it: relative to the output, and this run's own."""
        folder = f"{self._path.stem}.assets" if self._single else ASSETS
        return f"{folder}/{self._run_id}"

    def lines(self, kind: str) -> str:
        """The path or URL of a file of result lines."""
        if self._single:
            return f"{self.path.removesuffix('.parquet')}.{kind}.jsonl"
        return f"{self.path.rstrip('/')}/{lines_name(kind, self._run_id)}"

    @property
    def is_of_this_run(self) -> bool:
        """Whether what is published is this run's."""
        with self._storage_errors("nothing is lost"):
            published = self._read_receipt(self._receipt_path)
        return published is not None and published.run == self._run_id

    def read(self, read_file: Callable[[BinaryIO], Iterator[T]]) -> Iterator[T]:
        """What `read_file` makes of each Parquet file that this run has published, in the order of the rows."""
        with self._storage_errors("nothing is lost"):
            for path in [str(self._path)] if self._single else self._own_parts():
                with self._fs.open(path, "rb") as file:
                    yield from read_file(file)

    def _own_parts(self) -> list[str]:
        parts = (path for path in self._entries() if path.endswith(f"-{self._run_id}.parquet"))
        return sorted(parts, key=lambda path: (len(path), path))

    def publish(
        self,
        parts: Iterable[OpenFile],
        receipt: MakeReceipt,
        report: bytes | None = None,
        assets: Iterable[tuple[str, OpenFile]] = (),
        lines: Sequence[tuple[str, OpenFile]] = (),
    ) -> str | None:
        """Replace what is there by `parts` (each opens a Parquet file of the same schema), in order.

        `assets` are files the rows point to, each with its path below the folder of that name; `lines` files of result lines,
        each with its kind.
        Where the report is, as the receipt was told; None when it is not there. StorageError while another run publishes
        there, ConfigError when another job's output is there by now.
        """
        publication = _Publication(parts, receipt, report, assets, lines)
        with self._storage_errors("every answer is kept"):
            if not self._local:
                return (
                    self._publish_object(publication) if self._single else self._publish_objects(publication)
                )
            self._guard()
            with only_publication(Path(self._path), self._job, self._run_id):
                self.check_owner()
                return self._publish_file(publication) if self._single else self._publish_folder(publication)

    def _storage_errors(self, consequence: str) -> AbstractContextManager[None]:
        """Whatever a disk or a store raises becomes one line that names the output."""
        return storage_errors(lambda: redacted(self.path), consequence, local=self._local)

    def _is_there(self) -> bool:
        """Whether there is an output, or what a killed publication left of one."""
        try:
            self._fs.info(str(self._path))
        except FileNotFoundError as error:
            if is_file_absent(error):
                return self._read_receipt(*self._interrupted_receipts()) is not None
            raise
        return self._single or self._local or bool(self._entries())

    def _entries(self) -> list[str]:
        """Paths of what is directly in the folder; some stores list the folder itself, too."""
        paths = (str(entry).rstrip("/") for entry in self._fs.ls(str(self._path), detail=False))
        return [path for path in paths if path != str(self._path)]

    def _published(self) -> _Published | None:
        """What is published, if Nightmail wrote it and a receipt says so."""
        return self._read_receipt(self._receipt_path, *self._interrupted_receipts())

    @property
    def _receipt_path(self) -> PurePosixPath:
        return self._path.with_suffix(".receipt.json") if self._single else self._path / RECEIPT

    def _interrupted_receipts(self) -> list[PurePosixPath]:
        """Where the receipt is when a publication on a disk was killed after it had renamed the old folder away."""
        folders = interrupted_publications(Path(self._path)) if self._local and not self._single else []
        return [PurePosixPath(folder) / RECEIPT for folder in folders]

    def _read_receipt(self, *names: PurePosixPath) -> _Published | None:
        """The first of these files that is there and holds a JSON object."""
        for name in names:
            with (
                suppress(FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError),
                self._fs.open(str(name), "rb") as file,
            ):
                content = json.load(file)
                if isinstance(content, dict):
                    return _published_of(content)
        return None

    def _owner_of_folder(self) -> str | None:
        """The job that wrote the folder; this job, where it is empty; None where nobody knows."""
        published = self._published() or self._read_receipt(self._path / OWNER)
        if published is not None:
            return published.job
        is_empty = self._fs.isdir(str(self._path)) and not self._entries()
        return self._job if is_empty else None

    def _owner_of_file(self) -> str | None:
        """The job that wrote the Parquet file, as its metadata say; None where they do not."""
        try:
            with self._fs.open(str(self._path), "rb") as file:
                metadata = pq.ParquetFile(file).schema_arrow.metadata or {}
        except (IsADirectoryError, pa.ArrowInvalid):
            return None
        return metadata[_OWNER].decode() if _OWNER in metadata else None

    def _publish_object(self, publication: _Publication) -> str | None:
        seen = self._version()
        self.check_owner()

        def nobody_else_has_published() -> None:
            if self._version() != seen:
                raise published_meanwhile(redacted(self.path), self._owner_of_file(), "")

        return self._publish_file(publication, nobody_else_has_published)

    def _version(self) -> str | None:
        """What tells the object that is there from any other; None without one."""
        with suppress(FileNotFoundError):
            info = self._fs.info(str(self._path))
            return str(info.get("ETag") or info.get("etag") or "")
        return None

    def _publish_file(
        self, publication: _Publication, check: Callable[[], None] = lambda: None
    ) -> str | None:
        """`check` is called right before the file appears."""
        if self._local:
            parent = Path(self._path.parent)
            for folder in (parent, *(parent / self.assets).rglob("*/")):
                delete_temporaries(folder, self._run_id, self._fence)
        self._copy_assets(publication.assets, self._path.parent)
        self._put_lines(publication)
        with self._atomic_file(self._path, check) as file:
            _concatenate(publication.parts, file, self._job)
        self._delete_replaced_assets()
        report_path = self._path.with_suffix(".report.html")
        report = self._write_report(publication, lambda: self._atomic_file(report_path))
        if report is None and self._fs.exists(str(report_path)):
            self._fs.rm(str(report_path))  # it is of another run
        with self._atomic_file(self._receipt_path) as file:
            file.write(publication.receipt(report))
        return report

    def _copy_assets(self, assets: Iterable[tuple[str, OpenFile]], folder: PurePosixPath) -> set[str]:
        """Put the assets below that folder, where no other run's are; their full paths."""
        base = folder / self.assets

        def copy(asset: tuple[str, OpenFile]) -> str:
            return self._copy(asset[1], base / asset[0])

        with ThreadPoolExecutor(_COPIES_AT_ONCE, thread_name_prefix="asset") as pool:
            return set(pool.map(copy, assets))

    def _put_lines(self, publication: _Publication) -> None:
        """Put the result lines beside the one file, in place of those that a receipt says Nightmail has put there."""
        for kind, lines in publication.lines:
            self._copy(lines, self._path.with_suffix(f".{kind}.jsonl"))
        published = self._published()
        if publication.lines or published is None or not published.lines:
            return
        for kind in ("output", "error"):
            with suppress(FileNotFoundError):
                self._fs.rm(str(self._path.with_suffix(f".{kind}.jsonl")))

    def _copy(self, opener: OpenFile, path: PurePosixPath) -> str:
        with opener() as source, self._atomic_file(path) as target:
            shutil.copyfileobj(source, target, COPY_BYTES)
        return str(path)

    def _delete_replaced_assets(self) -> None:
        """Delete the assets of the run whose rows were here: the receipt still names it, and nothing else is ours."""
        published = self._published()
        replaced_run = published.run if published else ""
        # The receipt is a file that anybody can edit, and this deletes a folder by a name in it.
        if replaced_run in (self._run_id, "", ".", "..") or "/" in replaced_run:
            return
        folder = str(self._path.with_suffix(".assets") / replaced_run)
        if self._fs.exists(folder):
            self._fs.rm(folder, recursive=True)

    def _publish_objects(self, publication: _Publication) -> str | None:
        report_path = self._path / REPORT
        folder = ObjectOutputFolder(self._fs, self._path, self._job, self._run_id, self._guard)
        folder.look()
        self.check_owner()
        folder.upload(publication.parts)
        others = self._copy_assets(publication.assets, self._path) | {
            self._copy(lines, self._path / lines_name(kind, self._run_id))
            for kind, lines in publication.lines
        }
        report = self._write_report(publication, lambda: self._atomic_file(report_path))
        folder.publish(publication.receipt(report), others | ({str(report_path)} if report else set()))
        return report

    def _write_report(
        self, publication: _Publication, open_report: Callable[[], AbstractContextManager[BinaryIO]]
    ) -> str | None:
        """Write the report; where it is. None when there is none, or no room for it: the rows are still published."""
        if publication.report is None:
            return None
        try:
            with open_report() as file:
                file.write(publication.report)
        except OSError:
            return None
        return self.report

    def _publish_folder(self, publication: _Publication) -> str | None:
        folder = LocalOutputFolder(Path(self._path), self._run_id, self._fence, self._guard)
        staging = folder.begin()
        try:
            for number, part in enumerate(publication.parts, start=1):
                with part() as source, folder.file(part_name(number, self._run_id)) as target:
                    shutil.copyfileobj(source, target, COPY_BYTES)
            self._copy_assets(publication.assets, PurePosixPath(staging))
            for kind, lines in publication.lines:
                with lines() as source, folder.file(lines_name(kind, self._run_id)) as target:
                    shutil.copyfileobj(source, target, COPY_BYTES)
            report = self._write_report(publication, lambda: folder.file(REPORT))
            with folder.file(RECEIPT) as target:
                target.write(publication.receipt(report))
            folder.publish()
        except BaseException:  # a full disk needs the room
            folder.discard()
            raise
        return report

    @contextmanager
    def _atomic_file(
        self, path: PurePosixPath, check: Callable[[], None] = lambda: None
    ) -> Iterator[BinaryIO]:
        """A file that appears when the block ends, whole or not at all, on a disk as in a store."""
        if not self._local:

            def guard() -> None:
                self._guard()
                check()

            with atomic_object(self._fs, str(path), guard, _LARGE_PART) as file:
                yield file
            return
        temporary = Path(path).with_name(f".{path.name}.{self._run_id}_{self._fence}.new")
        self._guard()
        temporary.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(Path(path), temporary, self._guard) as file:
            yield file


def _concatenate(parts: Iterable[OpenFile], file: BinaryIO, job: str) -> None:
    """All parts' row groups in one Parquet file, one row group in memory at a time."""
    with ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for part in parts:
            with part() as source:
                parquet = pq.ParquetFile(source)
                metadata = {**(parquet.schema_arrow.metadata or {}), _OWNER: job.encode()}
                if writer is None:
                    schema = parquet.schema_arrow.with_metadata(metadata)
                    writer = stack.enter_context(
                        pq.ParquetWriter(file, schema, compression="zstd", compression_level=1)
                    )
                for group in range(parquet.num_row_groups):
                    writer.write_table(parquet.read_row_group(group).replace_schema_metadata(metadata))


def _published_of(receipt: Mapping[str, Any]) -> _Published:
    rows = receipt.get("rows")
    return _Published(
        job=receipt.get("job"),
        run=str(receipt.get("run", "")),
        key=str(receipt.get("key", "")),
        rows=rows.get("total", 0) if isinstance(rows, Mapping) else 0,
        lines=bool(receipt.get("result_lines")),
    )
