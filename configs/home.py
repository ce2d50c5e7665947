"""Where state lives: the ledger and the run folders. Not the job's business, so it comes from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Home:
    """`folder` is local (scratch space and the embedded service); the URLs may point anywhere."""

    folder: Path
    ledger_url: str
    runs_url: str

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Home:
        """NIGHTMAIL_HOME (default `.nightmail` here), NIGHTMAIL_LEDGER_URL, NIGHTMAIL_RUNS_URL."""
        folder = Path(environ.get("NIGHTMAIL_HOME") or ".nightmail").expanduser().absolute()
        return cls(
            folder=folder,
            ledger_url=environ.get("NIGHTMAIL_LEDGER_URL") or f"sqlite:///{folder / 'ledger.db'}",
            runs_url=environ.get("NIGHTMAIL_RUNS_URL") or str(folder / "runs"),
        )
