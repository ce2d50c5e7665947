"""Job files in an object store: what they say is relative to where they are, and what is wrong with the store is one line."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from configs.errors import ConfigError, NightmailError, StorageError
from rigs.command_line import nightmail
from rigs.s3 import S3Prefix
from rigs.workspace import Workspace
from tasks.storage.job_files import list_job_files, load_job_file, read_job_text


@pytest.fixture
def tree() -> dict[str, Any]:
    return {
        "name": "letters",
        "source": {"path": "../data/rows.csv"},
        "prompt": {"model": "m", "system": {"file": "ask/system.txt"}, "user": "Say {{ text }}"},
        "output": {"path": "../out/{job}"},
    }


def put(s3: S3Prefix, name: str, content: str) -> str:
    url = f"{s3.url}/{name}"
    s3.fs.pipe_file(url, content.encode())
    return url


def test_a_job_is_whole_with_what_lies_beside_it(s3: S3Prefix, tree: dict[str, Any]) -> None:
    url = put(s3, "jobs/letters.yaml", yaml.safe_dump(tree))
    put(s3, "jobs/ask/system.txt", "Be kind…")
    put(s3, "jobs/deeper/other.yaml", "name: other")
    for name in (
        "notes.md",
        "old.yaml~",
        ".hidden.yaml",
        ".#letters.yaml",
        "odd.yoml",
        "folder.yaml/file.txt",
    ):
        put(s3, f"jobs/{name}", "no job")
    assert list_job_files(f"{s3.url}/jobs") == list_job_files(f"{s3.url}/jobs/") == [url]
    job = load_job_file(url, ["source.limit=3"])
    assert (job.source.path, job.source.limit) == (f"{s3.url}/data/rows.csv", 3)
    assert job.output.path == f"{s3.url}/out/{{job}}"
    assert "Be kind…" in json.dumps(job.prompt.model_dump(mode="json"), ensure_ascii=False)
    assert "letters" in read_job_text(url)
    put(s3, "jobs/letters.yaml", yaml.safe_dump({**tree, "description": "changed"}))
    assert load_job_file(url).description == "changed"


@pytest.mark.parametrize(
    "name", ["../secret.txt", "/etc/hostname", "s3://itest/other/secret.txt", "{jobs}/../secret.txt"]
)
def test_a_prompt_has_files_of_the_jobs_folder_alone(s3: S3Prefix, tree: dict[str, Any], name: str) -> None:
    put(s3, "secret.txt", "no business of the prompt")
    tree["prompt"]["system"] = {"file": name.format(jobs=f"{s3.url}/jobs")}
    url = put(s3, "jobs/letters.yaml", yaml.safe_dump(tree))
    with pytest.raises(ConfigError, match="is outside of"):
        load_job_file(url)


@pytest.mark.parametrize(
    ("url", "kind", "said"),
    [
        ("{s3}/jobs/gone.yaml", ConfigError, "there is no such file; `nightmail jobs` lists the jobs"),
        ("s3://no-such-bucket/x.yaml", StorageError, "the bucket does not exist"),
        ("s3://key:word@itest/x.yaml", ConfigError, "holds a user name or password"),
        ("https://example.com/x.yaml", ConfigError, "jobs are read from a folder or an object store"),
        ("file:///etc/hostname", ConfigError, "jobs are read from a folder or an object store"),
        ("local:///etc/hostname", ConfigError, "jobs are read from a folder or an object store"),
        ("nothing://itest/x.yaml", ConfigError, "check the URL and that its protocol is installed"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    s3: S3Prefix, url: str, kind: type[NightmailError], said: str
) -> None:
    with pytest.raises(kind) as caught:
        load_job_file(url.format(s3=s3.url))
    text = str(caught.value)
    assert said in text
    assert "word" not in text.replace("password", "")
    assert "\n" not in text


def test_a_folder_that_is_not_there_is_named(s3: S3Prefix, tmp_path: Any) -> None:
    for url in (f"{s3.url}/nowhere", str(tmp_path / "nowhere")):
        with pytest.raises(ConfigError, match="nowhere") as caught:
            list_job_files(url)
        assert "NIGHTMAIL_JOBS_URL" in str(caught.value)


def test_a_job_in_a_bucket_runs(
    workspace: Workspace, s3: S3Prefix, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace.tree["source"] = {"path": "rows.csv", "key": "id"}
    put(s3, "jobs/rows.csv", "id,text\na,one\nb,two\n")
    url = put(s3, "jobs/letters.yaml", yaml.safe_dump(workspace.tree))
    assert nightmail("run", url, "--key", "k") == 0
    assert f"{s3.url}/jobs/out/letters" in capsys.readouterr().out
    assert [name for name in s3.names("jobs/out/letters") if name.endswith(".parquet")]
