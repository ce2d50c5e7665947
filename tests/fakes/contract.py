"""What every batch service is put through, and the services: a class and a line in STAGES for each.

A stage is a service of ours together with what it speaks to, which can be told what to do.
"""

from __future__ import annotations

import io
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar, NamedTuple, get_args

import pyarrow as pa
import pytest

from configs.home import Home
from configs.prompt import Endpoint, Prompt
from configs.providers.alibaba import AlibabaProvider
from configs.providers.anthropic import AnthropicProvider
from configs.providers.azure import AzureProvider
from configs.providers.gemini import GeminiProvider
from configs.providers.openai import OpenAIProvider
from configs.providers.registry import AnyProvider
from fakes import gemini_fake
from fakes.anthropic_fake import KEY, AnthropicFake
from fakes.openai_fake import OpenAIFake
from fakes.openai_vendors import AlibabaFake, AzureFake
from tasks.providers.base import BatchStatus, ServiceBatch, Submission
from tasks.providers.registry import connect
from tasks.stages.prompt.render import Renderer
from tasks.stages.row_status import RowStatus
from tasks.stages.validate import Problem
from tasks.stages.wire.formats import dialect
from tasks.stages.wire.outcome import Outcome


class Expected(NamedTuple):
    """What a row comes to; `again` is whether another attempt can help."""

    status: RowStatus
    again: bool = False


OUTCOMES = {
    "succeeded": Expected(RowStatus.SUCCEEDED),
    "awkward": Expected(RowStatus.SUCCEEDED),  # every character that a careless reader splits at
    "truncated": Expected(RowStatus.TRUNCATED),
    "refused": Expected(RowStatus.REFUSED),
    "failed": Expected(RowStatus.FAILED),
    "transient": Expected(RowStatus.FAILED, again=True),
    "overloaded": Expected(RowStatus.FAILED, again=True),
    "unpaid": Expected(RowStatus.FAILED, again=True),
    "expired": Expected(RowStatus.EXPIRED, again=True),
    "cancelled": Expected(RowStatus.CANCELLED, again=True),
}
"""The words for what a row can come to."""

_CHAT, _RESPONSES, _EDITS = "/v1/chat/completions", "/v1/responses", "/v1/images/edits"
_WITHOUT_TEXT = ("succeeded", "failed", "transient", "overloaded", "unpaid", "expired", "cancelled")
WORDS_AT = {
    _CHAT: tuple(OUTCOMES),
    _RESPONSES: tuple(OUTCOMES),
    "/v1/completions": tuple(word for word in OUTCOMES if word != "refused"),
    **dict.fromkeys(
        (name for name in get_args(Endpoint) if name.startswith(("/v1/em", "/v1/m"))), _WITHOUT_TEXT
    ),
    **dict.fromkeys(
        (name for name in get_args(Endpoint) if name.startswith(("/v1/im", "/v1/v"))), _WITHOUT_TEXT
    ),
}
"""What a row can come to at each endpoint: only text can be cut or refused."""


# What every batch carries beside its key, as long as a job's description may be, and with words that look like a key.
LABELS = {"job": "letters", "run": "2026-11-21", "description": f"{'nightmail x/1/1 ' * 32}"[:500]}


# What every batch carries beside its key, as long as a job's description may be, and with words that look like a key.
LABELS = {"job": "letters", "run": "2026-11-21", "description": f"{'nightmail x/1/1 ' * 32}"[:500]}


