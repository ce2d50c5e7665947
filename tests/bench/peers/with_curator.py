"""bespokelabs-curator: `LLM` with batch=True over a dataset. Its uploads get a name, as a batch file has to end in .jsonl."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ |= {"CURATOR_DISABLE_CACHE": "1", "TELEMETRY_ENABLED": "0", "CURATOR_VIEWER": "0"}
os.environ |= {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "HF_HUB_OFFLINE": "1"}
from bespokelabs import curator
from common import FILE_LINES, MODEL, main, messages
from openai.resources.files import AsyncFiles
from pydantic import BaseModel

_create = AsyncFiles.create


async def _create_named(self: AsyncFiles, *, file: bytes, **given: Any) -> Any:
    return await _create(self, file=("requests.jsonl", file), **given)


AsyncFiles.create = _create_named


class Label(BaseModel):
    """The answer."""

    label: str


class Labeller(curator.LLM):
    """One row, one label."""

    response_format = Label

    def prompt(self, input: dict[str, Any]) -> list[dict[str, str]]:  # noqa: A002 - the package's name
        """The conversation of a row."""
        return messages(input)

    def parse(self, input: dict[str, Any], response: Label) -> dict[str, Any]:  # noqa: A002
        """The row's answer."""
        return {"id": input["id"], "label": response.label}


def drive(rows: list[dict[str, Any]], out: Path) -> list[str | None]:
    """One call does everything."""
    os.environ["CURATOR_CACHE_DIR"] = str(out / "cache")
    plain = [{name: row[name] for name in ("id", "title", "text", "category")} for row in rows]
    labeller = Labeller(
        model_name=MODEL,
        batch=True,
        backend="openai",
        backend_params={
            "base_url": os.environ["OPENAI_BASE_URL"],
            "batch_size": FILE_LINES,
            "batch_check_interval": 1,
        },
        generation_params={"max_tokens": 1000},
    )
    answered = labeller(plain)
    dataset = getattr(answered, "dataset", answered)
    found = {each["id"]: each["label"] for each in dataset}
    return [found.get(row["id"]) for row in rows]


main(drive)
