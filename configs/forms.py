"""Parameters as Prefect's form shows them: choices are looked up when a deployment is made, not at import."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import GetJsonSchemaHandler
from pydantic_core import CoreSchema

from configs.providers.registry import PROVIDERS

ROOT = Path(__file__).resolve().parents[1]


def job_files() -> list[str]:
    """The job files in configs/jobs, as paths from the root of the checkout."""
    return sorted(f.relative_to(ROOT).as_posix() for f in (ROOT / "configs/jobs").glob("*.y*ml"))


def provider_names() -> list[str]:
    """What `provider.name` of a job file can be."""
    return list(PROVIDERS)


class _Field:
    """How a parameter looks in the form. What the flow itself accepts is not narrowed.

    Prefect's form shows `X | None` as two tabs, and sends null for what is left alone: so texts and numbers are left
    out by being empty, and choices (of the moment) have null among them.
    """

    def __init__(self, choices: Callable[[], Sequence[str | None]] | None = None) -> None:
        self._choices = choices

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        if self._choices:
            return {"enum": self._choices()}
        schema = handler(core_schema)
        return next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)


JobFile = Annotated[str, _Field(job_files)]
ProviderName = Annotated[str | None, _Field(lambda: [*provider_names(), None])]
Text = Annotated[str | None, _Field()]
Number = Annotated[int | None, _Field()]
Texts = Annotated[Sequence[str] | None, _Field()]


def job_path(job: str) -> str:
    """The job file's path as it is or, where the working folder has none, from the root of the checkout."""
    path = Path(job)
    return job if path.is_absolute() or path.exists() or not (ROOT / path).exists() else str(ROOT / path)


def as_overrides(
    provider: str | None, model: str | None, limit: int | None, further: Sequence[str] | None
) -> list[str]:
    """The form's shortcuts as `key=value` items; what is said at length comes last and wins."""
    given = {"provider.name": provider, "prompt.model": model, "source.limit": limit}
    return [
        *(f"{key}={json.dumps(value)}" for key, value in given.items() if value),
        *(further or ()),
    ]
