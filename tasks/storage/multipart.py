"""Write objects to a remote store in parts, so that they are there whole or not at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, cast

from tasks.storage.urls import s3_error_code

# One request each, held in memory once. S3 takes 10,000 parts a file: 156 GiB.
PART_BYTES = 16 << 20
_HTML = "text/html; charset=utf-8"  # else a browser saves the page instead of showing it
# What stores answer that have no list of unfinished uploads, or none for this key.
_CANNOT_LIST = ("NoSuchUpload", "NotImplemented", "MethodNotAllowed", "501", "405")


@contextmanager
def atomic_object(
    fs: Any, path: str, guard: Callable[[], None], part_bytes: int | None = None
) -> Iterator[BinaryIO]:
    """An object that appears when the block ends; on an exception it does not, and its parts are deleted.

    `guard` is called right before it appears.
    """
    options = {"ContentType": _HTML} if path.endswith(".html") and hasattr(fs, "call_s3") else {}
    file = fs.open(path, "wb", block_size=part_bytes or PART_BYTES, **options)
    try:
        yield cast(BinaryIO, file)
        guard()
        file.close()
    except BaseException:
        _discard(file)
        raise


class UncommittedUpload:
    """An object that is uploaded whole, and does not appear until `commit`."""

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
            self.abort()
            raise

    def commit(self) -> None:
        """Let it appear: one request."""
        self._file.commit()
        self._file.mpu = None  # nothing to abort any more

    def abort(self) -> None:
        """Delete what was uploaded; an object that has appeared stays."""
        _discard(self._file)


def abort_unfinished_uploads(fs: Any, path: str, selected: Callable[[str], bool] = lambda _: True) -> None:
    """Abort uploads below a path that were begun and never finished, where `selected` says so of their key.

    S3 keeps and charges their parts for ever otherwise. Whoever still writes one of them gets an error.

    Does nothing where the store is not S3, or does not list them.
    """
    if not hasattr(fs, "call_s3"):
        return
    bucket, prefix, _ = fs.split_path(path)
    page: dict[str, str] = {}
    while True:
        try:
            listing = fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix, **page)
        except OSError as error:
            if s3_error_code(error.__cause__) not in _CANNOT_LIST:
                raise
            return
        for upload in listing.get("Uploads", ()):
            if selected(upload["Key"]):
                with suppress(FileNotFoundError):  # it has just been finished, or aborted
                    fs.call_s3(
                        "abort_multipart_upload",
                        Bucket=bucket,
                        Key=upload["Key"],
                        UploadId=upload["UploadId"],
                    )
        if not listing.get("IsTruncated"):
            return
        page = {"KeyMarker": listing["NextKeyMarker"], "UploadIdMarker": listing["NextUploadIdMarker"]}


def _discard(file: Any) -> None:
    with suppress(Exception):  # what went wrong before is what people must hear of
        if not file.closed or getattr(file, "mpu", None):
            file.discard()
    file.closed = True  # else fsspec finishes it, and lets it appear, when it is collected as garbage