class Stage(ABC):
    """One service. The class attributes say what of the contract it can be put through."""

    provider: ClassVar[type[AnyProvider]]
    settings: AnyProvider
    fake: Any  # what it speaks to
    key_variable: ClassVar[str] = "TEST_KEY"
    key: ClassVar[str] = "sk-secret"
    outcomes: ClassVar[tuple[str, ...]] = tuple(OUTCOMES)
    statuses: ClassVar[tuple[BatchStatus, ...]] = tuple(BatchStatus)
    uploads: ClassVar[bool] = True
    keeps_keys: ClassVar[bool] = True
    counts: ClassVar[bool] = True  # says how many rows are done
    endpoint: str = _CHAT
    deletes_results: ClassVar[bool] = True
    absent: ClassVar[tuple[str, str]] = ("no-such-batch", "no-such-file")

    def __init__(self) -> None:
        self._service = self.connect(self.key)  # building one takes longer than most tests
        self.renew()

    def renew(self) -> None:
        """As new, for the next test."""
        self.endpoint = _CHAT
        self.service: Any = self._service
        self.service.guard = lambda: None
        self.be_quick(self.service)  # again: a test may have let it make a new client

    @classmethod
    def cells(cls) -> Iterator[tuple[str, str]]:
        """(endpoint, word) of everything that a row can come to here."""
        for endpoint, words in WORDS_AT.items():
            if cls.provider.endpoints is None or endpoint in cls.provider.endpoints:
                yield from ((endpoint, word) for word in words if word in cls.outcomes)

    def connect(self, key: str) -> Any:
        """The service with that key; reads are not repeated by the SDK, which would take seconds."""
        service: Any = connect(self.settings, Home.from_environment({}), {self.key_variable: key})
        self.be_quick(service)
        return service

    def be_quick(self, service: Any) -> None:
        """Take the SDK's patience away."""
        service._client = service._client.with_options(max_retries=0)

    def submission(self, rows: Mapping[str, str], key: str = "abc/1/1", **more: Any) -> Submission:
        """A batch over `rows`: custom_id to a word of OUTCOMES."""
        tree = dialect(self.settings.dialect).request_tree(self._prompt(), self.settings)
        table = pa.record_batch({"text": [f"word {custom_id}" for custom_id in rows]})
        lines = b"".join(
            line for line in Renderer(tree, ["text"]).lines(table, list(rows)) if isinstance(line, bytes)
        )
        return Submission(
            **{
                "key": key,
                "file_name": f"nightmail-{key.replace('/', '-')}.jsonl",
                "endpoint": self.endpoint,
                "model": "m",
                "completion_window": "24h",
                "requests": len(rows),
                "lines": lambda: io.BytesIO(lines),
                "metadata": {**LABELS, **self.script(rows)},
                **more,
            }
        )

    def _prompt(self) -> Prompt:
        asked: dict[str, Any] = {"model": "m", "endpoint": self.endpoint, "user": "Say {{ text }}"}
        if self.endpoint in (_CHAT, _RESPONSES):
            asked["system"] = "Be brief."
        if self.endpoint == _EDITS:
            asked["params"] = {"images": [{"image_url": "https://example.com/moon.png"}]}
        return Prompt.model_validate(asked)

    def post(self, rows: Mapping[str, str], key: str = "abc/1/1") -> ServiceBatch:
        """Upload and create."""
        submission = self.submission(rows, key)
        return self.create(submission)

    def create(self, submission: Submission) -> ServiceBatch:
        """Upload and create."""
        with submission.lines() as lines:
            file_id = self.service.upload(submission.file_name, lines)
        made: ServiceBatch = self.service.create(submission, file_id)
        return made

    def ended(self, batch_id: str) -> ServiceBatch:
        """Let it end, and see it ended."""
        self.let_end(batch_id)
        return self.until(batch_id, lambda batch: batch.status.ended and bool(batch.result_files))

    def until(self, batch_id: str, done: Any) -> ServiceBatch:
        """Look at a batch until it is as wanted."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            batch: ServiceBatch = self.service.retrieve(batch_id)
            if done(batch):
                return batch
            time.sleep(0.01)
        raise AssertionError(f"{batch_id} is still {batch}")

    def answers(self, batch: ServiceBatch) -> dict[str, Outcome]:
        """Its rows, from its result files."""
        parser = dialect(self.settings.dialect).parser(self.endpoint)
        found = []
        for file_id in batch.result_files:
            sink = io.BytesIO()
            assert self.service.download(file_id, sink) == len(sink.getvalue())
            found += parser.parse(sink.getvalue())
        assert len({outcome.custom_id for outcome in found}) == len(found)
        return {str(outcome.custom_id): outcome for outcome in found}

    @staticmethod
    def now() -> datetime:
        """The moment before a test begins to post."""
        return datetime.now(UTC)

    @abstractmethod
    def script(self, rows: Mapping[str, str]) -> dict[str, str]:
        """See to it that the rows come to those words; what has to go into the metadata for it."""

    @abstractmethod
    def showing(self, status: BatchStatus) -> str:
        """A batch that the service shows so."""

    @abstractmethod
    def let_end(self, batch_id: str) -> None:
        """Let a batch end."""

    @abstractmethod
    def fault(self, op: str, action: str, **more: Any) -> None:
        """Let the next call of a kind go wrong; see loopback.py, and tasks/local_batch/faults/http_faults.py."""

    @abstractmethod
    def created(self) -> int:
        """Batches created so far, by anybody."""


class EmbeddedStage(Stage):
    """OpenAI's protocol, spoken to the embedded service."""

    provider = OpenAIProvider
    _WORDS: ClassVar = {
        "awkward": "raw_u2028",
        "truncated": "length",
        "refused": "refusal",
        "failed": "row_error:400",
        "transient": "row_error:500",
        "overloaded": "row_error:429",
        "unpaid": "unpaid",
        "expired": "expire_after:0",
        "cancelled": "cancel_after:0",
    }
    _STATUSES: ClassVar = {
        BatchStatus.QUEUED: "stuck:validating",
        BatchStatus.RUNNING: "stuck:in_progress",
        BatchStatus.FINISHING: "stuck:finalizing",
        BatchStatus.FAILED: "fail:mismatched_model",
        BatchStatus.EXPIRED: "expire_after:0",
        BatchStatus.CANCELLED: "cancel_after:0",
    }
    statuses = tuple(
        each for each in BatchStatus if each is not BatchStatus.CANCELLING
    )  # which is over before it can be seen

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.fake = request.getfixturevalue("session_batch_service")
        self.settings = OpenAIProvider(name="openai", base_url=self.fake.url, api_key_env=self.key_variable)
        super().__init__()

    def renew(self) -> None:
        super().renew()
        self.fake.forgive()

    def script(self, rows: Mapping[str, str]) -> dict[str, str]:
        whole = ("expired", "cancelled")
        faults = [
            self._WORDS[word] + ("" if word in whole else f":{custom_id}")
            for custom_id, word in rows.items()
            if word != "succeeded"
        ]
        return {"nightmail_faults": ",".join(faults)} if faults else {}

    def showing(self, status: BatchStatus) -> str:
        words = {"nightmail_faults": self._STATUSES[status]} if status in self._STATUSES else {}
        return self.create(self.submission({"a": "succeeded"}, metadata=words)).id

    def let_end(self, batch_id: str) -> None:
        return  # it does

    def fault(self, op: str, action: str, **more: Any) -> None:
        self.fake.fault(op, action, **more)

    def created(self) -> int:
        return len(list(self.fake.client().batches.list(limit=100)))


