"""The table of `doctor --deep`: what a service honours of the protocol, and what Nightmail does where it does not."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from tasks.diagnostics.facts import Fact, Grade


class Honoured(StrEnum):
    """Whether a service does what the protocol says; `unknown` where it could not be seen."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Feature:
    """Something that a service of the protocol does. `check` is the name of the fact that tells whether this one does."""

    check: str
    does: str
    otherwise: str  # what Nightmail does where it does not


@dataclass(frozen=True)
class Conformance:
    """One line of the table; `nightmail` is empty for what is honoured."""

    honoured: Honoured
    check: str
    feature: str
    nightmail: str


_HONOURED = {Grade.OK: Honoured.YES, Grade.ODD: Honoured.NO, Grade.BAD: Honoured.NO}
_STOPS = "nothing: a run cannot work here"

FEATURES: Final = (
    Feature("wrong key", "refuses a wrong key with 401 or 403", "stops, with the refusal in the service's words"),
    Feature("upload", "takes a file of requests", _STOPS),
    Feature("files expire", "deletes files when it was asked to", "deletes them itself; `nightmail clean` finds what is left"),
    Feature("lists files", "lists an upload by its name", "uploads again after a lost reply, which costs nothing"),
    Feature("create", "makes a batch of a file", _STOPS),
    Feature("metadata", "keeps a batch's metadata", "knows a batch by its input file"),
    Feature("finds by key", "lists a batch with our key or our file", "nothing: a lost reply could be paid twice"),
    Feature("lost reply", "lists a batch whose creation got no reply", "waits poll.first_seconds, looks, and posts again: that could be paid twice"),
    Feature("equal create", "makes another batch of an equal call", "looks in the list before it creates again, so no call is repeated"),
    Feature("list paging", "goes on behind a batch with `after`", "stops rather than post again where the list says there is more"),
    Feature("list pages", "shows every batch once, the newest first", "reads all pages, and takes what is shown twice for one"),
    Feature("unknown ids", "answers 404 for what it does not have", "stops at another 4xx, and asks again after a 5xx"),
    Feature("unknown endpoint", "refuses an endpoint that it does not have", "refuses it in the job, before anything is posted"),
    Feature("invalid line", "refuses a file with a line that is no JSON", "checks each line before it is posted"),
    Feature("retrieve", "tells a batch's status up to its end", "polls until run.give_up_after, then publishes what there is"),
    Feature("counts", "counts a batch's rows", "counts the lines of the result files"),
    Feature("failed row", "puts failed rows into the error file", "reads both files, and goes by what each line says"),
    Feature("line shape", "writes result lines as OpenAI does", "reads what came, and keeps it with output.include: [raw]"),
    Feature("every row once", "has one result line for each row", "takes the first line of a row, and posts rows without one again"),
    Feature("order", "writes result lines in the order asked", "matches them by custom_id, never by place"),
    Feature("same download", "gives the same bytes for a file each time", "checks a download against the counts, and fetches a doubtful one again"),
    Feature("cancel open", "ends an open batch that is cancelled", "waits for its end: a cancelled run goes on costing money there"),
    Feature("cancel ended", "leaves an ended batch as it is", "cancels none that it knows to have ended"),
    Feature("short window", "ends a batch as expired with its window", "cancels it at run.give_up_after"),
    Feature("cut rows", "names the rows that an early end left out", "posts the rows again that are in no file"),
    Feature("delete", "deletes files", "leaves them there until somebody removes them"),
    Feature("deleted is gone", "answers 404 for a deleted file", "takes a file for deleted once that was accepted"),
)  # fmt: skip


def conformance(facts: Iterable[Fact]) -> list[Conformance]:
    """The table over all `facts`, one line for each of FEATURES."""
    seen: dict[str, Honoured] = {}
    for fact in facts:
        honoured = _HONOURED.get(fact.grade, Honoured.UNKNOWN)
        if fact.honoured is not None:
            honoured = Honoured.YES if fact.honoured else Honoured.NO
        if seen.get(fact.name) is not Honoured.NO:  # the worst of several facts of one name
            seen[fact.name] = honoured
    return [_line(feature, seen.get(feature.check, Honoured.UNKNOWN)) for feature in FEATURES]


def _line(feature: Feature, honoured: Honoured) -> Conformance:
    nightmail = "" if honoured is Honoured.YES else feature.otherwise
    return Conformance(honoured, feature.check, feature.does, nightmail)
