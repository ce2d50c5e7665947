"""A home with a job file and, where a test fills it, a ledger of many runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from configs.home import Home
from configs.load import load_job

HOSTILE = "<script>alert(1)</script>\"'&amp; \u202e\x1b[2J"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A home without a ledger."""
    monkeypatch.setenv("TEST_KEY", "sk-secret")
    monkeypatch.setenv("NIGHTMAIL_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    return Home.from_environment({"NIGHTMAIL_HOME": str(tmp_path / "home")})


@pytest.fixture
def job_file(tmp_path: Path) -> Path:
    """A job over ten rows; nobody answers at its address."""
    pq.write_table(
        pa.table({"id": [f"t-{n}" for n in range(10)], "text": ["word"] * 10}), tmp_path / "rows.parquet"
    )
    tree = {
        "name": "letters",
        "source": {"path": "rows.parquet", "key": "id"},
        "prompt": {
            "model": "gpt-5.4-mini",
            "user": "Say {{ text }}",
            "params": {"max_completion_tokens": 50},
        },
        "provider": {"name": "openai", "base_url": "http://127.0.0.1:9/v1", "api_key_env": "TEST_KEY"},
        "limits": {"max_requests": 4},
        "output": {"path": "out/letters"},
    }
    file = tmp_path / "letters.yaml"
    file.write_text(yaml.safe_dump(tree))
    return file


@pytest.fixture
def spec(job_file: Path) -> dict[str, Any]:
    """The job as a run has it in the ledger."""
    return load_job(job_file).model_dump(mode="json", by_alias=True)
