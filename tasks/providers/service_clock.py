"""The time by a provider's clock, learned from the Date of its replies."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta

from tasks.providers.http_headers import http_date


class ServiceClock:
    """What time it is at the provider, wherever the clock of this machine stands.

    Between two replies it goes on by a clock that is never set, so that a change of this machine's time does not move it.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seen: tuple[datetime, float] | None = None

    def learn(self, headers: Mapping[str, str]) -> None:
        """Take the time from a reply's Date. A service that sends none, against RFC 9110, is taken to have ours."""
        date = http_date(headers.get("date", ""))
        if date is not None or self._seen is None:
            self._seen = date or datetime.now(UTC), self._monotonic()

    def now(self) -> datetime | None:
        """The provider's time, to the second; None until it has answered this process."""
        if self._seen is None:
            return None
        date, at = self._seen
        return date + timedelta(seconds=self._monotonic() - at)

    def earliest(self, since: datetime, ours: datetime, margin: timedelta) -> datetime:
        """`since`, a time by our clock, as the provider's clock had it, less `margin`.

        Never after the provider's present: `since` may have been noted while our clock was ahead.
        """
        theirs = self.now()
        return (since if theirs is None else min(since + (theirs - ours), theirs)) - margin
