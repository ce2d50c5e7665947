"""Look request lines up among a job's earlier answers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from configs.frozen import seconds
from configs.reuse import Reuse
from tasks.reuse.fingerprint import Fingerprints
from tasks.reuse.index import EMPTY, Index
from tasks.stages.prompt.recall import Holder, Numbers, Recalled
from tasks.stages.prompt.shard import Lines
from tasks.stages.row_status import RowStatus


@dataclass(frozen=True)
class LookUp:
    """A `Recall` over one index. `usable` says of each of its sources whether its answers are taken."""

    fingerprints: Fingerprints
    index: Index = EMPTY
    usable: tuple[bool, ...] = ()

    def __call__(self, lines: Lines) -> Recalled:
        """What is known of these request lines."""
        made = self.fingerprints.of(lines)
        asked = np.fromiter((isinstance(line, bytes) for line in lines), bool, len(lines))
        places = np.where(asked, self.index.find(made), -1)
        holder, chunk, row, usd = self._at(places)
        holders = [Holder(source.folder, source.answered_at) for source in self.index.sources]
        return Recalled(made, asked, holder, chunk, row, usd, holders)

    def _at(self, places: Numbers) -> tuple[Numbers, Numbers, Numbers, Numbers]:
        entries = self.index.entries
        if not len(entries):
            nothing = np.zeros(len(places), np.int64)
            return nothing - 1, nothing, nothing, nothing.astype(np.float64)
        source = entries.source[places].astype(np.int64)
        found = (places >= 0) & np.array(self.usable, bool)[source]
        return np.where(found, source, -1), entries.chunk[places], entries.row[places], entries.usd[places]


def is_taken(reuse: Reuse, status: RowStatus, answered_at: datetime, now: datetime) -> bool:
    """Whether the job takes answers of that status and age."""
    good = status is RowStatus.SUCCEEDED or str(status) in reuse.also
    return good and not is_too_old(reuse, answered_at, now)


def is_too_old(reuse: Reuse, answered_at: datetime, now: datetime) -> bool:
    """Whether an answer is past the job's `max_age`."""
    return reuse.max_age is not None and answered_at + timedelta(seconds=seconds(reuse.max_age)) < now
