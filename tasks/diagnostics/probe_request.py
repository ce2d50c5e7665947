"""The two minimal request lines that a probe posts."""

from __future__ import annotations

import json
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
            json.dumps(
                {
                    "custom_id": name,
                    "method": "POST",
                    "url": self.endpoint,
                    "body": {"model": self.model, **fields},
                }
            ).encode()
            + b"\n"
            for name, fields in zip(CUSTOM_IDS, self._body_fields(), strict=True)
        )

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
