"""The enriched dataset at its final place: a folder of parts or one Parquet file, replaced as a whole.

A folder is written beside its place and renamed into it; a part's name carries the run, so that a reader
who listed the old folder gets an error rather than a mix. An object store does not rename: there one file
appears at once, and a folder is what its `_receipt.json` says: the parts with that run in their names.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from configs.errors import ConfigError
from tasks.storage.atomic import atomic_file
from tasks.storage.local_output import LocalFolder, leftovers
from tasks.storage.multipart import atomic_object
from tasks.storage.object_output import ASSETS, BLOCK, OWNER, RECEIPT, REPORT, ObjectFolder, Open, part_name
from tasks.storage.urls import filesystem_of, is_file_absent, one_line, redacted, storage_errors

_OWNER = b"nightmail.job"
_COPIES_AT_ONCE = 8
_LARGE_PART = 64 << 20  # bytes; one file may be a whole dataset, and S3 takes 10,000 parts


MakeReceipt = Callable[[str | None], bytes]
"""The receipt as a JSON file, given where the run report is (None: nowhere)."""


@dataclass(frozen=True)
class _Delivery:
    """What a run publishes."""

    parts: Iterable[Open]
    receipt: MakeReceipt
    report: bytes | None
    assets: Iterable[tuple[str, Open]]


@dataclass(frozen=True)
class _Published:
    """What a receipt says of the output beside it; of a folder that has none yet, only whose it is."""

    job: str | None
    run: str = ""
    key: str = ""
    rows: int = 0


class EnrichedOutput:
    """Where one job's enriched rows go."""

    def __init__(
        self, path: str, job: str, run_id: str = "", guard: Callable[[], None] = lambda: None
    ) -> None:
        self.path = path
        self._job = job
        self._run_id = run_id
        self._guard = guard
        try:
            self._fs, place = filesystem_of(path)
        except (ImportError, ValueError) as error:
            raise ConfigError(f"output.path: {redacted(path)}: {one_line(error)}; correct it") from error
        self._place = PurePosixPath(place)
        self._local = isinstance(self._fs, LocalFileSystem)
        self._single = self._place.suffix == ".parquet"

    def check_owner(self) -> None:
        """ConfigError when something that this job did not write is in the way."""
        with self._explained("nothing was done"):
            if not self._is_there():
                return
            owner = self._owner_of_file() if self._single else self._owner_of_folder()
        if owner != self._job:
            whose = f"belongs to the job {owner!r}" if owner else "was not written by Nightmail"
            raise ConfigError(f"output.path: {self.path} {whose}; choose another path, or move it away")

    def refuse_fewer(self, key: str, limit: int | None) -> None:
        """ConfigError when a trial over `limit` rows would replace what another key published, and more of it."""
        with self._explained("nothing was done"):
            there = self._published()
        if limit is None or there is None or there.key == key or there.rows <= limit:
            return
        raise ConfigError(
            f"output.path: {self.path} holds {there.rows:,} rows of {there.key}, and this run is limited"
            f" to {limit:,}; put {{key}} into output.path, or --set output.path=... for the trial"
        )

    @property
    def report(self) -> str:
        """Where the run report is published."""
        if self._single:
            return self.path.removesuffix(".parquet") + ".report.html"
        return f"{self.path.rstrip('/')}/{REPORT}"

    @property
    def assets(self) -> str:
        """The folder of files that rows point to, as they name it: relative to the output, and this run's own."""
        above = f"{self._place.stem}.assets" if self._single else ASSETS
        return f"{above}/{self._run_id}"

    def publish(
        self,
        parts: Iterable[Open],
        receipt: MakeReceipt,
        report: bytes | None = None,
        assets: Iterable[tuple[str, Open]] = (),
    ) -> str | None:
        """Replace what is there by `parts` (each opens a Parquet file of the same schema), in order.

        `assets` are files the rows point to, each with its path below the folder of that name.
        Where the report is, as the receipt was told; None when it is not there.
        """
        folder = self._publish_folder if self._local else self._publish_objects
        publish = self._publish_file if self._single else folder
        with self._explained("every answer is kept"):
            return publish(_Delivery(parts, receipt, report, assets))

    def _explained(self, so_far: str) -> AbstractContextManager[None]:
        """Whatever a disk or a store raises becomes one line."""
        return storage_errors(lambda: redacted(self.path), so_far, local=self._local)

    def _is_there(self) -> bool:
        try:
            self._fs.info(str(self._place))
        except FileNotFoundError as error:
            if is_file_absent(error):
                return self._read_receipt(*self._interrupted()) is not None
            raise
        return self._single or self._local or bool(self._entries())

    def _entries(self) -> list[str]:
        """What is directly in the folder."""
        found = (str(entry).rstrip("/") for entry in self._fs.ls(str(self._place), detail=False))
        return [entry for entry in found if entry != str(self._place)]

    def _published(self) -> _Published | None:
        """What is there, if Nightmail wrote it and a receipt says so."""
        name = self._place.with_suffix(".receipt.json") if self._single else self._place / RECEIPT
        return self._read_receipt(name, *self._interrupted())

    def _interrupted(self) -> list[PurePosixPath]:
        """The receipt as it was before a publication on a disk that was killed while it took the old folder away."""
        old = leftovers(Path(self._place)) if self._local and not self._single else []
        return [PurePosixPath(folder) / RECEIPT for folder in old]

    def _read_receipt(self, *names: PurePosixPath) -> _Published | None:
        """The first of these files that is there."""
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
        published = self._published() or self._read_receipt(self._place / OWNER)
        if published is not None:
            return published.job
        is_empty = self._fs.isdir(str(self._place)) and not self._entries()
        return self._job if is_empty else None

    def _owner_of_file(self) -> str | None:
        try:
            with self._fs.open(str(self._place), "rb") as file:
                metadata = pq.ParquetFile(file).schema_arrow.metadata or {}
        except (IsADirectoryError, pa.ArrowInvalid):
            return None
        return metadata[_OWNER].decode() if _OWNER in metadata else None

    def _publish_file(self, given: _Delivery) -> str | None:
        self._copy_assets(given.assets, self._place.parent)
        with self._appearing(self._place) as file:
            _concatenate(given.parts, file, self._job)
        self._drop_replaced_assets()
        page = self._place.with_suffix(".report.html")
        report = self._write_report(given, lambda: self._appearing(page))
        if report is None and self._fs.exists(str(page)):
            self._fs.rm(str(page))  # it is of another run
        with self._appearing(self._place.with_suffix(".receipt.json")) as file:
            file.write(given.receipt(report))
        return report

    def _copy_assets(self, assets: Iterable[tuple[str, Open]], folder: PurePosixPath) -> set[str]:
        """Put the assets below that folder, where no other run's are; their full paths."""
        base = folder / self.assets

        def copy(asset: tuple[str, Open]) -> str:
            with asset[1]() as source, self._appearing(base / asset[0]) as target:
                shutil.copyfileobj(source, target, BLOCK)
            return str(base / asset[0])

        with ThreadPoolExecutor(_COPIES_AT_ONCE, thread_name_prefix="asset") as pool:
            return set(pool.map(copy, assets))

    def _drop_replaced_assets(self) -> None:
        """Delete the assets of the run whose rows were here: the receipt still names it, and nothing else is ours."""
        published = self._published()
        before = published.run if published else ""
        if before in (self._run_id, "", ".", "..") or "/" in before:
            return
        stale = str(self._place.with_suffix(".assets") / before)
        if self._fs.exists(stale):
            self._fs.rm(stale, recursive=True)

    def _publish_objects(self, given: _Delivery) -> str | None:
        page = self._place / REPORT
        folder = ObjectFolder(self._fs, self._place, self._job, self._run_id, self._guard)
        folder.upload(given.parts)
        ours = self._copy_assets(given.assets, self._place)
        report = self._write_report(given, lambda: self._appearing(page))
        folder.publish(given.receipt(report), ours | ({str(page)} if report else set()))
        return report

    def _write_report(
        self, given: _Delivery, opened: Callable[[], AbstractContextManager[BinaryIO]]
    ) -> str | None:
        """Write the page; where it is. None when there is none, or no room for it: the rows are still published."""
        if given.report is None:
            return None
        try:
            with opened() as file:
                file.write(given.report)
        except OSError:
            return None
        return self.report

    def _publish_folder(self, given: _Delivery) -> str | None:
        folder = LocalFolder(Path(self._place), self._run_id, self._guard)
        staging = folder.begin()
        for number, part in enumerate(given.parts, start=1):
            with part() as source, folder.file(part_name(number, self._run_id)) as target:
                shutil.copyfileobj(source, target, BLOCK)
        self._copy_assets(given.assets, PurePosixPath(staging))
        report = self._write_report(given, lambda: folder.file(REPORT))
        with folder.file(RECEIPT) as target:
            target.write(given.receipt(report))
        folder.publish()
        return report

    @contextmanager
    def _appearing(self, place: PurePosixPath) -> Iterator[BinaryIO]:
        """A file that is there whole or not at all."""
        if not self._local:
            with atomic_object(self._fs, str(place), self._guard, _LARGE_PART) as file:
                yield file
            return
        temporary = Path(place).with_name(f".{place.name}.{self._run_id}.new")
        self._guard()
        temporary.parent.mkdir(parents=True, exist_ok=True)
        with atomic_file(Path(place), temporary, self._guard) as file:
            yield file


def _concatenate(parts: Iterable[Open], file: BinaryIO, job: str) -> None:
    """All parts' row groups in one Parquet file, one row group in memory at a time."""
    with ExitStack() as stack:
        writer: pq.ParquetWriter | None = None
        for part in parts:
            with part() as source:
                table = pq.ParquetFile(source)
                metadata = {**(table.schema_arrow.metadata or {}), _OWNER: job.encode()}
                if writer is None:
                    schema = table.schema_arrow.with_metadata(metadata)
                    writer = stack.enter_context(
                        pq.ParquetWriter(file, schema, compression="zstd", compression_level=1)
                    )
                for group in range(table.num_row_groups):
                    writer.write_table(table.read_row_group(group).replace_schema_metadata(metadata))


def _published_of(receipt: Mapping[str, Any]) -> _Published:
    rows = receipt.get("rows")
    return _Published(
        job=receipt.get("job"),
        run=str(receipt.get("run", "")),
        key=str(receipt.get("key", "")),
        rows=rows.get("total", 0) if isinstance(rows, Mapping) else 0,
    )
