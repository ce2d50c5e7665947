"""The console script `nightmail`: runs a command and turns errors into exit codes. stdout is data, stderr the rest."""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from datetime import date

from cyclopts import CoercionError, CycloptsError, MissingArgumentError

from configs.arrow_settings import arrow_settings
from configs.errors import ConfigError, NightmailError, TerminalError
from configs.foreign_text import fit_to_show
from configs.json_log import log_as_asked
from flows.cli import backfill, console, doctor, jobs, maintain, run, show, stats, submit, webhooks
from flows.cli.app import (
    ALL_ANSWERED,
    INTERRUPTED,
    NOT_FINISHED,
    USAGE,
    app,
    interrupt_at_intervals,
    set_interrupts,
)
from flows.cli.terminal import say

__all__ = [
    "app",
    "backfill",
    "console",
    "doctor",
    "jobs",
    "main",
    "maintain",
    "run",
    "show",
    "stats",
    "submit",
    "webhooks",
]  # importing a module registers its commands


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
        log_as_asked(os.environ)
        result = app(tokens, exit_on_error=False, print_error=False)
        return result if isinstance(result, int) else ALL_ANSWERED
    except CycloptsError as error:
        say(f"nightmail: {_wrong_usage(error)}", logging.ERROR)
        return USAGE
    except KeyboardInterrupt:
        set_interrupts()
        say("Interrupted; run the same command again to go on.", logging.WARNING)
        return INTERRUPTED
    except BrokenPipeError:
        # `| head` closes the pipe early. Without this, Python fails again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ALL_ANSWERED
    except NightmailError as error:
        say(f"nightmail: {error}", logging.ERROR, traceback=debug)
        return USAGE if isinstance(error, (ConfigError, TerminalError)) else NOT_FINISHED
    except Exception as error:  # noqa: BLE001 - one line for people; --debug shows the traceback
        message = fit_to_show(" ".join(str(error).split()))[:300]
        say(
            f"nightmail: unexpected {type(error).__name__}: {message}; --debug shows where. Nothing is lost.",
            logging.ERROR,
            traceback=debug,
        )
        return NOT_FINISHED


def _wrong_usage(error: CycloptsError) -> str:
    """What is wrong with the words of a command, and which help explains them, in a line."""
    text = fit_to_show(" ".join(str(error).split()))
    argument = error.argument
    if isinstance(error, MissingArgumentError) and argument:
        name, kind = argument.names[0], argument.field_info
        positional = kind.kind is kind.POSITIONAL_OR_KEYWORD
        text = (
            f"{name.removeprefix('--').upper()} is missing." if positional else f"{name}: a value is missing."
        )
    if isinstance(error, CoercionError) and error.target_type is date:
        text += " A date is written like 2026-11-30."
    return f"{text} See {' '.join(['nightmail', *(error.command_chain or ()), '--help'])}"


if __name__ == "__main__":
    main()
