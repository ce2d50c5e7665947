"""The answer column of the output at each endpoint: its Arrow type, and how parsed answers are converted to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from configs.prompt import Prompt
from tasks.stages import arrow_columns
from tasks.stages.answers.files import NO_ASSETS, AssetStore, ImageColumn, VideoColumn
from tasks.stages.answers.moderation import MODERATION_CATEGORIES

Problems = dict[int, str]
"""Why an answer cannot be converted, by its position in the array."""

MODERATION: Final = pa.struct(
    [
        ("flagged", pa.bool_()),
        ("categories", pa.struct([(name, pa.bool_()) for name in MODERATION_CATEGORIES])),
        ("category_scores", pa.struct([(name, pa.float64()) for name in MODERATION_CATEGORIES])),
        ("other_scores", pa.map_(pa.string(), pa.float64())),
    ]
)
"""The type of a moderation result. The same for every model, so that it is known before the first answer: categories
that OpenAI adds to those listed here go into `other_scores`."""


class AnswerColumn(Protocol):
    """How a job's answers, as a parser reads them from result lines, become its output's answer column."""

    @property
    def parsed_type(self) -> pa.DataType:
        """The type of the answers that a parser returns."""

    @property
    def type(self) -> pa.DataType:
        """The type of the column in the output."""

    def convert(self, answers: pa.Array, ids: pa.Array) -> tuple[pa.Array, Problems]:
        """Answers of `parsed_type`, with the custom_ids they belong to, as `type`; null where there is a problem."""


@dataclass(frozen=True)
class UnchangedColumn:
    """Answers that go into the output as they were parsed: texts, and moderation results."""

    parsed_type: pa.DataType

    @property
    def type(self) -> pa.DataType:
        """The same type."""
        return self.parsed_type

    def convert(self, answers: pa.Array, ids: pa.Array) -> tuple[pa.Array, Problems]:  # noqa: ARG002 - as the protocol has it
        """The answers themselves."""
        return answers, {}


@dataclass(frozen=True)
class VectorColumn:
    """Embeddings of `size` numbers each; None while no vector has been seen: there is none to convert then.

    Every part of an output must have one type, so the size is fixed for the whole run once it is known.
    """

    size: int | None

    @property
    def parsed_type(self) -> pa.DataType:
        """A vector of any size."""
        return pa.list_(pa.float32())

    @property
    def type(self) -> pa.DataType:
        """A fixed-size list, once the size is known: the schema then tells readers the dimension."""
        return self.parsed_type if self.size is None else pa.list_(pa.float32(), self.size)

    def convert(self, answers: pa.Array, ids: pa.Array) -> tuple[pa.Array, Problems]:  # noqa: ARG002 - as the protocol has it
        """The vectors of the right size."""
        if self.size is None:
            return answers, {}
        sizes = arrow_columns.to_numpy(pc.list_value_length(answers), -1)  # -1 where there is no vector
        right_size = sizes == self.size
        problems = {
            row: f"the vector has {sizes[row]} numbers, not {self.size}"
            for row in np.flatnonzero((sizes >= 0) & ~right_size).tolist()
        }
        vectors = answers.filter(arrow_columns.mask(right_size)).flatten()
        numbers = np.zeros((len(answers), self.size), np.float32)
        numbers[right_size] = arrow_columns.to_numpy(vectors).reshape(-1, self.size)
        return arrow_columns.fixed_lists(numbers, right_size), problems


TEXT_COLUMN: Final = UnchangedColumn(pa.string())


def answer_column_of(
    prompt: Prompt, vector_size: int | None = None, assets: AssetStore = NO_ASSETS
) -> AnswerColumn:
    """The answer column of a job.

    `vector_size` is what earlier answers have told of it, where the prompt does not. `assets` keeps the files that
    come as answers; it is not needed by those who only want the type.
    """
    match prompt.endpoint:
        case "/v1/images/generations" | "/v1/images/edits":
            return ImageColumn(assets, several=prompt.choices > 1)
        case "/v1/videos":
            return VideoColumn(assets)
        case "/v1/embeddings":
            dimensions: Any = prompt.params.get("dimensions")
            return VectorColumn(dimensions if type(dimensions) is int else vector_size)
        case "/v1/moderations":
            return UnchangedColumn(MODERATION)
    return TEXT_COLUMN if prompt.choices == 1 else UnchangedColumn(pa.list_(pa.string()))


def keeps_files(prompt: Prompt) -> bool:
    """Whether the answers are pictures or videos, which are kept as files beside the rows."""
    return isinstance(answer_column_of(prompt), ImageColumn | VideoColumn)
