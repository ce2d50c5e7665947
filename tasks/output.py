"""The enriched dataset at its final place: a folder of parts or one Parquet file, replaced as a whole.

A folder is written beside its place and renamed into it; a part's name carries the run, so that a reader
who listed the old folder gets an error rather than a mix. On an object store one file appears at once; a
folder there is complete when its `_receipt.json` names the run.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, cast

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from fsspec.implementations.local import LocalFileSystem

from configs.errors import ConfigError, StorageError

RECEIPT, REPORT = (
    "_receipt.json",
    "_report.html",
)  # readers of a dataset folder skip names that begin with an underscore
_OWNER = b"nightmail.job"
_BLOCK = 1 << 22

Open = Callable[[], BinaryIO]


class Output:
    """Where one job's enriched rows go."""

    def __init__(
        self, path: str, job: str, run_id: str = "", guard: Callable[[], None] = lambda: None
    ) -> None:
        self.path = path
        self._job = job
        self._run_id = run_id
        self._guard = guard
        self._fs, place = fsspec.core.url_to_fs(path)
        self._place = PurePosixPath(place)
        self._local = isinstance(self._fs, LocalFileSystem)
        self._single = self._place.suffix == ".parquet"

    def check_owner(self) -> None:
        """ConfigError when something that this job did not write is in the way."""
        if not self._fs.exists(str(self._place)):
            return
        owner = self._owner_of_file() if self._single else self._owner_of_folder()
        if owner != self._job:
            whose = f"belongs to the job {owner!r}" if owner else "was not written by Nightmail"
            raise ConfigError(f"output.path: {self.path} {whose}; choose another path, or move it away")

    def refuse_fewer(self, key: str, limit: int | None) -> None:
        """ConfigError when a trial over `limit` rows would replace what another key published, and more of it."""
        there = self._receipt()
        if limit is None or there is None or there["key"] == key or there["rows"]["total"] <= limit:
            return
        raise ConfigError(
            f"output.path: {self.path} holds {there['rows']['total']:,} rows of {there['key']}, and this run is limited"
            f" to {limit:,}; put {{key}} into output.path, or --set output.path=... for the trial"
        )

    @property
    def report(self) -> str:
        """Where the run report is published."""
        if self._single:
            return self.path.removesuffix(".parquet") + ".report.html"
        return f"{self.path.rstrip('/')}/{REPORT}"

    def publish(
        self, parts: Iterable[Open], receipt: dict[str, Any], report: bytes | None = None
    ) -> dict[str, Any]:
        """Replace what is there by `parts` (each opens a Parquet file of the same schema), in order.

        The receipt as it was written: its `report` says where the page is, None when it is not there.
        """
        try:
            if self._single:
                return self._publish_file(parts, receipt, report)
            if self._local:
                return self._publish_folder(parts, receipt, report)
            return self._publish_objects(parts, receipt, report)
        except OSError as error:
            raise StorageError(
                f"{self.path}: {error.strerror or error}; every answer is kept, make room or access and run the same command again"
            ) from error

    def _receipt(self) -> dict[str, Any] | None:
        """The receipt of what is there, if Nightmail wrote it."""
        name = self._place.with_suffix(".receipt.json") if self._single else self._place / RECEIPT
        try:
            with self._fs.open(str(name), "rb") as file:
                return cast("dict[str, Any]", json.load(file))
        except (OSError, ValueError):
            return None

    def _owner_of_folder(self) -> str | None:
        if not self._fs.isdir(str(self._place)):
            return None
        if not self._fs.ls(str(self._place)):
            return self._job
        return (self._receipt() or {}).get("job")

    def _owner_of_file(self) -> str | None:
        try:
            with self._fs.open(str(self._place), "rb") as file:
                metadata = pq.ParquetFile(file).schema_arrow.metadata or {}
        except (OSError, pa.ArrowInvalid):
            return None
        return metadata[_OWNER].decode() if _OWNER in metadata else None

    def _publish_file(
        self, parts: Iterable[Open], receipt: dict[str, Any], report: bytes | None
    ) -> dict[str, Any]:
        with self._appearing(self._place) as file:
            _concatenate(parts, file, self._job)
        page = self._place.with_suffix(".report.html")
        receipt = self._with_report(receipt, report, lambda: self._appearing(page))
        if receipt["report"] is None and self._fs.exists(str(page)):
            self._fs.rm(str(page))  # it would speak of another run
        with self._appearing(self._place.with_suffix(".receipt.json")) as file:
            file.write(_json(receipt))
        return receipt

    def _publish_folder(
        self, parts: Iterable[Open], receipt: dict[str, Any], report: bytes | None
    ) -> dict[str, Any]:
        place = Path(self._place)
        staging, old = (place.with_name(f".{place.name}.{self._run_id}.{what}") for what in ("new", "old"))
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        for number, part in enumerate(parts, start=1):
            with part() as source, _durable(staging / self._part_name(number)) as target:
                shutil.copyfileobj(source, target, _BLOCK)
        receipt = self._with_report(receipt, report, lambda: _durable(staging / REPORT))
        with _durable(staging / RECEIPT) as target:
            target.write(_json(receipt))
        self._guard()
        if place.exists():
            shutil.rmtree(old, ignore_errors=True)
            place.rename(old)
        staging.rename(place)
        shutil.rmtree(old, ignore_errors=True)
        return receipt

    def _publish_objects(
        self, parts: Iterable[Open], receipt: dict[str, Any], report: bytes | None
    ) -> dict[str, Any]:
        stale = set(self._fs.find(str(self._place)))
        for number, part in enumerate(parts, start=1):
            name = str(self._place / self._part_name(number))
            with part() as source, self._fs.open(name, "wb") as target:
                shutil.copyfileobj(source, target, _BLOCK)
            stale.discard(name)
        self._guard()
        page = str(self._place / REPORT)
        receipt = self._with_report(receipt, report, lambda: self._fs.open(page, "wb"))
        with self._fs.open(str(self._place / RECEIPT), "wb") as target:
            target.write(_json(receipt))
        stale -= {str(self._place / RECEIPT), page if receipt["report"] else ""}
        if stale:
            self._fs.rm(sorted(stale))
        return receipt

    def _with_report(
        self,
        receipt: dict[str, Any],
        report: bytes | None,
        opened: Callable[[], AbstractContextManager[BinaryIO]],
    ) -> dict[str, Any]:
        """Write the page, and say in the receipt where it is. Without room for it the rows are still published."""
        if report is None:
            return {**receipt, "report": None}
        try:
            with opened() as file:
                file.write(report)
        except OSError:
            return {**receipt, "report": None}
        return {**receipt, "report": self.report}

    def _part_name(self, number: int) -> str:
        return f"part-{number:05d}-{self._run_id}.parquet"

    @contextmanager
    def _appearing(self, place: PurePosixPath) -> Iterator[BinaryIO]:
        """A file that is there whole or not at all."""
        if not self._local:
            with self._fs.open(str(place), "wb") as file:  # shown when it is closed
                yield file
                self._guard()
            return
        temporary = Path(place).with_name(f".{place.name}.{self._run_id}.new")
        temporary.parent.mkdir(parents=True, exist_ok=True)
        with _durable(temporary) as file:
            yield file
        self._guard()
        temporary.replace(place)


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


@contextmanager
def _durable(path: Path) -> Iterator[BinaryIO]:
    try:
        with path.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        path.unlink(missing_ok=True)
        raise


def _json(receipt: dict[str, Any]) -> bytes:
    return json.dumps(receipt, indent=2, ensure_ascii=False).encode()
