"""OpenAI's File object, and the ids of files."""

from __future__ import annotations

import hashlib
import secrets
from typing import Any, Final, Literal

import msgspec

# "purpose=batch files expire after 30 days by default" (the SDK's text); output and error files are kept as long.
DEFAULT_RETENTION_SECONDS: Final = 30 * 86_400

ResultKind = Literal["output", "error"]


class StoredFile(msgspec.Struct):
    """A file as the service keeps it on record; times are unix seconds, `expires_at` None keeps it for good.

    The field names are those of the JSON in the database: renaming one needs `msgspec.field(name=...)`.
    """

    id: str
    bytes: int
    created_at: int
    expires_at: int | None
    filename: str
    purpose: str

    def as_json(self) -> dict[str, Any]:
        """The object that GET /v1/files/{id} shows."""
        return {
            "id": self.id,
            "object": "file",
            "bytes": self.bytes,
            "created_at": self.created_at,
            "expires_at": self.expires_at,
            "filename": self.filename,
            "purpose": self.purpose,
            "status": "processed",
            "status_details": None,
        }


def new_file_id() -> str:
    """`file-` and 22 hex digits."""
    return f"file-{secrets.token_hex(11)}"


def result_file_id(batch_id: str, kind: ResultKind) -> str:
    """The id of a batch's output or error file: the same every time, so that publishing can be repeated after a crash."""
    return f"file-{hashlib.blake2b(f'{batch_id}/{kind}'.encode(), digest_size=11).hexdigest()}"
