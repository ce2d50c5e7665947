"""A folder of Parquet parts on an object store, replaced without renaming.

Parts carry their run in their name. They are uploaded whole before the first of them is shown; then the receipt is
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
from tasks.storage.multipart import Upload, abort_unfinished
from tasks.storage.urls import s3_error_code

# Readers of a dataset folder skip names that begin with an underscore.
RECEIPT, REPORT, ASSETS = "_receipt.json", "_report.html", "_assets"
OWNER = "_nightmail.json"  # says whose a folder is until it has its first receipt
BLOCK = 1 << 22
_PART = re.compile(r"part-\d{5,}-\w+\.parquet")
_ASSET = re.compile(rf"{ASSETS}/\w+/\d{{5,}}/[^/]+")  # run, chunk, name

Open = Callable[[], BinaryIO]


def part_name(number: int, run_id: str) -> str:
    """A part's file name; the same in every try of a run, and another for another run."""
    return f"part-{number:05d}-{run_id}.parquet"


def is_ours(name: str) -> bool:
    """Whether a file is Nightmail's, by its path in an output folder; all others are left alone."""
    return name in (RECEIPT, REPORT, OWNER) or bool(_PART.fullmatch(name) or _ASSET.fullmatch(name))


class ObjectFolder:
    """The folder `place` of `job`, to be filled by the run `run_id`."""

    def __init__(
        self, fs: Any, place: PurePosixPath, job: str, run_id: str, guard: Callable[[], None]
    ) -> None:
        self._fs = fs
        self._place = place
        self._job = job
        self._run_id = run_id
        self._guard = guard
        self._before: str | None = None
        self._there: set[str] = set()
        self._shown: set[str] = set()

    def upload(self, parts: Iterable[Open]) -> None:
        """Upload every part, then show them one right after the other."""
        self._before = self._receipt_version()
        self._there = self._ours()
        self._take_back_earlier_uploads()
        if self._before is None:
            self._guard()
            self._fs.pipe_file(str(self._place / OWNER), json.dumps({"job": self._job}).encode())
        self._shown = self._show_all(parts)

    def publish(self, receipt: bytes, beside: set[str]) -> None:
        """Put the receipt of what was uploaded; then delete what earlier runs left, but the files `beside` it.

        StorageError when another run published since `upload` looked.
        """
        self._guard()
        self._put_receipt(receipt)
        if self._is_ours():
            self._delete(self._there - self._shown - beside)

    def _ours(self) -> set[str]:
        """What Nightmail has put there, but the receipt; and the mark, which may follow."""
        try:
            found = set(self._fs.ls(str(self._place), detail=False))
        except FileNotFoundError:
            found = set()
        found |= {*self._fs.find(str(self._place / ASSETS)), str(self._place / OWNER)}
        ours = {path for path in found if is_ours(path.removeprefix(f"{self._place}/"))}
        return ours - {str(self._place / RECEIPT)}

    def _take_back_earlier_uploads(self) -> None:
        """Those of this run alone: whoever else publishes here is not disturbed."""
        mine = f"-{self._run_id}.parquet"
        abort_unfinished(self._fs, str(self._place / "part-"), lambda key: key.endswith(mine))

    def _show_all(self, parts: Iterable[Open]) -> set[str]:
        """The paths of the parts, uploaded and shown."""
        uploads: list[Upload] = []
        try:
            for number, part in enumerate(parts, start=1):
                upload = Upload(self._fs, str(self._place / part_name(number, self._run_id)))
                uploads.append(upload)
                with part() as source, upload.writing() as target:
                    shutil.copyfileobj(source, target, BLOCK)
            self._guard()
            for upload in uploads:
                upload.show()
        except BaseException:
            for upload in uploads:
                upload.forget()
            raise
        return {upload.path for upload in uploads}

    def _put_receipt(self, receipt: bytes) -> None:
        """Put it in place of the one seen before. Servers that know no conditions just take it."""
        path = str(self._place / RECEIPT)
        condition = {"IfMatch": self._before} if self._before else {"IfNoneMatch": "*"}
        try:
            self._fs.pipe_file(path, receipt, **(condition if hasattr(self._fs, "call_s3") else {}))
        except OSError as error:
            code = _code(error)
            if code in ("NotImplemented", "501"):
                self._fs.pipe_file(path, receipt)
            elif code not in ("PreconditionFailed", "ConditionalRequestConflict", "412", "409"):
                raise
            elif not self._is_ours():  # ours: an earlier try of the same request got through
                self._delete(self._shown)
                raise StorageError(
                    f"{self._fs.unstrip_protocol(str(self._place))}: another run published there at the same time;"
                    " every answer is kept, run the same command again to replace its output"
                ) from error

    def _is_ours(self) -> bool:
        """Whether the receipt that is there now names this run."""
        found = json.loads(self._fs.cat_file(str(self._place / RECEIPT)))
        return isinstance(found, dict) and found.get("run") == self._run_id

    def _receipt_version(self) -> str | None:
        with suppress(FileNotFoundError):
            found = self._fs.info(str(self._place / RECEIPT))
            return str(found.get("ETag") or found.get("etag") or "") or None
        return None

    def _delete(self, paths: set[str]) -> None:
        listed = sorted(paths)
        for start in range(0, len(listed), 1000):
            self._fs.rm(listed[start : start + 1000])


def _code(error: OSError) -> str:
    if isinstance(error, FileExistsError):
        return "PreconditionFailed"
    return s3_error_code(error.__cause__)
