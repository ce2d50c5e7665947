"""Locations and credentials of the ledger and the run folders.

They come from the environment and not from the job file: the same job runs on a laptop and in a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from configs.errors import ConfigError
from configs.foreign_text import secret_in_url


@dataclass(frozen=True)
class Home:
    """The storage locations. `folder` is local (scratch space, embedded service); the URLs may point anywhere.

    `s3_block` names the Prefect block with credentials for every s3:// URL; None leaves it to AWS's default chain.
    """

    folder: Path
    ledger_url: str
    runs_url: str
    s3_block: str | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Home:
        """Read NIGHTMAIL_HOME (default `.nightmail` here), NIGHTMAIL_LEDGER_URL, NIGHTMAIL_RUNS_URL, NIGHTMAIL_S3_BLOCK."""
        runs_url = environ.get("NIGHTMAIL_RUNS_URL") or ""
        secret = secret_in_url(runs_url)
        if secret:
            raise ConfigError(
                f"NIGHTMAIL_RUNS_URL: the URL holds {secret}, and it is shown and kept; give credentials through the"
                " environment of the storage, e.g. AWS_ACCESS_KEY_ID, or NIGHTMAIL_S3_BLOCK"
            )
        folder = Path(environ.get("NIGHTMAIL_HOME") or ".nightmail").expanduser().absolute()
        return cls(
            folder=folder,
            ledger_url=environ.get("NIGHTMAIL_LEDGER_URL") or f"sqlite:///{folder / 'ledger.db'}",
            runs_url=runs_url or str(folder / "runs"),
            s3_block=environ.get("NIGHTMAIL_S3_BLOCK") or None,
        )
