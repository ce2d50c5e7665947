"""`python -m tasks.local_batch --folder DIR`: the batch service in the foreground, on loopback only."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from configs.errors import NightmailError, RunBusy
from tasks.local_batch.server import serve
from tasks.local_batch.settings import Settings


def main(arguments: list[str] | None = None) -> int:
    """Exit code: 0 stopped, 2 wrong settings, 3 the folder has a service already."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        serve(_settings(arguments), os.environ, _say_ready)
    except NightmailError as error:
        sys.stderr.write(f"{error}\n")
        return 3 if isinstance(error, RunBusy) else 2
    except KeyboardInterrupt:
        return 0
    return 0


def _say_ready(url: str) -> None:
    sys.stdout.write(f"READY {url}\n")
    sys.stdout.flush()


def _settings(arguments: list[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m tasks.local_batch", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the service keeps its state")
    parser.add_argument("--port", type=int, default=0, help="default: the last one, or any free one")
    parser.add_argument("--upstream", help="OpenAI-compatible base URL that answers; default: echoes")
    parser.add_argument("--concurrency", type=_positive, default=4, help="requests at a time to the upstream")
    parser.add_argument("--api-key-env", help="environment variable with the upstream's key")
    parser.add_argument("--rows-per-second", type=_rate, help="slow the echoes down, to watch progress")
    parser.add_argument(
        "--idle-exit-seconds", type=_rate, help="exit after so long without calls and open batches"
    )
    parser.add_argument("--allow-faults", action="store_true", help="misbehave when asked to: for tests")
    given = vars(parser.parse_args(arguments))
    return Settings(**{**given, "folder": given["folder"].absolute()})


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _rate(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