class AnthropicStage(Stage):
    """Message Batches."""

    provider = AnthropicProvider
    key = KEY
    statuses = (
        BatchStatus.RUNNING,
        BatchStatus.CANCELLING,
        BatchStatus.COMPLETED,
        BatchStatus.EXPIRED,
        BatchStatus.CANCELLED,
    )
    uploads = False
    keeps_keys = False

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.fake = AnthropicFake()
        request.addfinalizer(self.fake.close)
        self.settings = AnthropicProvider(
            name="anthropic", base_url=self.fake.url, api_key_env=self.key_variable
        )
        super().__init__()

    def renew(self) -> None:
        super().renew()
        self.fake.forget()
        self.fake.hold = True

    def script(self, rows: Mapping[str, str]) -> dict[str, str]:
        self.fake.script |= {
            custom_id: word.replace("cancelled", "canceled") for custom_id, word in rows.items()
        }
        return {}

    def showing(self, status: BatchStatus) -> str:
        words = {BatchStatus.EXPIRED: "expired", BatchStatus.CANCELLED: "cancelled"}
        made = self.post({"a": words.get(status, "succeeded")})
        if status is BatchStatus.CANCELLING:
            self.service.cancel(made.id)
        elif status.ended:
            self.fake.end(made.id)
        return made.id

    def let_end(self, batch_id: str) -> None:
        canceling = self.fake.batches[batch_id]["processing_status"] == "canceling"
        self.fake.end(batch_id, "canceled" if canceling else "ended")

    def fault(self, op: str, action: str, **more: Any) -> None:
        self.fake.fault(op, action, **more)

    def created(self) -> int:
        return len(self.fake.created)


