"""Every number and duration of the job file: what nobody can mean is an error that names the key, what is allowed works."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from configs.errors import ConfigError
from configs.job import Job
from configs.load import load_job
from configs.providers.registry import PROVIDERS
from rigs.workspace import Workspace

JOB = """
name: letters
source: {path: letters.csv}
prompt: {model: m, user: x}
output: {path: out}
"""
REQUIRED = {"azure": ["provider.endpoint=https://x.openai.azure.com"]}
NEVER_A_NUMBER = (
    *(
        "-1",
        "-1.0e+300",
        ".nan",
        ".inf",
        "-.inf",
        "1.0e+300",
        "1e300",
        str(10**30),
        str(-(10**30)),
        "9" * 5_000,
    ),
    *("true", "five", "'5'", "[1]", "{a: 1}", "2026-11-22", "2026-13-45", "0x"),
)
NEVER_A_DURATION = (
    *("-1h", "0s", "1.5h", "h", "5", "5.0", ".inf", "true", "[1h]", "{a: 1h}", "1h 2m", "１h", "٣h"),
    *("3651d", "87601h", "9999999999d", "9" * 4_000 + "d", "1e9d"),
)


def keys(node: Mapping[str, Any], defs: Mapping[str, Any], path: str = "") -> Iterator[tuple[str, str, Any]]:
    """(dotted key, number or duration, its schema) of every key below a schema, sections of sections included."""
    for name, key in node.get("properties", {}).items():
        dotted = f"{path}.{name}".lstrip(".")
        for choice in [key, *key.get("anyOf", [])]:
            if "$ref" in choice:
                yield from keys(defs[choice["$ref"].rpartition("/")[2]], defs, dotted)
            elif choice.get("type") in ("integer", "number"):
                yield dotted, "number", choice
            elif choice.get("pattern", "").endswith("d]$"):
                yield dotted, "duration", choice


def all_keys() -> list[tuple[str, str, str]]:
    """(provider, key, kind): of the job, and of each provider's section."""
    schema = Job.model_json_schema()
    found = [("local", key, kind) for key, kind, _ in keys(schema, schema["$defs"])]
    for name, settings_class in PROVIDERS.items():
        section = settings_class.model_json_schema()
        found += [(name, key, kind) for key, kind, _ in keys(section, section.get("$defs", {}), "provider")]
    return found


KEYS = all_keys()


def test_the_walk_sees_the_keys_of_every_section() -> None:
    seen = {key for _, key, _ in KEYS}
    assert seen >= {
        *("source.limit", "source.csv.skip_lines", "limits.max_bytes", "poll.max_seconds"),
        *("retry.max_attempts", "run.give_up_after", "run.error_budget"),
        *("provider.concurrency", "provider.completion_window"),
    }


@pytest.mark.parametrize(("provider", "key", "kind"), KEYS)
def test_an_absurd_value_is_an_error_that_names_the_key(
    provider: str, key: str, kind: str, tmp_path: Path
) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(JOB)
    chosen = [f"provider.name={provider}", *REQUIRED.get(provider, [])]
    for value in NEVER_A_NUMBER if kind == "number" else NEVER_A_DURATION:
        with pytest.raises(ConfigError) as caught:
            load_job(job, [*chosen, f"{key}={value}"])
        message = str(caught.value)
        assert key in message, (value[:40], message)
        assert "\n" not in message
        assert len(message) < 500


def test_a_number_without_a_bound_on_either_side_is_seen_here() -> None:
    schema = Job.model_json_schema()
    for key, kind, choice in keys(schema, schema["$defs"]):
        if kind == "number":
            assert {"minimum", "maximum"} <= choice.keys(), key


def test_every_key_at_its_largest_works(workspace: Workspace) -> None:
    schema = Job.model_json_schema()
    for key, kind, choice in keys(schema, schema["$defs"]):
        # To wait for a month takes a month; a budget and a deadline need a price, and have tests of their own.
        if not key.startswith(("source.csv", "provider", "poll", "budget", "deadline")):
            workspace.change(key, choice["maximum"] if kind == "number" else "3650d")
    receipt = workspace.run()
    assert receipt["rows"] == {"total": 10, "succeeded": 10}


@pytest.mark.parametrize("value", [".nan", ".inf", str(10**30), str(-(2**63) - 1)])
@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("prompt.params.temperature", "temperature"),
        ("prompt.params.extra_body", "extra_body.top_k"),
        ("prompt.schema", "properties.n.maximum"),
    ],
)
def test_a_number_that_json_does_not_have_is_refused_by_its_name(
    key: str, named: str, value: str, tmp_path: Path
) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(JOB)
    nested = {
        "prompt.params.temperature": value,
        "prompt.params.extra_body": f"{{top_k: {value}}}",
        "prompt.schema": f"{{type: object, properties: {{n: {{maximum: {value}}}}}}}",
    }
    with pytest.raises(ConfigError, match=named):
        load_job(job, [f"{key}={nested[key]}"])


@pytest.mark.parametrize("value", ["9" * 5_000, "2026-13-45"])
def test_a_value_that_is_no_value_names_the_file(value: str, tmp_path: Path) -> None:
    job = tmp_path / "job.yaml"
    job.write_text(JOB + f"limits: {{max_bytes: {value}}}\n")
    with pytest.raises(ConfigError, match=r"job\.yaml"):
        load_job(job)
