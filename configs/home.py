"""Locations and credentials of the ledger and the run folders.

They come from the environment and not from the job file: the same job runs on a laptop and in a cluster.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from configs.errors import ConfigError
from configs.foreign_text import secret_in_url

JOBS_VARIABLE = "NIGHTMAIL_JOBS_URL"
_CHECKOUT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Home:
    """The storage locations. `folder` is local (scratch space, embedded service); the URLs may point anywhere.

    `jobs_url` is where the job files are. `s3_block` names the Prefect block with credentials for every s3:// URL; None leaves
    it to AWS's default chain. `console_url` is where people reach the web console; None when they are not told.
    """

    folder: Path
    ledger_url: str
    runs_url: str
    s3_block: str | None = None
    jobs_url: str = str(_CHECKOUT / "configs/jobs")
    console_url: str | None = None

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Home:
        """Read NIGHTMAIL_HOME (default `.nightmail` here), NIGHTMAIL_LEDGER_URL, NIGHTMAIL_RUNS_URL, NIGHTMAIL_JOBS_URL
        (default configs/jobs of the checkout), NIGHTMAIL_S3_BLOCK, NIGHTMAIL_CONSOLE_URL."""
        runs_url, jobs_url = (
            _without_secret(name, environ) for name in ("NIGHTMAIL_RUNS_URL", JOBS_VARIABLE)
        )
        folder = Path(environ.get("NIGHTMAIL_HOME") or ".nightmail").expanduser().absolute()
        return cls(
            folder=folder,
            ledger_url=environ.get("NIGHTMAIL_LEDGER_URL") or f"sqlite:///{folder / 'ledger.db'}",
            runs_url=runs_url or str(folder / "runs"),
            s3_block=environ.get("NIGHTMAIL_S3_BLOCK") or None,
            jobs_url=jobs_url or cls.jobs_url,
            console_url=_console_url(environ),
        )


def _without_secret(name: str, environ: Mapping[str, str]) -> str:
    url = environ.get(name) or ""
    secret = secret_in_url(url)
    if secret:
        raise ConfigError(
            f"{name}: the URL holds {secret}, and it is shown and kept; give credentials through the"
            " environment of the storage, e.g. AWS_ACCESS_KEY_ID, or NIGHTMAIL_S3_BLOCK"
        )
    return url


def _console_url(environ: Mapping[str, str]) -> str | None:
    url = (environ.get("NIGHTMAIL_CONSOLE_URL") or "").rstrip("/")
    if not url:
        return None
    if not url.startswith(("http://", "https://")) or secret_in_url(url):
        raise ConfigError(
            "NIGHTMAIL_CONSOLE_URL: is no URL that may be shown; give the one that people open, without a user name or"
            " password, e.g. http://127.0.0.1:8500"
        )
    return url
