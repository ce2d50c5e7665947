"""Whether a batch's result files are whole: their lines, counted as they arrive, against the rows posted and the provider's counts.

A download can be cut where nothing shows it, and a proxy can answer in the provider's place: what is not whole is fetched
again. When it stays as it is, its rows are not posted again on a guess:

* an unreadable line whose custom_id is legible, or which can only be that of the one row left over, makes its row `failed`
  with the code `unreadable_line`, and the run goes on;
* rows that the provider counts as answered and gives no line for, files without a single line for a row of ours, and
  unreadable lines that cannot be told apart stop the run.

Rows without a line that the provider does not count as answered are asked again, as ever.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from tasks.stages.row_status import RowStatus
from tasks.stages.wire.dialect import Parser
from tasks.stages.wire.unreadable import UNREADABLE_LINE

_NEVER_RAN = (RowStatus.EXPIRED, RowStatus.CANCELLED)


@dataclass
class ResultTally:
    """Which of the `posted` custom_ids have a line, and what the other lines are. Feed it the files' bytes."""

    parser: Parser
    posted: Collection[str]
    good: set[str] = field(default_factory=set)  # rows that ran, and did not fail
    failed: set[str] = field(default_factory=set)  # rows that ran
    never_ran: set[str] = field(default_factory=set)
    broken: set[str] = field(default_factory=set)  # rows whose line is no JSON
    illegible: int = 0  # lines of which not even the row can be read
    unknown: int = 0  # lines for rows that were not posted
    cut: bool = False  # a file ends inside a line
    _rest: list[bytes] = field(default_factory=list)

    def write(self, data: bytes) -> int:
        """Count the lines that end in this piece of a file."""
        end = data.rfind(b"\n") + 1
        if end:
            self._count(b"".join((*self._rest, data[:end])))
            self._rest = []
        if end < len(data):
            self._rest.append(bytes(data[end:]))
        return len(data)

    def end_file(self) -> None:
        """Count what is left: a last line without its end, which is whole where it can be read."""
        rest, self._rest = b"".join(self._rest), []
        if not rest.strip():
            return
        unreadable = self.illegible, len(self.broken)
        self._count(rest)
        self.cut = self.cut or unreadable != (self.illegible, len(self.broken))

    @property
    def ran(self) -> set[str]:
        """Rows with a readable line of their own, or an unreadable one."""
        return self.good | self.failed | self.broken

    @property
    def unreadable_lines(self) -> int:
        """Lines that are no JSON."""
        return self.illegible + len(self.broken)

    def _count(self, block: bytes) -> None:
        columns = self.parser.columns(block)
        for custom_id, status, code in zip(
            columns["custom_id"], columns["status"], columns["error_code"], strict=True
        ):
            if custom_id is None:
                self.illegible += 1
            elif custom_id not in self.posted:
                self.unknown += 1
            elif code == UNREADABLE_LINE:
                self.broken.add(custom_id)
            elif status in _NEVER_RAN:
                self.never_ran.add(custom_id)
            else:
                (self.failed if status is RowStatus.FAILED else self.good).add(custom_id)


@dataclass(frozen=True)
class Counts:
    """What the provider says of a batch that has ended: whether all of it was to run, and its counts where it gives them."""

    complete: bool
    completed: int | None = None
    failed: int | None = None


@dataclass(frozen=True)
class Verdict:
    """`doubt` is why the files are fetched again, None when they are whole. Should they stay as they are, the run `stops`,
    or goes on; with `one_left`, the row without a line is that of the unreadable one."""

    doubt: str | None = None
    stops: bool = False
    one_left: bool = False


def judge(tally: ResultTally, counts: Counts) -> Verdict:
    """Whether all that the batch has answered is there."""
    rows = len(tally.posted)
    left = rows - len(tally.ran | tally.never_ran)
    one_left = tally.illegible == 1 and left == 1
    if not tally.ran and not tally.never_ran and not one_left:
        if tally.unknown:
            return Verdict("none of its lines is for a row that was posted", stops=True)
        if tally.illegible:
            return Verdict("not one of its lines can be read", stops=True)
        if counts.complete and rows:
            return Verdict("it is completed, and there is no line for any row", stops=True)
    told, counted = len(tally.ran) + one_left, _counted(tally, counts)
    if counted is not None and told < counted and left > one_left:
        # Lines of failed rows may never have been written: those were not paid for.
        paid = len(tally.good | tally.broken) + one_left < min(counts.completed or 0, rows)
        return Verdict(f"lines for {told:,} of {counted:,} rows that it counts", stops=paid)
    if tally.unreadable_lines:
        guess = left > one_left and (tally.illegible > one_left or (tally.cut and counted is None))
        return Verdict(
            f"{tally.unreadable_lines:,} of its lines cannot be read", stops=guess, one_left=one_left
        )
    if counted is None and counts.complete and left:
        return Verdict(f"lines for {rows - left:,} of {rows:,} rows, and no counts")
    return Verdict()


def _counted(tally: ResultTally, counts: Counts) -> int | None:
    """How many rows ran by the provider's counts; None where it does not count, or says 0 of files that hold lines."""
    if counts.completed is None:
        return None
    counted = counts.completed + ((counts.failed or 0) if counts.complete else 0)
    return min(counted, len(tally.posted)) if counted or not tally.ran else None
