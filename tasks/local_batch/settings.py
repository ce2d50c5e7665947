"""The settings of one batch service, as its command line gives them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ServiceSettings:
    """How a service listens and who answers its rows.

    `asks_once` is for an upstream that charges: a row that may have been answered there is not asked again.
    `port` 0 takes the port of last time, or any free one. `upstream` None answers with echoes. `idle_exit_seconds`
    None serves until it is stopped.
    """

    folder: Path
    port: int = 0
    upstream: str | None = None
    concurrency: int = 4
    api_key_env: str | None = None
    asks_once: bool = False
    rows_per_second: float | None = None
    idle_exit_seconds: float | None = None
    allow_faults: bool = False

    def answering(self) -> dict[str, object]:
        """Who answers rows, and how fast: compared before a run uses a service that is already there.

        `/health` shows it, so it names the variable of the key and never holds the key.
        """
        return {
            "upstream": self.upstream,
            "api_key_env": self.api_key_env,
            "asks_once": self.asks_once,
            "concurrency": self.concurrency,
            "rows_per_second": self.rows_per_second,
        }
