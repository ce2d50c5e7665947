"""The service's own command line: `python -m tasks.local_batch --folder DIR` serves in the foreground, on loopback only."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from configs.errors import NightmailError, RunBusy
from tasks.local_batch.access_token import TOKEN_FILE
from tasks.local_batch.server import serve
from tasks.local_batch.settings import ServiceSettings


def main(arguments: list[str] | None = None) -> int:
    """Serve until stopped. Exit code: 0 stopped, 2 wrong settings, 3 the folder has a service already."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    settings = _parse(arguments)

    def print_ready(url: str) -> None:
        sys.stdout.write(f"READY {url}\n")
        sys.stdout.flush()  # whoever started the process waits for this line, through a pipe
        sys.stderr.write(f"its clients' API key is in {settings.folder / TOKEN_FILE}\n")

    try:
        serve(settings, os.environ, print_ready)
    except NightmailError as error:
        sys.stderr.write(f"{error}\n")
        return 3 if isinstance(error, RunBusy) else 2
    except KeyboardInterrupt:
        return 0
    return 0


def _parse(arguments: list[str] | None) -> ServiceSettings:
    parser = argparse.ArgumentParser(prog="python -m tasks.local_batch", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="where the service keeps its state")
    parser.add_argument("--port", type=int, default=0, help="default: the last one, or any free one")
    parser.add_argument("--upstream", help="OpenAI-compatible base URL that answers; default: echoes")
    parser.add_argument(
        "--concurrency", type=_positive_integer, default=4, help="requests at a time to the upstream"
    )
    parser.add_argument("--api-key-env", help="environment variable with the upstream's key")
    parser.add_argument(
        "--asks-once", action="store_true", help="do not ask again what the upstream may have been paid for"
    )
    parser.add_argument(
        "--rows-per-second", type=_positive_number, help="slow the echoes down, to watch progress"
    )
    parser.add_argument(
        "--idle-exit-seconds", type=_positive_number, help="exit after so long without calls and open batches"
    )
    parser.add_argument("--allow-faults", action="store_true", help="misbehave when asked to: for tests")
    options = vars(parser.parse_args(arguments))
    # Absolute, because /health shows it and clients compare it with theirs, whatever their current folder is.
    return ServiceSettings(**{**options, "folder": options["folder"].absolute()})


def _positive_integer(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def _positive_number(text: str) -> float:
    value = float(text)
    if not value > 0:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


if __name__ == "__main__":
    sys.exit(main())
