"""The minimal request lines that probes post."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

# With what some services take for the end of a line; written escaped, as in every line that a run posts.
_ASKED = "Say ok.\u2028\u2029\u0085"
CUSTOM_IDS = ("nightmail-doctor-1", "nightmail-doctor-2")


@dataclass(frozen=True)
class ProbeRequest:
    """A batch of two rows. The second has an invalid parameter, to see how the service reports a failed row."""

    model: str
    endpoint: str

    def lines(self) -> bytes:
        """The content of the input file."""
        return b"".join(
            self._line(name, fields) for name, fields in zip(CUSTOM_IDS, self._body_fields(), strict=True)
        )

    def good_lines(self, custom_ids: Sequence[str]) -> bytes:
        """A file of valid rows alone."""
        return b"".join(self._line(name, self._body_fields()[0]) for name in custom_ids)

    def _line(self, custom_id: str, fields: dict[str, Any]) -> bytes:
        body = {"model": self.model, **fields}
        request = {"custom_id": custom_id, "method": "POST", "url": self.endpoint, "body": body}
        return json.dumps(request).encode() + b"\n"

    def _body_fields(self) -> tuple[dict[str, Any], dict[str, Any]]:
        if self.endpoint == "/v1/responses":
            return {"input": _ASKED}, {"input": _ASKED, "temperature": 99}
        if self.endpoint == "/v1/embeddings":
            return {"input": "ok"}, {"input": ""}
        if self.endpoint == "/v1/completions":
            return {"prompt": _ASKED}, {"prompt": _ASKED, "temperature": 99}
        if self.endpoint == "/v1/moderations":
            return {"input": "ok"}, {"input": "also ok"}
        messages = [{"role": "user", "content": _ASKED}]
        return {"messages": messages}, {"messages": messages, "temperature": 99}
