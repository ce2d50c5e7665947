"""What answers become: the type of the answer column, and how what a parser read turns into it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from configs.prompt import Prompt
from tasks.stages import arrow_columns
from tasks.stages.answers.files import NO_FILES, Files, Images, Videos
from tasks.stages.answers.moderation import MODERATION_CATEGORIES

Problems = dict[int, str]
"""Why an answer does not do, by its position."""

MODERATION: Final = pa.struct(
    [
        ("flagged", pa.bool_()),
        ("categories", pa.struct([(name, pa.bool_()) for name in MODERATION_CATEGORIES])),
        ("category_scores", pa.struct([(name, pa.float64()) for name in MODERATION_CATEGORIES])),
        ("other_scores", pa.map_(pa.string(), pa.float64())),
    ]
)
"""A moderation result. The same for every model, so that it is known before the first answer: categories that came
later than this list are in `other_scores`."""


class Shape(Protocol):
    """The answers of one job."""

    @property
    def wire(self) -> pa.DataType:
        """What a parser's answers are."""

    @property
    def column(self) -> pa.DataType:
        """What the output's column is."""

    def fit(self, answers: pa.Array, ids: pa.Array) -> tuple[pa.Array, Problems]:
        """Answers of type `wire`, and the custom_ids they belong to, as type `column`; null where there is a problem."""


@dataclass(frozen=True)
class AsRead:
    """Answers that need nothing more."""

    wire: pa.DataType

    @property
    def column(self) -> pa.DataType:
        """The same."""
        return self.wire

    def fit(self, answers: pa.Array, ids: pa.Array) -> tuple[pa.Array, Problems]:  # noqa: ARG002 - as the protocol has it
        """The answers."""
        return answers, {}


@dataclass(frozen=True)
class Vectors:
    """Embeddings of `size` numbers each; None while no vector has been seen: there is none to fit then."""

    size: int | None

    @property
    def wire(self) -> pa.DataType:
        """A vector of any size."""
        return pa.list_(pa.float32())

    @property
    def column(self) -> pa.DataType:
        """A fixed-size list, once the size is known."""
        return self.wire if self.size is None else pa.list_(pa.float32(), self.size)

    def fit(self, answers: pa.Array, ids: pa.Array) -> tuple[pa.Array, Problems]:  # noqa: ARG002 - as the protocol has it
        """The vectors of the right size."""
        if self.size is None:
            return answers, {}
        found = arrow_columns.to_numpy(pc.list_value_length(answers), -1)
        good = found == self.size
        problems = {
            at: f"the vector has {found[at]} numbers, not {self.size}"
            for at in np.flatnonzero((found >= 0) & ~good).tolist()
        }
        fitting = answers.filter(arrow_columns.mask(good)).flatten()
        numbers = np.zeros((len(answers), self.size), np.float32)
        numbers[good] = arrow_columns.to_numpy(fitting).reshape(-1, self.size)
        return arrow_columns.fixed_lists(numbers, good), problems


TEXT: Final = AsRead(pa.string())


def shape_of(prompt: Prompt, vector_size: int | None = None, files: Files = NO_FILES) -> Shape:
    """The shape of a job's answers. `vector_size` is what has been learned of it from answers."""
    match prompt.endpoint:
        case "/v1/images/generations" | "/v1/images/edits":
            return Images(files, several=prompt.choices > 1)
        case "/v1/videos":
            return Videos(files)
        case "/v1/embeddings":
            wanted: Any = prompt.params.get("dimensions")
            return Vectors(wanted if type(wanted) is int else vector_size)
        case "/v1/moderations":
            return AsRead(MODERATION)
    return TEXT if prompt.choices == 1 else AsRead(pa.list_(pa.string()))
