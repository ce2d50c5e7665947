"""The end of a list that a service gives page by page, whatever its cursors say."""

from __future__ import annotations

from configs.errors import TerminalError

MAX_PAGES = 1_000
"""Of one list. At the usual 100 a page, more batches than any account has had since it was asked."""


def goes_on(cursor: str, followed: set[str]) -> bool:
    """Whether to fetch the page behind `cursor`: not one that has been followed, nor pages for ever."""
    if cursor in followed or len(followed) >= MAX_PAGES:
        return False
    followed.add(cursor)
    return True


def endless(subject: str) -> TerminalError:
    """What to say of a list that must be known whole: a batch that is there and not seen would be posted again."""
    return TerminalError(
        f"{subject}: it does not end, or comes back to where it was, so a batch may be there that cannot be seen;"
        " look for it at the provider, then run the same command again"
    )
