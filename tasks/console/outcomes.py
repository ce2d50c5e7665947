"""What the forms of one console did: each acts once, however often it is sent."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

_KEPT = 1000


@dataclass(frozen=True)
class Done:
    """What an action did, a line each, and the address where the rest can be followed."""

    lines: tuple[str, ...]
    follow: str | None = None


@dataclass(frozen=True)
class Outcome:
    """What was done with a form, under a title, and the page that it came from."""

    title: str
    done: Done
    back: str


class Outcomes:
    """The outcomes by the number that each form carries: a button pressed twice, or a page loaded again, does nothing more."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._by_form: dict[str, Outcome] = {}

    def act_once(self, form_id: str, act: Callable[[], Outcome]) -> Outcome:
        """Act, or say what was done before. One form at a time: the second press waits for what the first does."""
        with self._lock:
            if form_id not in self._by_form:
                self._by_form[form_id] = act()
                for oldest in list(self._by_form)[:-_KEPT]:
                    del self._by_form[oldest]
            return self._by_form[form_id]

    def find(self, form_id: str) -> Outcome | None:
        """What was done with that form; None for one that was not sent, and after many others."""
        return self._by_form.get(form_id)


def new_form_id() -> str:
    """The number of a form that is shown now."""
    return secrets.token_urlsafe(12)
