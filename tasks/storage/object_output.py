"""Publish a folder of Parquet parts on an object store, which cannot rename: the receipt says which parts count.

Parts carry their run in their name. They are uploaded whole before the first of them appears; then the receipt is
put, which names the run; then everything that is not that run's is deleted. A reader who follows the receipt sees
one run, whole, at every moment; one who takes every file that is there may meet two between the first and the last
of these steps. What else lies in the folder, or below it, is left alone.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import PurePosixPath
from typing import Any, BinaryIO

from configs.errors import StorageError
from tasks.storage.multipart import UncommittedUpload, abort_unfinished_uploads
from tasks.storage.urls import s3_error_code

# Readers of a dataset folder skip names that begin with an underscore.
RECEIPT, REPORT, ASSETS = "_receipt.json", "_report.html", "_assets"
OWNER = "_nightmail.json"  # says which job a folder belongs to until it has its first receipt
COPY_BYTES = 1 << 22  # in memory while a file is copied
_KEYS_A_DELETE = 1000  # S3's own limit
_PART = re.compile(r"part-\d{5,}-\w+\.parquet")
_LINES = re.compile(r"_(output|error)-\w+\.jsonl")
_ASSET = re.compile(rf"{ASSETS}/\w+/\d{{5,}}/[^/]+")  # run, chunk, name

OpenFile = Callable[[], BinaryIO]
"""Opens a file that is to be published, for reading."""


def part_name(number: int, run_id: str) -> str:
    """A part's file name; the same in every try of a run, and another for another run."""
    return f"part-{number:05d}-{run_id}.parquet"


def published_meanwhile(output: str, job: str | None, run: str) -> StorageError:
    """The error of a publication that another one has overtaken."""
    other = f"{job or 'another job'} {run}".rstrip()
    return StorageError(
        f"{output}: {other} published there at the same time; every answer is kept, run the same command again to"
        " replace its output"
    )


def lines_name(kind: str, run_id: str) -> str:
    """The name of a file of result lines beside the parts (`output`, `error`), which readers of the dataset leave out."""
    return f"_{kind}-{run_id}.jsonl"


def is_nightmail_file(name: str) -> bool:
    """Whether Nightmail wrote a file, by its path in an output folder; all others are left alone."""
    return name in (RECEIPT, REPORT, OWNER) or any(
        pattern.fullmatch(name) for pattern in (_PART, _LINES, _ASSET)
    )


class ObjectOutputFolder:
    """The output folder `path` of `job`, whose parts the run `run_id` replaces."""

    def __init__(
        self, fs: Any, path: PurePosixPath, job: str, run_id: str, guard: Callable[[], None]
    ) -> None:
        self._fs = fs
        self._path = path
        self._job = job
        self._run_id = run_id
        self._guard = guard
        self._receipt_before: str | None = None
        self._files_before: set[str] = set()
        self._parts: set[str] = set()

    def look(self) -> None:
        """Note what is there: the receipt to be replaced, and the files that go with it."""
        self._receipt_before = self._receipt_version()
        self._files_before = self._own_files()

    def upload(self, parts: Iterable[OpenFile]) -> None:
        """Upload every part; once all are there whole, let them appear one right after the other."""
        self._abort_earlier_uploads()
        if self._receipt_before is None:
            self._guard()
            self._fs.pipe_file(str(self._path / OWNER), json.dumps({"job": self._job}).encode())
        self._parts = self._upload_all(parts)

    def publish(self, receipt: bytes, keep: set[str]) -> None:
        """Put the receipt of what was uploaded; then delete what earlier runs left, but the paths in `keep`.

        StorageError when another run published since `look`.
        """
        self._guard()
        self._put_receipt(receipt)
        if self._receipt_is_ours():
            self._delete(self._files_before - self._parts - keep)

    def _own_files(self) -> set[str]:
        """The paths of what Nightmail has put there, but the receipt; the owner file is among them, there or not."""
        try:
            paths = set(self._fs.ls(str(self._path), detail=False))
        except FileNotFoundError:
            paths = set()
        paths |= {*self._fs.find(str(self._path / ASSETS)), str(self._path / OWNER)}
        own = {path for path in paths if is_nightmail_file(path.removeprefix(f"{self._path}/"))}
        return own - {str(self._path / RECEIPT)}

    def _abort_earlier_uploads(self) -> None:
        """Abort what an earlier process of this run left unfinished; whoever else publishes here is not disturbed."""
        ending = f"-{self._run_id}.parquet"
        abort_unfinished_uploads(self._fs, str(self._path / "part-"), lambda key: key.endswith(ending))

    def _upload_all(self, parts: Iterable[OpenFile]) -> set[str]:
        """Upload the parts and let them appear; their paths."""
        uploads: list[UncommittedUpload] = []
        try:
            for number, part in enumerate(parts, start=1):
                upload = UncommittedUpload(self._fs, str(self._path / part_name(number, self._run_id)))
                uploads.append(upload)
                with part() as source, upload.writing() as target:
                    shutil.copyfileobj(source, target, COPY_BYTES)
            self._guard()
            for upload in uploads:
                upload.commit()
        except BaseException:
            for upload in uploads:
                upload.abort()
            raise
        return {upload.path for upload in uploads}

    def _put_receipt(self, receipt: bytes) -> None:
        """Replace the receipt seen before, on condition that it is still the same: two runs may publish at once.

        A server that knows no conditional writes just takes it.
        """
        path = str(self._path / RECEIPT)
        condition = {"IfMatch": self._receipt_before} if self._receipt_before else {"IfNoneMatch": "*"}
        try:
            self._fs.pipe_file(path, receipt, **(condition if hasattr(self._fs, "call_s3") else {}))
        except OSError as error:
            code = _code(error)
            if code in ("NotImplemented", "501"):
                self._fs.pipe_file(path, receipt)
            elif code not in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                raise
            elif not self._receipt_is_ours():  # ours: an earlier try of the same request got through
                self._delete(self._parts)
                receipt_there = self._receipt_there()
                raise published_meanwhile(
                    str(self._fs.unstrip_protocol(str(self._path))),
                    receipt_there.get("job"),
                    f"{receipt_there.get('key', '')} (run {receipt_there.get('run')})",
                ) from error

    def _receipt_is_ours(self) -> bool:
        """Whether the receipt that is there now names this run."""
        return self._receipt_there().get("run") == self._run_id

    def _receipt_there(self) -> dict[str, Any]:
        receipt = json.loads(self._fs.cat_file(str(self._path / RECEIPT)))
        return receipt if isinstance(receipt, dict) else {}

    def _receipt_version(self) -> str | None:
        """The ETag of the receipt that is there; None without one."""
        with suppress(FileNotFoundError):
            info = self._fs.info(str(self._path / RECEIPT))
            return str(info.get("ETag") or info.get("etag") or "") or None
        return None

    def _delete(self, paths: set[str]) -> None:
        ordered = sorted(paths)
        for start in range(0, len(ordered), _KEYS_A_DELETE):
            self._fs.rm(ordered[start : start + _KEYS_A_DELETE])


def _code(error: OSError) -> str:
    """S3's error code; s3fs makes a FileExistsError of a failed condition, without one."""
    if isinstance(error, FileExistsError):
        return "PreconditionFailed"
    return s3_error_code(error.__cause__)
