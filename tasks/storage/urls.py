"""Open the filesystem behind a path or URL, and turn what it raises into one line that says what to do."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fsspec

from configs.errors import NightmailError, StorageError

_S3 = ("s3://", "s3a://")
_NO_CREDENTIALS = (
    "no S3 credentials were found; export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or set AWS_PROFILE or"
    " NIGHTMAIL_S3_BLOCK"
)
_WRONG_CREDENTIALS = "the server does not accept the S3 credentials ({code}); check the key and its secret"
_ACCESS_DENIED = (
    "access is denied; check the S3 credentials and that they may list, read, write and delete in that bucket"
)
_NO_ENDPOINT = "the S3 server cannot be reached ({detail}); check AWS_ENDPOINT_URL and the network"
# Names of botocore's classes, which cannot be named without importing it, and of error codes of S3.
_EXPLANATIONS: dict[str, str] = {
    "NoCredentialsError": _NO_CREDENTIALS,
    "PartialCredentialsError": _NO_CREDENTIALS,
    "ProfileNotFound": "{detail}; check AWS_PROFILE",
    "EndpointConnectionError": _NO_ENDPOINT,
    "ConnectTimeoutError": _NO_ENDPOINT,
    "ReadTimeoutError": _NO_ENDPOINT,
    "ConnectionClosedError": _NO_ENDPOINT,
    "SSLError": "no trusted connection to the S3 server ({detail}); check AWS_ENDPOINT_URL and AWS_CA_BUNDLE",
    "InvalidAccessKeyId": _WRONG_CREDENTIALS,
    "SignatureDoesNotMatch": _WRONG_CREDENTIALS,
    "InvalidToken": _WRONG_CREDENTIALS,
    "ExpiredToken": "the S3 credentials have expired; renew them",
    "RequestTimeTooSkewed": "this machine's clock is wrong, says the S3 server; set it",
    "AccessDenied": _ACCESS_DENIED,
    "403": _ACCESS_DENIED,
    "NoSuchBucket": "the bucket does not exist; create it, or correct the URL",
    "NoSuchUpload": "another process has ended this upload",
    "SlowDown": "the S3 server asks for fewer requests; wait a little",
}


def filesystem_of(url: str) -> tuple[Any, str]:
    """The fsspec filesystem behind a path or URL, and the path in it. Raises whatever the backend raises."""
    # Other processes write there too: a listing that is remembered would hide their files. Some servers (R2) insist
    # on parts of one size.
    options = {"use_listings_cache": False, "fixed_upload_size": True} if url.startswith(_S3) else {}
    fs, path = fsspec.core.url_to_fs(url, **options)
    return fs, path


def explanation_of(error: BaseException) -> str | None:
    """What is wrong with a remote filesystem and what to do about it; None where the error does not tell. Holds no secret."""
    cause: BaseException | None = error
    while cause is not None:
        for name in (s3_error_code(cause), type(cause).__name__):
            if name in _EXPLANATIONS:
                return _EXPLANATIONS[name].format(code=name, detail=_without_url_query(one_line(cause)))
        cause = cause.__cause__
    if isinstance(error, ValueError) and str(error).startswith("Invalid endpoint"):
        return f"{one_line(error)}; AWS_ENDPOINT_URL begins with http:// or https://"
    return None


@contextmanager
def storage_errors(
    name: Callable[[], str], consequence: str, *, local: bool, absent: str | None = None
) -> Iterator[None]:
    """Turn whatever a disk or an object store raises in the block into a StorageError of one line.

    The line is `name` (of the file or folder), what is wrong, and the `consequence`, e.g. "nothing is lost". `absent`
    is what to say of a file that is not there; without it, FileNotFoundError is an OSError like others.
    """
    try:
        yield
    except NightmailError:
        raise
    except Exception as error:
        reason = None if local else explanation_of(error)
        if reason is None and absent and isinstance(error, FileNotFoundError):
            reason = absent
        elif reason is None and isinstance(error, OSError):
            reason = f"{error.strerror or one_line(error)}; make room or access"
        if reason is None:  # a bug: its traceback is worth more than a line
            raise
        raise StorageError(f"{name()}: {reason}; {consequence}, run the same command again") from error


def is_file_absent(error: FileNotFoundError) -> bool:
    """Whether only that file is not there; False when its whole bucket is not."""
    return s3_error_code(error.__cause__) != "NoSuchBucket"


def redacted(url: str) -> str:
    """A URL without user name and password, and without the query that may sign it; a path as it is."""
    if "://" not in url:
        return url
    bare = re.sub(r"://[^/@]*@", "://", url)
    return re.split("[?#]", bare, maxsplit=1)[0] if bare.startswith("http") else bare


def one_line(error: BaseException, most: int = 200) -> str:
    """An error's text on one line, at most `most` characters of it."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= most else text[: most - 1] + "…"


def s3_error_code(error: BaseException | None) -> str:
    """The error code that an S3 server gave; empty where it is not one of its errors."""
    # botocore's ClientError, which s3fs keeps as the cause of the OSError it makes of it.
    response = getattr(error, "response", None)
    return str(response.get("Error", {}).get("Code", "")) if isinstance(response, dict) else ""


def _without_url_query(text: str) -> str:
    """A message without the signatures that presigned URLs carry in their queries."""
    return re.sub(r"(https?://[^\s\"?]*)\?[^\s\"]*", r"\1", text)
