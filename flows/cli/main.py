"""The console script `nightmail`: runs a command and turns errors into exit codes. stdout is data, stderr the rest."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Sequence

from cyclopts import CycloptsError

from configs.errors import ConfigError, NightmailError, TerminalError
from configs.foreign_text import fit_to_show
from flows.cli import backfill, doctor, maintain, run, show
from flows.cli.app import (
    ALL_ANSWERED,
    INTERRUPTED,
    NOT_FINISHED,
    USAGE,
    app,
    interrupt_at_intervals,
    set_interrupts,
)

__all__ = [
    "app",
    "arrow_settings",
    "backfill",
    "doctor",
    "main",
    "maintain",
    "run",
    "show",
]  # importing a module registers its commands


def arrow_settings() -> dict[str, str]:
    """Environment variables by which Arrow, which reads them when it is imported, holds no more memory than it uses."""
    # Arrow's default allocator keeps freed memory: a fifth more for the same work, measured by tests/bench/prepare.py.
    # Of the two others, jemalloc grows a buffer in place: the pages of rows of 100 KB take 100 MB less with it.
    if sys.platform != "linux":
        return {"ARROW_DEFAULT_MEMORY_POOL": "system"}
    # It keeps freed pages for a second, 20 to 40 MB while a chunk is merged (tests/bench/memory.py); giving them back at
    # once takes a sixth more of the processor, after 50 ms nothing (tests/bench/merge.py).
    return {
        "ARROW_DEFAULT_MEMORY_POOL": "jemalloc",
        "JE_ARROW_MALLOC_CONF": "dirty_decay_ms:50,muzzy_decay_ms:0",
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; an error becomes one line on stderr and an exit code."""
    for name, value in arrow_settings().items():
        os.environ.setdefault(name, value)
    words = [*(sys.argv[1:] if arguments is None else arguments)]
    debug = "--debug" in words
    if arguments is None and not debug:
        # What Prefect logs of a run is in its server; on the terminal it would bury the one line that people need.
        os.environ.setdefault("PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL", "CRITICAL")
    before = signal.getsignal(signal.SIGINT)
    if arguments is None:
        set_interrupts(interrupt_at_intervals())
    code = _run([word for word in words if word != "--debug"], debug=debug)
    # As a program, the code stands whatever is pressed while Python shuts down; called by one, it goes on.
    set_interrupts(signal.SIG_IGN if arguments is None else before)
    sys.exit(code)


def _run(tokens: list[str], *, debug: bool) -> int:
    try:
        result = app(tokens, exit_on_error=False, print_error=True)
        return result if isinstance(result, int) else ALL_ANSWERED
    except CycloptsError:
        return USAGE  # it has printed what is wrong
    except KeyboardInterrupt:
        set_interrupts()
        sys.stderr.write("Interrupted; run the same command again to go on.\n")
        return INTERRUPTED
    except BrokenPipeError:
        # `| head` closes the pipe early. Without this, Python fails again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ALL_ANSWERED
    except NightmailError as error:
        if debug:
            traceback.print_exc()
        sys.stderr.write(f"nightmail: {error}\n")
        return USAGE if isinstance(error, (ConfigError, TerminalError)) else NOT_FINISHED
    except Exception as error:  # noqa: BLE001 - one line for people; --debug shows the traceback
        if debug:
            traceback.print_exc()
        message = fit_to_show(" ".join(str(error).split()))[:300]
        sys.stderr.write(
            f"nightmail: unexpected {type(error).__name__}: {message}; --debug shows where. Nothing is lost.\n"
        )
        return NOT_FINISHED


if __name__ == "__main__":
    main()