class VendorStage(Stage):
    """A vendor of OpenAI's protocol, as strict and as odd as it is."""

    _WORDS: ClassVar = {
        BatchStatus.QUEUED: "validating",
        BatchStatus.RUNNING: "in_progress",
        BatchStatus.FINISHING: "finalizing",
        BatchStatus.CANCELLING: "cancelling",
    }
    fake: OpenAIFake

    def renew(self) -> None:
        super().renew()
        self.fake.forget()

    def script(self, rows: Mapping[str, str]) -> dict[str, str]:
        self.fake.script |= rows
        return {}

    def showing(self, status: BatchStatus) -> str:
        made = self.post({"a": "succeeded"})
        if status is BatchStatus.FAILED:
            self.fake.fail(made.id, Problem(1, "model_not_found", "No such model.", "body.model"))
        elif status.ended:
            self.fake.end(made.id, str(status))
        else:
            self.fake.show(made.id, self._WORDS[status])
        return made.id

    def let_end(self, batch_id: str) -> None:
        cancelled = self.fake.batches[batch_id]["status"] == "cancelling"
        self.fake.end(batch_id, "cancelled" if cancelled else "completed")

    def fault(self, op: str, action: str, **more: Any) -> None:
        self.fake.fault(op, action, **more)

    def created(self) -> int:
        return len(self.fake.batches)


class AlibabaStage(VendorStage):
    """Model Studio."""

    provider = AlibabaProvider

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.fake = AlibabaFake()
        request.addfinalizer(self.fake.close)
        self.settings = AlibabaProvider(name="alibaba", base_url=self.fake.url, api_key_env=self.key_variable)
        super().__init__()


class AzureStage(VendorStage):
    """Azure OpenAI, whose batches do not expire."""

    provider = AzureProvider
    outcomes = tuple(word for word in OUTCOMES if word != "expired")
    statuses = tuple(each for each in BatchStatus if each is not BatchStatus.EXPIRED)
    counts = False

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.fake = fake = AzureFake()
        request.addfinalizer(fake.close)
        self.settings = AzureProvider(name="azure", endpoint=fake.resource, api_key_env=self.key_variable)
        super().__init__()


class GeminiStage(Stage):
    """Gemini's batches."""

    provider = GeminiProvider
    key = gemini_fake.KEY
    outcomes = tuple(word for word in OUTCOMES if word != "expired")  # a batch expires whole, without a line
    statuses = tuple(
        each for each in BatchStatus if each not in (BatchStatus.FINISHING, BatchStatus.CANCELLING)
    )
    deletes_results = False
    absent = ("batches/no-such", "files/no-such")
    _ENDS: ClassVar = {
        BatchStatus.COMPLETED: "SUCCEEDED",
        BatchStatus.FAILED: "FAILED",
        BatchStatus.EXPIRED: "EXPIRED",
        BatchStatus.CANCELLED: "CANCELLED",
    }

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self.fake = gemini_fake.GeminiFake()
        request.addfinalizer(self.fake.close)
        self.settings = GeminiProvider(name="gemini", base_url=self.fake.url, api_key_env=self.key_variable)
        super().__init__()

    def be_quick(self, service: Any) -> None:
        return  # this SDK repeats nothing

    def renew(self) -> None:
        super().renew()
        self.fake.forget()
        self.fake.hold = True

    def script(self, rows: Mapping[str, str]) -> dict[str, str]:
        self.fake.script |= rows
        return {}

    def showing(self, status: BatchStatus) -> str:
        made = self.post({"a": "succeeded"})
        if status.ended:
            self.fake.end(made.id, self._ENDS[status])
        elif status is BatchStatus.RUNNING:
            self.fake.batches[made.id].state = "RUNNING"
        return made.id

    def let_end(self, batch_id: str) -> None:
        if self.fake.batches[batch_id].open:
            self.fake.end(batch_id)

    def fault(self, op: str, action: str, **more: Any) -> None:
        self.fake.fault(op, action, **more)

    def created(self) -> int:
        return len(self.fake.batches)


STAGES: dict[str, Any] = {
    "openai": EmbeddedStage,
    "alibaba": AlibabaStage,
    "azure": AzureStage,
    "anthropic": AnthropicStage,
    "gemini": GeminiStage,
}
"""The services by the name of their provider; each is made once, with the `request` of a session's fixture."""
