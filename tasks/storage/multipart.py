"""Objects on a remote store: written in parts, and there whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, cast

from tasks.storage.urls import s3_error_code

# One request each, held in memory once. S3 takes 10,000 parts a file: 156 GiB.
PART_BYTES = 16 << 20
_HTML = "text/html; charset=utf-8"  # else a browser saves the page instead of showing it
_LISTS_NONE = ("NoSuchUpload", "NotImplemented", "MethodNotAllowed", "501", "405")


@contextmanager
def atomic_object(
    fs: Any, path: str, guard: Callable[[], None], part_bytes: int | None = None
) -> Iterator[BinaryIO]:
    """An object that appears when the block ends; on an exception it does not, nor what was uploaded of it.

    `guard` is called right before it appears.
    """
    shown_as = {"ContentType": _HTML} if path.endswith(".html") and hasattr(fs, "call_s3") else {}
    file = fs.open(path, "wb", block_size=part_bytes or PART_BYTES, **shown_as)
    try:
        yield cast(BinaryIO, file)
        guard()
        file.close()
    except BaseException:
        _forget(file)
        raise


class Upload:
    """An object that is uploaded whole and not there yet, until `show`."""

    def __init__(self, fs: Any, path: str) -> None:
        self.path = path
        self._file = fs.open(path, "wb", block_size=PART_BYTES, autocommit=False)

    @contextmanager
    def writing(self) -> Iterator[BinaryIO]:
        """Upload what is written in the block."""
        try:
            yield cast(BinaryIO, self._file)
            self._file.close()
        except BaseException:
            self.forget()
            raise

    def show(self) -> None:
        """Let it appear: one request."""
        self._file.commit()
        self._file.mpu = None  # nothing to take back any more

    def forget(self) -> None:
        """Take back what was uploaded; one that is shown stays."""
        _forget(self._file)


def abort_unfinished(fs: Any, path: str, mine: Callable[[str], bool] = lambda _: True) -> None:
    """Take back uploads below a path that were begun and never finished; whoever still writes them gets an error.

    Does nothing where the store is not S3, or does not list them.
    """
    if not hasattr(fs, "call_s3"):
        return
    bucket, prefix, _ = fs.split_path(path)
    page: dict[str, str] = {}
    while True:
        try:
            found = fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix, **page)
        except OSError as error:
            if s3_error_code(error.__cause__) not in _LISTS_NONE:
                raise
            return
        for upload in found.get("Uploads", ()):
            if mine(upload["Key"]):
                with suppress(FileNotFoundError):  # it has just been finished, or taken back
                    fs.call_s3(
                        "abort_multipart_upload",
                        Bucket=bucket,
                        Key=upload["Key"],
                        UploadId=upload["UploadId"],
                    )
        if not found.get("IsTruncated"):
            return
        page = {"KeyMarker": found["NextKeyMarker"], "UploadIdMarker": found["NextUploadIdMarker"]}


def _forget(file: Any) -> None:
    with suppress(Exception):  # what went wrong before is what people must hear of
        if not file.closed or getattr(file, "mpu", None):
            file.discard()
    file.closed = True  # else it is finished, and shown, when it is collected as garbage
