"""HTTP errors in the shape that OpenAI gives them, which its SDK turns into exceptions."""

from __future__ import annotations

from typing import Any


class ApiError(Exception):
    """A call refused: HTTP status, message, and the parameter and code that the SDK shows."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def body(self) -> dict[str, Any]:
        """The JSON of the response."""
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}
