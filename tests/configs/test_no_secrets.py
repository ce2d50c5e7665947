"""Where a key or password stands in a job file or the environment by mistake, it is refused and not repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from configs.errors import ConfigError
from configs.home import Home
from configs.load import load_job, load_provider

SECRET = "sk-proj-Zz19"
JOB = {
    "name": "j",
    "source": {"path": "rows.csv"},
    "prompt": {"model": "m", "user": "x"},
    "provider": {"name": "openai"},
    "output": {"path": "out"},
}


def refusal(folder: Path, *overrides: str) -> str:
    (folder / "job.yaml").write_text(yaml.safe_dump(JOB))
    with pytest.raises(ConfigError) as caught:
        load_job(folder / "job.yaml", overrides)
    return str(caught.value)


@pytest.mark.parametrize(
    ("override", "names"),
    [
        (f"provider.api_key_env={SECRET}", "provider.api_key_env: is the NAME of an environment variable"),
        ("provider.api_key_env=AIzaSyZz19", "provider.api_key_env: is the NAME of an environment variable"),
        (f"provider.api_key_block={SECRET}", "provider.api_key_block"),
        (f"provider.base_url=https://user:{SECRET}@example.com/v1", "provider.base_url: the URL holds"),
        (f"provider.base_url=https://example.com/v1?key={SECRET}", "provider.base_url: the URL holds"),
        (f"source.path=https://user:{SECRET}@example.com/x.csv", "source.path: the URL holds"),
        (f"source.path=https://example.com/x.csv?X-Amz-Signature={SECRET}", "source.path: the URL holds"),
        (f"source.files.roots=[img, 's3://KEY:{SECRET}@bucket/img']", "source.files.roots: the URL holds"),
        (f"source.files.roots=['https://user:{SECRET}@example.com/']", "source.files.roots: must be a local"),
        (f"output.path=s3://KEY:{SECRET}@bucket/out", "output.path: the URL holds"),
    ],
)
def test_a_secret_in_the_job_file_is_refused_and_not_repeated(
    tmp_path: Path, override: str, names: str
) -> None:
    said = refusal(tmp_path, override)
    assert names in said
    assert "Zz19" not in said


@pytest.mark.parametrize("provider", ["azure", "local"])
def test_every_providers_address_is_looked_at(provider: str) -> None:
    key = {"azure": "endpoint", "local": "upstream"}[provider]
    with pytest.raises(ConfigError, match="the URL holds") as caught:
        load_provider(provider, [f"provider.{key}=https://user:{SECRET}@example.com"])
    assert SECRET not in str(caught.value)


def test_a_secret_in_the_address_of_the_run_folders_is_refused() -> None:
    with pytest.raises(ConfigError, match="NIGHTMAIL_RUNS_URL: the URL holds") as caught:
        Home.from_environment({"NIGHTMAIL_RUNS_URL": f"s3://KEY:{SECRET}@bucket/runs"})
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("name", ["absolute", "above", "link", "folder link", "list"])
def test_a_prompt_file_outside_of_the_jobs_folder_is_not_read(tmp_path: Path, name: str) -> None:
    (tmp_path / "secret.txt").write_text("Zz19")
    folder = tmp_path / "job"
    folder.mkdir()
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "linked").symlink_to(tmp_path)
    value = {
        "absolute": f"{{file: {tmp_path}/secret.txt}}",
        "above": "{file: ../secret.txt}",
        "link": "{file: link.txt}",
        "folder link": "{file: linked/secret.txt}",
        "list": "[{type: text, text: {file: sub/../../secret.txt}}]",
    }[name]
    said = refusal(folder, f"prompt.user={value}")
    assert "is outside of" in said
    assert "Zz19" not in said


def test_a_prompt_file_below_the_jobs_folder_is_read(tmp_path: Path) -> None:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "prompts" / "ask.txt").write_text("Say {{ text }}")
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(JOB))
    for path in ("prompts/ask.txt", "prompts/../prompts/ask.txt"):
        job = load_job(tmp_path / "job.yaml", [f"prompt.user={{file: {path}}}"])
        assert job.prompt.user == "Say {{ text }}"


@pytest.mark.parametrize("prefix", ["", "a b", "../x", "llm_\n", "llm_|", ".*", "1st_"])
def test_a_prefix_is_a_word_from_its_first_letter_to_its_last(tmp_path: Path, prefix: str) -> None:
    assert "output.prefix" in refusal(tmp_path, f"output.prefix={yaml.safe_dump(prefix).strip()}")
