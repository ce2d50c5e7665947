"""How a batch service is set up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Settings:
    """`upstream` None answers with echoes; `idle_exit_seconds` None serves until it is stopped."""

    folder: Path
    port: int = 0
    upstream: str | None = None
    concurrency: int = 4
    api_key_env: str | None = None
    rows_per_second: float | None = None
    idle_exit_seconds: float | None = None
    allow_faults: bool = False

    def answering(self) -> dict[str, object]:
        """What decides how rows are answered, as /health shows it. The key itself is not in it."""
        return {
            "upstream": self.upstream,
            "api_key_env": self.api_key_env,
            "concurrency": self.concurrency,
            "rows_per_second": self.rows_per_second,
        }
