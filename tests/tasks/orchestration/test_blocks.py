"""Keys and credentials from Prefect blocks: found where they are, missed in one line, seen nowhere else."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from configs.errors import ConfigError
from configs.home import Home
from configs.load import load_job
from rigs.batch_service import KEY
from rigs.s3 import S3Prefix
from rigs.workspace import Workspace
from tasks.orchestration import blocks

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

SECRET = "aws-secret-from-a-block"


@pytest.fixture
def own_fsspec_config(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec.config

    monkeypatch.setitem(fsspec.config.conf, "s3", {})


def in_files(folder: Path, text: str) -> list[str]:
    return [str(path) for path in folder.rglob("*") if path.is_file() and text.encode() in path.read_bytes()]


@pytest.mark.parametrize(
    ("variable", "said"), [(None, "provider.api_key_block"), ("NIGHTMAIL_S3_BLOCK",) * 2]
)
def test_without_a_server_a_block_is_one_clear_line(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, variable: str | None, said: str
) -> None:
    if variable:
        monkeypatch.setenv(variable, "mine")
    else:
        workspace.change("provider.api_key_block", "mine")
    with pytest.raises(
        ConfigError, match=rf"^{said}: the .* block 'mine' is kept by a Prefect server; set PREFECT_API_URL"
    ):
        workspace.run()
    assert not (workspace.folder / "home").exists()


def test_a_key_from_the_environment_needs_no_server(workspace: Workspace) -> None:
    config = load_job(workspace.write()).provider
    assert blocks.connect(config, workspace.home, {"TEST_KEY": "sk"})._client.api_key == "sk"


def test_accounts_with_keys_from_different_places_are_told_apart() -> None:
    from configs.providers.openai import OpenAIProvider

    names = {OpenAIProvider(name="openai", api_key_block=block).key_name for block in (None, "a", "b")}
    assert names == {"OPENAI_API_KEY", "block a", "block b"}


class TestOnAServer:
    pytestmark = pytest.mark.slow

    @pytest.fixture(autouse=True)
    def server(self, workspace: Workspace, prefect_client: SyncPrefectClient) -> None:
        """Its blocks are those that the tests of this class make."""

    def test_the_providers_key_comes_from_its_block_and_is_written_nowhere(
        self, workspace: Workspace, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        from prefect.blocks.system import Secret

        Secret(value=KEY).save("provider-key", overwrite=True)
        monkeypatch.delenv("TEST_KEY")
        workspace.change("provider.api_key_block", "provider-key")
        assert blocks.connect(load_job(workspace.write()).provider, workspace.home, {})._client.api_key == KEY
        assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}
        assert workspace.batches()[0].account.endswith(" block provider-key")
        assert in_files(workspace.folder, "provider-key")
        assert in_files(workspace.folder, KEY) == []
        assert KEY not in caplog.text

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            (None, "has no Secret block 'absent'; make it"),
            ("", "holds no text; put the key in"),
            ({"a": 1}, "holds no text; put the key in"),
        ],
    )
    def test_a_block_that_is_not_there_or_holds_no_key_is_one_clear_line(
        self, workspace: Workspace, value: object, said: str
    ) -> None:
        from prefect.blocks.system import Secret

        if value is not None:
            Secret(value=value).save("odd", overwrite=True)
        workspace.change("provider.api_key_block", "absent" if value is None else "odd")
        with pytest.raises(ConfigError, match=f"^provider.api_key_block: .*{re.escape(said)}"):
            workspace.run()

    def test_a_whole_job_on_s3_with_credentials_from_a_block_alone(
        self, workspace: Workspace, s3: S3Prefix, monkeypatch: pytest.MonkeyPatch, own_fsspec_config: None
    ) -> None:
        aws = pytest.importorskip("prefect_aws")
        for name in ("AWS_ENDPOINT_URL", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        aws.AwsCredentials(
            aws_access_key_id=s3.server.KEY,
            aws_secret_access_key=s3.server.SECRET,
            region_name="us-east-1",
            aws_client_parameters={"endpoint_url": s3.server.url},
        ).save("storage", overwrite=True)
        monkeypatch.setenv("NIGHTMAIL_S3_BLOCK", "storage")
        monkeypatch.setenv("NIGHTMAIL_RUNS_URL", f"{s3.url}/runs")
        workspace.change("output.path", f"{s3.url}/out")
        assert workspace.run()["rows"] == {"total": 10, "succeeded": 10}
        assert "out/_receipt.json" in s3.names()
        assert in_files(workspace.folder, s3.server.SECRET) == []
        assert s3.server.SECRET not in str(os.environ)

    @pytest.mark.parametrize("name", ["absent", "wrong-secret"])
    def test_an_s3_block_that_does_not_help_is_one_clear_line(
        self,
        workspace: Workspace,
        s3: S3Prefix,
        monkeypatch: pytest.MonkeyPatch,
        own_fsspec_config: None,
        name: str,
    ) -> None:
        aws = pytest.importorskip("prefect_aws")
        aws.AwsCredentials(aws_access_key_id=s3.server.KEY, aws_secret_access_key=SECRET).save(
            "wrong-secret", overwrite=True
        )
        monkeypatch.setenv("NIGHTMAIL_S3_BLOCK", name)
        workspace.change("source.path", f"{s3.url}/in.csv")
        with pytest.raises(ConfigError) as caught:
            workspace.run()
        text = str(caught.value)
        assert ("has no AWS Credentials block 'absent'" in text) == (name == "absent")
        assert ("access is denied; check the S3 credentials" in text) == (name != "absent")
        assert "\n" not in text
        assert SECRET not in text


def test_the_home_names_the_block() -> None:
    assert Home.from_environment({}).s3_block is None
    assert Home.from_environment({"NIGHTMAIL_S3_BLOCK": "mine"}).s3_block == "mine"
