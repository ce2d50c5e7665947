"""Provoke the faults that can be provoked from outside, and see what a service makes of them (`doctor --deep`)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, TypeVar

from configs.job import Poll
from tasks.diagnostics.facts import Fact, Grade, Report
from tasks.diagnostics.probe_batches import ProbeBatches, wait_until_ended
from tasks.diagnostics.probe_pages import check_list_pages
from tasks.diagnostics.probe_request import ProbeRequest
from tasks.diagnostics.probe_results import check_every_row
from tasks.providers.base import BatchStatus
from tasks.providers.openai.raw_calls import RawCalls, Refused
from tasks.stages.wire.formats import dialect

FILES: Final = 3
BATCHES: Final = 6
ROWS: Final = 8
"""What a probe posts at most, beside what the ordinary checks do."""

_ONE = ("nightmail-doctor-3",)
_MANY = ("nightmail-doctor-4", "nightmail-doctor-5", "nightmail-doctor-6")
_HALF_A_LINE = b'{"custom_id": "nightmail-doctor-7", "method": "POST"\n'
_NO_BATCH, _NO_FILE, _NO_ENDPOINT = "batch_nightmail_doctor", "file-nightmail-doctor", "/v1/nightmail-doctor"
_SHORT_WINDOWS = ("1s", "1m")  # documented nowhere, and taken by some
_LONGER_THAN_SHORT = timedelta(minutes=10)
_SOON = Poll().first_seconds  # a run posts again what the list does not show by then
_GONE = (404, 410)
_NO_SUCH_CALL = (404, 405, 501)
_NOT_NOW = (408, 429)
_CUT_SHORT = (BatchStatus.CANCELLED, BatchStatus.EXPIRED)

T = TypeVar("T")


class FaultProbe:
    """The provoked faults of one service that has passed the ordinary checks. Call `run` once.

    `losing` are calls of the same service whose replies are lost; `stranger` sends a wrong key, None where none is sent.
    `wait` waits some seconds, and returns whether any of the time limit is left.
    """

    def __init__(
        self,
        raw: RawCalls,
        losing: RawCalls,
        stranger: RawCalls | None,
        request: ProbeRequest,
        report: Report,
        wait: Callable[[float], bool],
    ) -> None:
        self._raw = raw
        self._losing = losing
        self._stranger = stranger
        self._request = request
        self._report = report
        self._wait = wait
        self._batches = ProbeBatches(raw, request.endpoint)
        self.unfinished = False

    def run(self) -> None:
        """Run all checks. Cancels what is still open and deletes the files at the end."""
        self._check_wrong_key()
        self._check_unknown_ids()
        try:
            self._post_and_check()
        except Refused as refusal:
            self._report(Fact("upload", Grade.BAD, refusal.text))
        finally:
            self._batches.clear()
        self._check_deleted()

    def _post_and_check(self) -> None:
        """Create all batches before any is waited for. Refused when not even a file can be uploaded."""
        one = self._batches.upload("one", self._request.good_lines(_ONE))
        many = self._batches.upload("many", self._request.good_lines(_MANY))
        lost = self._check_lost_reply(one)
        second = self._check_equal_create(one, lost) if lost else None
        asked_to_end = {batch: self._cancel_twice(batch) for batch in (second, lost) if batch}
        whole = _attempt(self._batches.create, "whole", many)
        nowhere = _attempt(self._batches.create, "endpoint", one, endpoint=_NO_ENDPOINT)
        invalid = _attempt(self._post_half_a_line)
        short = self._post_short_window(one)
        check_list_pages(self._raw, set(self._batches.ids), self._report)
        self.unfinished = not wait_until_ended(self._batches, self._wait)
        self._check_cancelled(asked_to_end)
        self._check_whole(whole)
        self._check_refused("unknown endpoint", nowhere)
        self._check_refused("invalid line", invalid)
        self._check_expired(short)
        self._check_cut_rows()
        self._check_cancelling_ended()

    # --- what needs no batch

    def _check_wrong_key(self) -> None:
        if self._stranger is None:
            self._note("wrong key", "no key is sent; --api-key-env names one")
            return
        status = _status_of(self._stranger.batches, 1)
        self._judge("wrong key", _in_words(status), good=status in (401, 403))

    def _check_unknown_ids(self) -> None:
        statuses = {
            "batch": _status_of(self._raw.retrieve, _NO_BATCH),
            "cancel": _status_of(self._raw.cancel, _NO_BATCH),
            "file": _status_of(self._raw.content, _NO_FILE),
        }
        detail = ", ".join(f"{name}: {_in_words(status)}" for name, status in statuses.items())
        self._judge("unknown ids", detail, good=all(status in _GONE for status in statuses.values()))

    def _check_deleted(self) -> None:
        if self._batches.files:
            status = _status_of(self._raw.content, self._batches.files[0])
            self._judge("deleted is gone", _in_words(status), good=status in _GONE)

    # --- creating

    def _check_lost_reply(self, file_id: str) -> str | None:
        """Create a batch whose reply is lost; its id, where the list shows it in time."""
        with suppress(Refused):
            self._losing.create(**self._batches.fields("lost", file_id))
        for look in range(1, int(_SOON) + 1):
            found = _attempt(self._batches.find, "lost", file_id)
            if isinstance(found, str):
                self._judge("lost reply", f"{found} is in the list, at look {look}", good=True)
                return found
            if not self._wait(1.0):
                self._note("lost reply", "not in the list in the time given")
                return None
        detail = found.text if isinstance(found, Refused) else "the list does not show the batch"
        self._report(Fact("lost reply", Grade.BAD, f"{detail}, {_SOON:g} s after it was created"))
        return None

    def _check_equal_create(self, file_id: str, first: str) -> str | None:
        """Create the batch `first` once more; the id of the second one, where it is another."""
        made = _attempt(self._batches.create, "lost", file_id)
        if isinstance(made, Refused) and made.status in _NOT_NOW:
            self._note("equal create", made.text)
        elif isinstance(made, Refused):
            self._judge("equal create", f"refused: {made.text}", good=False)
        elif made == first:
            self._report(Fact("equal create", Grade.NOTE, f"the reply is {first} again", honoured=False))
        else:
            self._judge("equal create", f"{made}: a call that is repeated is paid twice", good=True)
            return made
        return None

    def _post_half_a_line(self) -> str:
        lines = self._request.good_lines(_ONE) + _HALF_A_LINE
        return self._batches.create("invalid", self._batches.upload("invalid", lines))

    def _post_short_window(self, file_id: str) -> str | Refused:
        first, second = _SHORT_WINDOWS
        made = _attempt(self._batches.create, "window", file_id, completion_window=first)
        if isinstance(made, Refused):
            made = _attempt(self._batches.create, "window", file_id, completion_window=second)
        return made

    # --- ending

    def _cancel_twice(self, batch_id: str) -> Refused | None:
        """Cancel a batch that should be open, and at once again; how the first call was refused, if it was."""
        refusal = _attempt(self._raw.cancel, batch_id)
        _attempt(self._raw.cancel, batch_id)
        return refusal

    def _check_cancelled(self, asked_to_end: dict[str, Refused | None]) -> None:
        statuses = [self._batches[batch].status for batch in asked_to_end]
        no_such_call = [each.text for each in asked_to_end.values() if each and each.status in _NO_SUCH_CALL]
        if BatchStatus.CANCELLED in statuses:
            self._judge("cancel open", ", ".join(statuses), good=True)
        elif no_such_call:
            self._judge("cancel open", no_such_call[0], good=False)
        elif all(status.ended for status in statuses):
            self._note("cancel open", ", ".join(statuses) or "there was no batch to cancel")
        else:
            self._judge("cancel open", f"{', '.join(statuses)}, at the end of the time given", good=False)

    def _check_cancelling_ended(self) -> None:
        """Cancel every batch that has ended, which must change nothing."""
        answers: dict[str, str] = {}
        unharmed = True
        for batch_id in self._batches.ids:
            before = self._batches[batch_id].status
            if before.ended:
                status = _status_of(self._raw.cancel, batch_id)
                seen = _attempt(self._batches.retrieve, batch_id)
                after = before if isinstance(seen, Refused) else seen.status
                unharmed &= after is before and status is not None and status < 500
                answers[before] = f"{before}: {_in_words(status)}" + (
                    "" if after is before else f", then {after}"
                )
        if answers:
            self._judge("cancel ended", ", ".join(answers.values()), good=unharmed)
        else:
            self._note("cancel ended", "no batch has ended")

    def _check_whole(self, made: str | Refused) -> None:
        if isinstance(made, Refused):
            self._note("every row once", f"no batch: {made.text}")
            return
        batch = self._batches[made]
        if batch.status is not BatchStatus.COMPLETED:
            self._note("every row once", f"{made} is {batch.status}")
            return
        first, again = _attempt(self._batches.content, made), _attempt(self._batches.content, made)
        if isinstance(first, bytes) and isinstance(again, bytes):
            check_every_row(first, again, self._request.endpoint, _MANY, self._report)
        else:
            self._judge(
                "same download",
                next(each.text for each in (first, again) if isinstance(each, Refused)),
                good=False,
            )

    def _check_refused(self, name: str, made: str | Refused) -> None:
        """Check that a batch that must not be answered was refused, at once or when the service looked into it."""
        if isinstance(made, Refused) and made.status in _NOT_NOW:
            self._note(name, made.text)
            return
        if isinstance(made, Refused):
            self._judge(name, made.text, good=made.status is not None and 400 <= made.status < 500)
            return
        batch = self._batches[made]
        if batch.status is BatchStatus.FAILED:
            where = f"line {batch.error_line}: " if batch.error_line is not None else ""
            self._judge(name, f"the batch fails: {where}{batch.error_code}: {batch.error_message}", good=True)
        elif batch.status.ended:
            self._judge(name, f"taken: the batch is {batch.status}, with {batch.completed} rows", good=False)
        else:
            self._note(name, f"the batch is {batch.status} at the end of the time given")

    def _check_expired(self, made: str | Refused) -> None:
        if isinstance(made, Refused):
            self._note("short window", f"not taken: {made.text}")
            return
        batch, window = self._batches[made], self._batches.window(made)
        if batch.status is BatchStatus.EXPIRED:
            self._judge("short window", f"{made} has expired", good=True)
        elif window is not None and window > _LONGER_THAN_SHORT:
            self._judge("short window", f"taken, and expires_at is {window} later", good=False)
        else:
            self._note("short window", f"taken, and the batch is {batch.status}")

    def _check_cut_rows(self) -> None:
        """Check that a batch that ended early names its row, be it as one that never ran."""
        cut = [each for each in self._batches.ids if self._batches[each].status in _CUT_SHORT]
        if not cut:
            self._note("cut rows", "no batch ended early")
            return
        contents = {each: _attempt(self._batches.content, each) for each in cut}
        parser = dialect("openai").parser(self._request.endpoint)
        problems = [
            f"{each}: {content.text if isinstance(content, Refused) else 'its row is in no file'}"
            for each, content in contents.items()
            if isinstance(content, Refused)
            or _ONE[0] not in {line.custom_id for line in parser.parse(content)}
        ]
        self._judge("cut rows", "; ".join(problems) or f"those of {', '.join(cut)}", good=not problems)

    # --- reporting

    def _judge(self, name: str, detail: str, *, good: bool) -> None:
        self._report(Fact(name, Grade.OK if good else Grade.ODD, detail))

    def _note(self, name: str, detail: str) -> None:
        self._report(Fact(name, Grade.NOTE, detail))


def _attempt(call: Callable[..., T], *args: Any, **kwargs: Any) -> T | Refused:
    """What the call returns, or how it was refused."""
    try:
        return call(*args, **kwargs)
    except Refused as refusal:
        return refusal


def _status_of(call: Callable[..., Any], *args: Any) -> int | None:
    """The HTTP status of a call: 200 for each that is taken, None where the service does not answer."""
    answer = _attempt(call, *args)
    return answer.status if isinstance(answer, Refused) else 200


def _in_words(status: int | None) -> str:
    return "no answer" if status is None else f"HTTP {status}"
