"""Google's Gemini Batch API and Files API on loopback: resumable uploads, operations, downloads, Google's errors.

Shapes: https://ai.google.dev/api/batch-api, /api/files. Batches end when they have been looked at twice, unless `hold`
is set; then `end` ends them. What rows come to is in `script`: key to one or several words, a word per batch that asks
for the row, the last of them for ever after.

    succeeded awkward truncated refused blocked failed transient overloaded cancelled     and  missing

What `replies` plays is a row's `{"response"}`, in the place of its own.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from fakes.gemini_rules import refuse_row
from fakes.loopback import Call, Loopback, Reply, Route
from fakes.played import Replies
from tasks.local_batch.echo.schema_sampler import SchemaSampler
from tasks.local_batch.faults.corrupt_answers import AWKWARD

KEY = "AIza-secret"
_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"
_RPC = "type.googleapis.com/google.rpc"
_MAX_FILE = 2_000_000_000
_MAX_OPEN = 100
_MAX_FILE_ID = 40
_STATUS = {
    400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 429: "RESOURCE_EXHAUSTED",
    500: "INTERNAL", 502: "UNAVAILABLE", 503: "UNAVAILABLE",
}  # fmt: skip
_ROW_ERRORS = {
    "failed": (3, "Request contains an invalid argument."),
    "transient": (14, "The service is currently unavailable."),
    "overloaded": (8, "Resource has been exhausted (e.g. check quota)."),
    "unpaid": (8, "Your prepayment credits are depleted."),
    "cancelled": (1, "The operation was cancelled."),
}
_ENDS = {
    "CANCELLED": (1, "The operation was cancelled."),
    "EXPIRED": (4, "The batch expired before it was processed."),
    "FAILED": (3, "The input file could not be parsed."),
}


@dataclass
class File:
    """An upload, or a result file."""

    name: str
    content: bytes = b""
    display_name: str = ""
    mime_type: str = "application/json"
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    source: str = "UPLOADED"
    state: str = "ACTIVE"

    def as_json(self) -> dict[str, Any]:
        """As the Files API shows it."""
        return {
            "name": self.name,
            "displayName": self.display_name,
            "mimeType": self.mime_type,
            "sizeBytes": str(len(self.content)),
            "createTime": _time(self.created),
            "updateTime": _time(self.created),
            "expirationTime": _time(self.created + timedelta(hours=48)),
            "sha256Hash": "YWJj",
            "uri": f"https://generativelanguage.googleapis.com/v1/{self.name}",
            "state": self.state,
            "source": self.source,
        }


@dataclass
class Batch:
    """A batch and what became of its rows."""

    name: str
    display_name: str
    model: str
    embeds: bool
    lines: list[bytes]
    created: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: str = "PENDING"
    error: tuple[int, str] | None = None
    results: str | None = None
    good: int = 0
    bad: int = 0
    looks: int = 0

    @property
    def open(self) -> bool:
        """Not at its end."""
        return self.state in ("PENDING", "RUNNING")

    def as_json(self) -> dict[str, Any]:
        """The long-running operation."""
        waiting = len(self.lines) - self.good - self.bad
        counts = {
            "requestCount": len(self.lines),
            "successfulRequestCount": self.good,
            "failedRequestCount": self.bad,
            "pendingRequestCount": waiting,
        }
        metadata: dict[str, Any] = {
            "@type": _TYPE,
            "model": self.model,
            "displayName": self.display_name,
            "createTime": _time(self.created),
            "updateTime": _time(self.created),
            "batchStats": {name: str(count) for name, count in counts.items() if count},
            "state": f"BATCH_STATE_{self.state}",
            "name": self.name,
        }
        operation: dict[str, Any] = {"name": self.name, "metadata": metadata}
        if not self.open:
            operation["done"] = True
        if self.results:
            metadata["output"] = {"responsesFile": self.results}
        if self.error:
            operation["error"] = {"code": self.error[0], "message": self.error[1]}
        elif self.results:
            operation["response"] = {"@type": f"{_TYPE}Output", "responsesFile": self.results}
        return operation


class Refusal(Exception):
    """An error reply."""

    def __init__(self, status: int, text: str, *, name: str = "", details: Sequence[Any] = ()) -> None:
        super().__init__(text)
        error = {"code": status, "message": text, "status": name or _STATUS.get(status, "UNKNOWN")}
        self.reply = Reply({"error": error | ({"details": list(details)} if details else {})}, status)


class GeminiFake(Loopback):
    """The service. `batches` holds every batch ever created, newest last; `files` what is stored."""

    _V = "/v1(?:beta)?"
    routes: ClassVar[tuple[Route, ...]] = (
        ("POST", rf"/upload{_V}/files", "begin"),
        ("POST", rf"/upload{_V}/files/([^/]+)", "upload"),
        ("GET", rf"{_V}/files", "files"),
        ("GET", rf"{_V}/files/([^/:]+):download", "content"),
        ("DELETE", rf"{_V}/files/([^/:]+)", "delete"),
        ("POST", rf"{_V}/models/([^/:]+):(batchGenerateContent|asyncBatchEmbedContent)", "create"),
        ("GET", rf"{_V}/batches", "list"),
        ("GET", rf"{_V}/(batches/[^/:]+)", "retrieve"),
        ("POST", rf"{_V}/(batches/[^/:]+):cancel", "cancel"),
    )

    def forget(self) -> None:
        super().forget()
        self.hold = False
        self.script: dict[str, Sequence[str]] = {}
        self.replies = Replies()
        self.ends: list[str] = []  # how the next batches end, e.g. EXPIRED, or "FAILED:8"; then SUCCEEDED
        self.age = timedelta(0)  # how long ago the next batches were created
        self.processing = 0  # how many creations come before Google has looked at the upload
        self.requests: list[dict[str, Any]] = []  # of the rows that were processed
        self.files: dict[str, File] = {}
        self.batches: dict[str, Batch] = {}
        self.kill_at: dict[str, int] = {}  # a process to kill once a call has done its work
        self.broken: list[str] = []  # faults of this file: tests shall fail
        self._uploads: dict[str, tuple[File, int]] = {}
        self._asked: dict[str, int] = {}

    # What a test does to it

    def end(self, name: str, how: str = "SUCCEEDED") -> None:
        """Let a batch end. EXPIRED and FAILED leave no results; `FAILED:8` fails with that code, `CANCELLED+` leaves some."""
        batch = self.batches[name]
        state, _, code = how.partition(":")
        batch.state = state.removesuffix("+")
        if batch.state in _ENDS:
            number, text = _ENDS[batch.state]
            batch.error = (int(code or number), text)
        if state in _ENDS:
            return
        lines = [line for posted in batch.lines if (line := self._answered(batch, json.loads(posted)))]
        batch.good = sum(b'"error"' not in line for line in lines)
        batch.bad = len(lines) - batch.good
        batch.results = f"files/{name.replace('batches/', 'batch-')}"
        content = b"".join(line + b"\n" for line in reversed(lines))  # the order is not guaranteed
        self.files[batch.results] = File(batch.results, content, source="GENERATED")

    def uploads(self) -> list[File]:
        """Uploads that are still stored."""
        return [file for file in self.files.values() if file.source == "UPLOADED"]

    # The protocol

    def perform(self, name: str, call: Call, groups: tuple[str, ...]) -> Reply:
        try:
            return self._done(name, super().perform(name, call, groups))
        except Refusal as refusal:
            return refusal.reply
        except Exception as error:  # the run must end, and the test fail
            self.broken.append(f"{call.method} {call.path}: {error!r}")
            return Refusal(400, f"the fake service broke: {error!r}").reply

    def _done(self, name: str, reply: Reply) -> Reply:
        if name in self.kill_at:
            os.kill(self.kill_at.pop(name), signal.SIGKILL)
        return reply

    def refusal(self, status: int, text: str) -> Reply:
        return Refusal(status, text).reply

    def on_begin(self, call: Call) -> Reply:
        _admit(call)
        metadata = _camelled(json.loads(call.body)["file"])
        if (
            call.headers["x-goog-upload-protocol"] != "resumable"
            or call.headers["x-goog-upload-command"] != "start"
        ):
            raise Refusal(400, "not a resumable upload")
        if metadata.keys() - {"displayName", "mimeType", "name", "sizeBytes"}:
            raise Refusal(400, f"Unknown name in {sorted(metadata)}")
        if metadata["mimeType"] not in ("application/json", "text/plain"):
            raise Refusal(400, f"Unsupported MIME type: {metadata['mimeType']}")
        size = int(call.headers["x-goog-upload-header-content-length"])
        if size > _MAX_FILE or len(metadata.get("displayName", "")) > 512:
            raise Refusal(400, "too large")
        ticket = secrets.token_hex(8)
        made = File(
            f"files/{secrets.token_hex(6)}", b"", metadata.get("displayName", ""), metadata["mimeType"]
        )
        self._uploads[ticket] = made, size
        where = f"{self.url}/upload/v1/files/{ticket}?upload_protocol=resumable"
        return Reply({}, headers={"x-goog-upload-url": where, "x-goog-upload-status": "active"})

    def on_upload(self, call: Call, ticket: str) -> Reply:
        # its address is its permission: no key comes with it
        made, size = self._uploads[ticket]
        if int(call.headers["x-goog-upload-offset"]) != len(made.content):
            raise Refusal(400, "wrong offset")
        made.content += call.body
        if "finalize" not in call.headers["x-goog-upload-command"]:
            return Reply({}, headers={"x-goog-upload-status": "active"})
        if len(made.content) != size:
            raise Refusal(400, f"{len(made.content)} of {size} bytes came")
        made.created = datetime.now(UTC)
        self.files[made.name] = made
        return Reply({"file": made.as_json()}, headers={"x-goog-upload-status": "final"})

    def on_files(self, call: Call) -> Reply:
        _admit(call)
        return _page(self.uploads(), call, "files")  # results are not listed

    def on_content(self, call: Call, file_id: str) -> Reply:
        _admit(call)
        file = self._file(f"files/{file_id}")
        if call.query.get("alt") != "media" or file.source == "UPLOADED":
            raise Refusal(400, "only generated files can be downloaded, with alt=media")
        return Reply(file.content)

    def on_delete(self, call: Call, file_id: str) -> Reply:
        _admit(call)
        if len(file_id) > _MAX_FILE_ID:
            text = "* DeleteFileRequest.name: File ID (name excluding 'files/') cannot be more than 40 characters.\n"
            raise Refusal(400, text)
        del self.files[self._file(f"files/{file_id}").name]
        return Reply({})

    def on_create(self, call: Call, model: str, kind: str) -> Reply:
        _admit(call)
        parameters = json.loads(call.body)
        batch = _camelled(parameters.get("batch", {}))
        if parameters.keys() != {"batch"} or batch.keys() - {"displayName", "inputConfig"}:
            raise Refusal(400, 'Invalid JSON payload received. Unknown name at "batch"')
        if not batch.get("displayName"):
            raise Refusal(400, "* BatchGenerateContentRequest.batch.display_name: display_name is required")
        if model.startswith("no-such"):
            raise Refusal(
                404, f"models/{model} is not found for API version v1, or is not supported for {kind}."
            )
        if sum(one.open for one in self.batches.values()) >= _MAX_OPEN:
            delay = {"@type": f"{_RPC}.RetryInfo", "retryDelay": "37s"}
            raise Refusal(429, "You exceeded your current quota.", details=[delay])
        source = self._file(_camelled(batch["inputConfig"])["fileName"])
        if self.processing:
            self.processing -= 1
            text = f"The File {source.name} is not in an ACTIVE state and usage is not allowed."
            raise Refusal(400, text, name="FAILED_PRECONDITION")
        lines = source.content.removesuffix(b"\n").split(b"\n")
        name = f"batches/{secrets.token_hex(18)}"
        made = Batch(name, batch["displayName"], f"models/{model}", kind.startswith("async"), lines)
        made.created += self.skew - self.age
        self.batches[name] = made
        return Reply(made.as_json())

    def on_list(self, call: Call) -> Reply:
        _admit(call)
        return _page(list(self.batches.values()), call, "operations")

    def on_retrieve(self, call: Call, name: str) -> Reply:
        _admit(call)
        batch = self._batch(name)
        batch.looks += 1
        if batch.open and not self.hold:
            batch.state = "RUNNING"
            if batch.looks > 1:
                self._run_out(batch)
        return Reply(batch.as_json())

    def on_cancel(self, call: Call, name: str) -> Reply:
        _admit(call)
        batch = self._batch(name)
        if not batch.open:
            raise Refusal(
                400, f"The batch is {batch.state} and cannot be cancelled.", name="FAILED_PRECONDITION"
            )
        self.end(name, "CANCELLED")
        return Reply({})

    def _run_out(self, batch: Batch) -> None:
        try:
            keys = [json.loads(line)["key"] for line in batch.lines]
        except (ValueError, KeyError, TypeError):
            return self.end(batch.name, "FAILED")
        how = "FAILED" if len(set(keys)) != len(keys) else self.ends.pop(0) if self.ends else "SUCCEEDED"
        return self.end(batch.name, how)

    def _answered(self, batch: Batch, posted: dict[str, Any]) -> bytes | None:
        key = posted["key"]
        word = self._word(key)
        if word == "missing":
            return None
        played = self.replies.next(key)
        if played and "raw" in played:
            return bytes(played["raw"].encode())
        problem = refuse_row(posted, embeds=batch.embeds)
        self.requests.append(posted["request"])
        if problem or word in _ROW_ERRORS:
            code, text = (3, problem) if problem else _ROW_ERRORS[word]
            result: dict[str, Any] = {"error": {"code": code, "message": text}}
        elif played:
            result = played
        elif batch.embeds:
            size = posted["request"].get("outputDimensionality", 3)
            result = {"response": {"embedding": {"values": [0.5] * size}, "tokenCount": "3"}}
        else:
            result = {"response": _response(key, posted["request"], word, batch.model)}
        return json.dumps({"key": key, **result}, ensure_ascii=False).encode()

    def _word(self, key: str) -> str:
        words = self.script.get(key, "succeeded")
        words = (words,) if isinstance(words, str) else words
        attempt = self._asked[key] = self._asked.get(key, -1) + 1
        return words[min(attempt, len(words) - 1)]

    def _file(self, name: str) -> File:
        if name not in self.files:
            file_id = name.removeprefix("files/")
            text = f"You do not have permission to access the File {file_id} or it may not exist."
            raise Refusal(403, text)
        return self.files[name]

    def _batch(self, name: str) -> Batch:
        if name not in self.batches:
            raise Refusal(404, "Requested entity was not found.")
        return self.batches[name]


def _response(key: str, request: dict[str, Any], word: str, model: str) -> dict[str, Any]:
    """What the model says: the last text it was told, or JSON that fits."""
    usage = {
        "promptTokenCount": 14,
        "candidatesTokenCount": 5,
        "thoughtsTokenCount": 21,
        "totalTokenCount": 40,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 14}],
    }
    common = {"usageMetadata": usage, "modelVersion": model.removeprefix("models/"), "responseId": "mVQcab"}
    if word == "blocked":
        return {"promptFeedback": {"blockReason": "SAFETY"}, **common}
    if word == "refused":
        return {"candidates": [{"finishReason": "SAFETY", "index": 0}], **common}
    schema = request.get("generationConfig", {}).get("responseJsonSchema")
    question = " ".join(part["text"] for part in request["contents"][-1]["parts"] if "text" in part)
    text = json.dumps(SchemaSampler(schema).sample(key)) if schema else question
    if word == "invalid":
        text = "Sure: it is fine."
    thought = [{"text": "Let me see.", "thought": True}] if _thinks(request) else []
    parts = [*thought, {"text": text + AWKWARD if word == "awkward" else text}]
    reason = "MAX_TOKENS" if word == "truncated" else "STOP"
    content = {"parts": parts, "role": "model"}
    return {"candidates": [{"content": content, "finishReason": reason, "index": 0}], **common}


def _thinks(request: dict[str, Any]) -> bool:
    return bool(request.get("generationConfig", {}).get("thinkingConfig", {}).get("includeThoughts"))


def _admit(call: Call) -> None:
    """Google says 400 of a wrong key."""
    if call.headers["x-goog-api-key"] != KEY:
        info = {"@type": f"{_RPC}.ErrorInfo", "reason": "API_KEY_INVALID", "domain": "googleapis.com"}
        raise Refusal(400, "API key not valid. Please pass a valid API key.", details=[info])


def _page(items: Sequence[Any], call: Call, kind: str) -> Reply:
    start, size = int(call.query.get("pageToken", 0)), int(call.query.get("pageSize", 10))
    shown = [item.as_json() for item in items[start : start + size]]
    page: dict[str, Any] = {kind: shown} if shown else {}
    more = {"nextPageToken": str(start + size)} if start + size < len(items) else {}
    return Reply(page | more)


def _camelled(node: dict[str, Any]) -> dict[str, Any]:
    """Google takes both ways of writing a field, and its SDK uses both."""
    return {_camel(name): value for name, value in node.items()}


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


def _time(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
