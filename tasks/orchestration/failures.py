"""End a flow run or a step by an expected error: the error's one line is all that states and logs say of it.

Raised as it is, Prefect would log it with a traceback in several places, and begin the state's message with words of its own.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from configs.errors import NightmailError

if TYPE_CHECKING:
    from prefect.client.schemas.objects import State

_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine")


class _ExpectedErrors(logging.Filter):
    """Drops what Prefect adds about an error that we tell ourselves: its traceback, and the state that it ended in."""

    def __init__(self) -> None:
        super().__init__()
        self._told: set[str] = set()

    def add(self, state: State[Any]) -> None:
        self._told |= {str(state), repr(state)}  # a flow run's engine says the one, a task's both
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self)  # once, however often it is added

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], NightmailError):
            return False
        message = record.getMessage()
        return not any(state in message for state in self._told)


_expected_errors = _ExpectedErrors()


def _says_more_than_done(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith("Finished in state Completed(")


def told_by_steps() -> None:
    """Drop what Prefect adds to the end of a step: each says itself what it has done."""
    logging.getLogger("prefect.task_runs").addFilter(_says_more_than_done)  # once, however often it is added


def told_already(state: State[Any]) -> None:
    """Drop what Prefect adds about a state whose message is in the log."""
    _expected_errors.add(state)


def failed_by(error: NightmailError) -> State[Any]:
    """The state Failed with the error's line as its message. A flow or task that returns it raises the error in its caller."""
    from prefect.states import Failed

    state: State[Any] = Failed(message=str(error), data=error)
    _expected_errors.add(state)
    return state
