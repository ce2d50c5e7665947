"""All errors that Nightmail raises on purpose, in one tree, divided by how the caller reacts.

    NightmailError
    ├── ConfigError        the job file, a flag or the environment is wrong: nothing was done, exit 2
    │   └── InputError     the dataset is: missing, unreadable, a bad line
    ├── TransientError     try the same thing again later (`retry_after_seconds` when the provider said)
    │   ├── LostReply      a creating call went out and no reply came: look for its effect before repeating it
    │   ├── QueueFull      the provider has no room: wait, it does not count as an attempt
    │   ├── BillingRefused the account cannot pay: the run pauses until a person says so, or after a long wait
    │   └── UnreliableReply  what came cannot be the answer: ask again a bounded number of times, then stop
    ├── TerminalError      repeating it cannot help
    │   └── NotFound       the provider does not have that file or batch (any more)
    ├── NotGenuine         a webhook that its provider has not signed, or not of late: nothing is done
    ├── StorageError       the ledger or the run folder cannot be read or written now: stop, run again later
    ├── RunBusy            another process is working on this run, exit 3
    ├── LeaseLost          this process no longer owns the run and must write nothing more
    └── IntegrityError     the numbers do not reconcile: stop and keep everything

A message is one line: the culprit (file, key, column, line), then the next step.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from configs.foreign_text import fit_to_show


class NightmailError(Exception):
    """Base class of the tree. `str(error)` is the one line shown to the user.

    Whatever a message quotes (a service, a driver, a column's name), it is one line that a terminal only prints, and its
    URLs hold no password and no signature.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(fit_to_show(message))


class ConfigError(NightmailError):
    """The job file, a flag or the environment is wrong."""


class InputError(ConfigError):
    """The dataset is missing, unreadable or holds a line that cannot be taken as it is."""


class TransientError(NightmailError):
    """The same call may succeed later."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class LostReply(TransientError):
    """A call that creates something at the provider went out, and its reply was lost."""


class QueueFull(TransientError):
    """The provider has no room for another batch now."""


class BillingRefused(TransientError):
    """The account has no money, or is closed: nothing is wrong with what was asked, and asking again soon cannot help."""

    CODE: Final = "billing_refused"  # of a batch that was refused as a whole for it


class UnreliableReply(TransientError):
    """A reply is about another batch or file, or a download is not whole: nothing may be done on the strength of it."""


class TerminalError(NightmailError):
    """The provider refuses for good; `code` is its own error code."""

    def __init__(self, message: str, *, code: str | None = None) -> None:
        super().__init__(message)
        self.code = code


class NotFound(TerminalError):
    """The provider does not have that file or batch."""


class NotGenuine(NightmailError):
    """A webhook is not signed with the provider's secret, or was signed too long ago."""


class StorageError(NightmailError):
    """The ledger or the run folder cannot be read or written: a full disk, a locked or absent database."""


class RunBusy(NightmailError):
    """Another process holds the run's lease, until `until` if it dies; `origin` is the flow run it works for."""

    def __init__(self, message: str, *, until: datetime | None = None, origin: str | None = None) -> None:
        super().__init__(message)
        self.until = until
        self.origin = origin


class LeaseLost(NightmailError):
    """The lease lapsed, and another process has taken over the run."""


class IntegrityError(NightmailError):
    """Counts do not reconcile; nothing is published."""
