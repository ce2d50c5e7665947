"""What goes wrong with S3 is one line: the place, what is wrong with it, the next step; and never a secret."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import s3fs

from configs.errors import InputError, NightmailError, StorageError
from configs.job import Source
from rigs.s3 import S3Prefix
from tasks.stages.read import open_dataset
from tasks.storage.output import EnrichedOutput
from tasks.storage.run_folder import RunFolder

WRONG = "wrong-s3-secret"
UNREACHABLE = pytest.param(
    "unreachable", marks=pytest.mark.slow
)  # botocore and s3fs try again for some seconds
CASES: dict[str, tuple[dict[str, str | None], str]] = {
    "no credentials": (
        {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None},
        "no S3 credentials were found; export AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or set AWS_PROFILE or",
    ),
    "wrong secret": ({"AWS_SECRET_ACCESS_KEY": WRONG}, "check the "),
    "unknown profile": (
        {"AWS_PROFILE": "nobody"},
        "The config profile (nobody) could not be found; check AWS_PROFILE",
    ),
    "no scheme": ({"AWS_ENDPOINT_URL": "127.0.0.1:1"}, "AWS_ENDPOINT_URL begins with http:// or https://"),
    "unreachable": (
        {"AWS_ENDPOINT_URL": "http://127.0.0.1:1"},
        "the S3 server cannot be reached (Could not connect to the endpoint URL: ",
    ),
    "missing bucket": ({}, "the bucket does not exist; create it, or correct the URL"),
}
DOORS: dict[str, tuple[Callable[[str], Any], type[NightmailError]]] = {
    "source": (lambda url: open_dataset(Source(path=f"{url}/in.csv")), InputError),
    "run folder": (lambda url: RunFolder(f"{url}/runs").delete_unfinished(), StorageError),
    "output": (lambda url: EnrichedOutput(f"{url}/out", "letters").check_owner(), StorageError),
    "one file": (lambda url: EnrichedOutput(f"{url}/out.parquet", "letters").check_owner(), StorageError),
}


@pytest.fixture
def fresh_clients() -> Iterator[None]:
    """A client keeps the environment it was first used in."""
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize(
    "door",
    ["run folder", *(pytest.param(door, marks=pytest.mark.slow) for door in DOORS if door != "run folder")],
)
@pytest.mark.parametrize("case", [UNREACHABLE if case == "unreachable" else case for case in CASES])
def test_an_s3_that_cannot_be_used_is_one_clear_line(
    s3: S3Prefix, fresh_clients: None, monkeypatch: pytest.MonkeyPatch, case: str, door: str
) -> None:
    changes, said = CASES[case]
    for name, value in changes.items():
        monkeypatch.delenv(name) if value is None else monkeypatch.setenv(name, value)
    url = "s3://no-such-bucket/x" if case == "missing bucket" else s3.url
    call, kind = DOORS[door]
    with pytest.raises(kind) as caught:
        call(url)
    text = str(caught.value)
    assert text.startswith(f"{url}/")
    assert said in text
    assert [word for word in ("\n", WRONG, s3.server.SECRET, "list-type=") if word in text] == []


def test_a_server_that_dies_while_a_file_is_read_is_one_clear_line(
    s3: S3Prefix, monkeypatch: pytest.MonkeyPatch
) -> None:
    from s3fs import core

    folder = RunFolder(s3.url)
    with folder.write("a") as file:
        file.write(bytes(11 << 20))

    def gone(*_: Any, **__: Any) -> bytes:
        raise TimeoutError("read timed out")

    with folder.read("a") as file:
        assert len(file.read(1 << 20)) == 1 << 20
        monkeypatch.setattr(core, "_fetch_range", gone)
        with pytest.raises(
            StorageError, match=rf"^{s3.url}/a: read timed out; make room or access; nothing is lost"
        ):
            file.read()
