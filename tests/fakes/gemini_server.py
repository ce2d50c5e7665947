"""A Gemini Developer API on loopback: files, batches, downloads, as strict as Google documents it.

Shapes follow https://ai.google.dev/api/batch-api, /api/files and /api/generate-content; requests are validated with the
SDK's own types, which refuse unknown fields as Google does. Batches end when they have been looked at twice, or when a
test says so (`by_hand`, `finish`). `fault` breaks calls, `lose_reply` does the work and drops the connection.
"""

from __future__ import annotations

import base64
import itertools
import json
import re
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from google.genai import types
from pydantic import TypeAdapter, ValidationError

from tasks.local_batch.echo_schema import Sampler

KEY = "sk-secret"
_TYPE = "type.googleapis.com/google.ai.generativelanguage.v1main.GenerateContentBatch"
_MAX_FILE = 2_000_000_000
_MAX_OPEN = 100
_FIELDS = {
    "contents": TypeAdapter(list[types.Content]),
    "systemInstruction": TypeAdapter(types.Content),
    "generationConfig": TypeAdapter(types.GenerationConfig),
    "tools": TypeAdapter(list[types.Tool]),
    "toolConfig": TypeAdapter(types.ToolConfig),
    "safetySettings": TypeAdapter(list[types.SafetySetting]),
    "cachedContent": TypeAdapter(str),
}
_EMBED_FIELDS = {
    "content": TypeAdapter(types.Content),
    "taskType": TypeAdapter(str),
    "title": TypeAdapter(str),
    "outputDimensionality": TypeAdapter(int),
    "autoTruncate": TypeAdapter(bool),
}
_NUMBER = {"INVALID_ARGUMENT": 400, "FAILED_PRECONDITION": 400, "PERMISSION_DENIED": 403, "NOT_FOUND": 404,
           "RESOURCE_EXHAUSTED": 429, "INTERNAL": 500, "UNAVAILABLE": 503}  # fmt: skip


class Refusal(Exception):
    """An error reply."""

    def __init__(self, status: str, message: str, details: list[Any] | None = None) -> None:
        super().__init__(message)
        self.code = _NUMBER[status]
        error = {"code": self.code, "message": message, "status": status}
        self.body = {"error": error | ({"details": details} if details else {})}


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
    error: dict[str, Any] | None = None
    results: str | None = None
    good: int = 0
    bad: int = 0
    looks: int = 0

    @property
    def open(self) -> bool:
        """Not at its end."""
        return self.state in ("PENDING", "RUNNING")

    def keys(self) -> list[str]:
        """The rows' keys, as posted."""
        return [json.loads(line)["key"] for line in self.lines]

    def as_json(self) -> dict[str, Any]:
        """The long-running operation."""
        stats = {"requestCount": len(self.lines), "successfulRequestCount": self.good,
                 "failedRequestCount": self.bad, "pendingRequestCount": len(self.lines) - self.good - self.bad}  # fmt: skip
        metadata: dict[str, Any] = {
            "@type": _TYPE,
            "model": self.model,
            "displayName": self.display_name,
            "createTime": _time(self.created),
            "updateTime": _time(self.created),
            "batchStats": {name: str(count) for name, count in stats.items() if count},
            "state": f"BATCH_STATE_{self.state}",
            "name": self.name,
        }
        operation: dict[str, Any] = {"name": self.name, "metadata": metadata}
        if self.results:
            metadata["output"] = {"responsesFile": self.results}
            operation["response"] = {"@type": f"{_TYPE}Output", "responsesFile": self.results}
        if self.error:
            operation.pop("response", None)
            operation["error"] = self.error
        return operation if self.open else operation | {"done": True}


class GeminiServer:
    """The service and the strings to pull."""

    def __init__(self) -> None:
        self.files: dict[str, File] = {}
        self.all: dict[str, Batch] = {}
        self.calls: list[str] = []
        self.crashes: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._lock = threading.RLock()
        serve = {"poll_interval": 0.01}
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs=serve, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.forget()

    def forget(self) -> None:
        """As new, at the same place."""
        self.files.clear()
        self.all.clear()
        self.calls.clear()
        self.crashes.clear()
        self._uploads: dict[str, tuple[File, int]] = {}
        self._faults: list[list[Any]] = []
        self.by_hand = False
        self.age = timedelta(0)  # how long ago the next batches were created
        self.newest_first = False
        self.answer: Callable[[str, dict[str, Any]], dict[str, Any] | None] = _echo
        self.ends: list[str] = []  # how the next batches end, e.g. ["EXPIRED"]

    def stop(self) -> None:
        """Close the port."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    # the strings

    def fault(self, call: str, action: str, times: int = 1) -> None:
        """`action`: status:CODE, html:CODE, reset_before, drop_reply, reset_midway. `call` is a name of `_ROUTES`."""
        self._faults.append([call, action, times])

    def lose_reply(self, call: str) -> None:
        """The next such call does its work, and nobody hears of it."""
        self.fault(call, "drop_reply")

    def batches(self) -> list[Batch]:
        """Every batch ever created."""
        return list(self.all.values())

    def finish(
        self, batch: Batch, lines: dict[str, dict[str, Any] | None] | None = None, state: str = "SUCCEEDED"
    ) -> None:
        """End a batch. `lines`: what comes back for a key, without the key; None is no line; others are echoed."""
        if state in ("EXPIRED", "FAILED") or (state == "CANCELLED" and lines is None):
            number = {"EXPIRED": 4, "FAILED": 3, "CANCELLED": 1}[state]
            batch.state = state
            batch.error = batch.error or {"code": number, "message": f"The batch has {state.lower()}."}
            return
        made = []
        for line in batch.lines:
            posted = json.loads(line)
            key = posted["key"]
            said = lines[key] if lines and key in lines else self._answered(batch, posted)
            if said is not None:
                batch.good += "response" in said
                batch.bad += "error" in said
                made.append(json.dumps({"key": key, **said}, ensure_ascii=False).encode())
        self.deliver(batch, b"".join(line + b"\n" for line in reversed(made)), state)

    def deliver(self, batch: Batch, content: bytes, state: str = "SUCCEEDED") -> None:
        """End a batch with these very bytes."""
        name = f"files/{batch.name.replace('batches/', 'batch-')}"
        self.files[name] = File(name, content, source="GENERATED")
        batch.state, batch.results = state, name

    def fail(self, batch: Batch, number: int, message: str) -> None:
        """End a batch as failed, nothing done."""
        batch.error = {"code": number, "message": message}
        self.finish(batch, state="FAILED")

    def _answered(self, batch: Batch, posted: dict[str, Any]) -> dict[str, Any] | None:
        problem = _problem(posted, _EMBED_FIELDS if batch.embeds else _FIELDS)
        if problem:
            return {"error": {"code": 3, "message": problem}}
        return self.answer(posted["key"], posted["request"])

    def _look(self, batch: Batch) -> None:
        """Time goes by when somebody looks."""
        batch.looks += 1
        if not batch.open or self.by_hand:
            return
        batch.state = "RUNNING"
        if batch.looks < 2:
            return
        try:
            keys = batch.keys()
        except (ValueError, KeyError, TypeError):
            self.fail(batch, 3, "The input file could not be parsed.")
            return
        if len(set(keys)) != len(keys):
            self.fail(batch, 3, "The keys of the input file are not unique.")
            return
        self.finish(batch, state=self.ends.pop(0) if self.ends else "SUCCEEDED")

    @staticmethod
    def said(text: str | None, reason: str = "STOP", **more: Any) -> dict[str, Any]:
        """A result line of one candidate, without its key."""
        content = {"parts": [{"text": text}], "role": "model"} if text is not None else {"role": "model"}
        candidate = {"content": content, "finishReason": reason, "index": 0}
        usage = {
            "promptTokenCount": 14,
            "candidatesTokenCount": 5,
            "thoughtsTokenCount": 21,
            "totalTokenCount": 40,
        }
        body = {"candidates": [candidate], "usageMetadata": usage, "modelVersion": "gemini-2.5-flash"}
        return {"response": body | more}

    # the calls: each takes what came and gives (headers, body)

    def handle(self, method: str, url: str, headers: Any, body: bytes) -> tuple[str, str | None, Any]:
        """(call, action, reply or Refusal) of one request."""
        parts = urlsplit(url)
        for call, (verb, pattern) in _ROUTES.items():
            found = re.fullmatch(pattern, parts.path)
            if found and verb == method and (call != "upload" or "upload_id" in url):
                break
        else:
            return "unknown", None, Refusal("NOT_FOUND", f"no {method} {parts.path}")
        with self._lock:
            self.calls.append(call)
            action = self._action(call)
            if action and not action.startswith(("drop_reply", "reset_midway")):
                return call, action, None
            try:
                self._admit(call, headers)
                query = {name: values[0] for name, values in parse_qs(parts.query).items()}
                reply = getattr(self, f"_{call}")(
                    headers=headers, query=query, body=body, **found.groupdict()
                )
            except Refusal as refusal:
                return call, action, refusal
            except Exception as error:  # a fault of this file, or a request that is none: the test shall fail
                self.crashes.append(f"{call}: {error!r}")
                return call, action, Refusal("INVALID_ARGUMENT", f"the fake service broke: {error!r}")
        return call, action, reply

    def _admit(self, call: str, headers: Any) -> None:
        """Google says 400 of a wrong key; the URL of an upload is its own permission."""
        if call != "upload" and headers.get("x-goog-api-key") != KEY:
            info = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "API_KEY_INVALID"}
            raise Refusal("INVALID_ARGUMENT", "API key not valid. Please pass a valid API key.", [info])

    def _action(self, call: str) -> str | None:
        for armed in self._faults:
            if armed[0] == call and armed[2] > 0:
                armed[2] -= 1
                return str(armed[1])
        return None

    def _begin(self, headers: Any, body: bytes, **_: Any) -> Any:
        if headers["x-goog-upload-protocol"] != "resumable" or headers["x-goog-upload-command"] != "start":
            raise Refusal("INVALID_ARGUMENT", "not a resumable upload")
        told = _camelled(json.loads(body)["file"])
        if told.keys() - {"displayName", "mimeType", "name", "sizeBytes"}:
            raise Refusal("INVALID_ARGUMENT", f"Unknown name in {sorted(told)}")
        size = int(headers["x-goog-upload-header-content-length"])
        if told["mimeType"] not in ("application/json", "text/plain"):
            raise Refusal("INVALID_ARGUMENT", f"Unsupported MIME type: {told['mimeType']}")
        if size > _MAX_FILE or len(told.get("displayName", "")) > 512:
            raise Refusal("INVALID_ARGUMENT", "too large")
        upload_id = secrets.token_hex(8)
        name = f"files/{secrets.token_hex(6)}"
        made = File(name, b"", told.get("displayName", ""), told["mimeType"])
        self._uploads[upload_id] = made, size
        where = f"{self.url}/upload/v1/files?upload_id={upload_id}&upload_protocol=resumable"
        return {"x-goog-upload-url": where, "x-goog-upload-status": "active"}, {}

    def _upload(self, headers: Any, query: dict[str, str], body: bytes, **_: Any) -> Any:
        made, size = self._uploads[query["upload_id"]]
        if int(headers["x-goog-upload-offset"]) != len(made.content):
            raise Refusal("INVALID_ARGUMENT", "wrong offset")
        made.content += body
        if "finalize" not in headers["x-goog-upload-command"]:
            return {"x-goog-upload-status": "active"}, {}
        if len(made.content) != size:
            raise Refusal("INVALID_ARGUMENT", f"{len(made.content)} of {size} bytes came")
        made.created = datetime.now(UTC)
        self.files[made.name] = made
        return {"x-goog-upload-status": "final"}, {"file": made.as_json()}

    def _list_files(self, query: dict[str, str], **_: Any) -> Any:
        shown = [file for file in self.files.values() if file.source == "UPLOADED"]
        return {}, self._page(shown, query, "files")

    def _delete_file(self, name: str, **_: Any) -> Any:
        if len(name) > 40:
            message = "* DeleteFileRequest.name: File ID (name excluding 'files/') cannot be more than 40 characters.\n"
            raise Refusal("INVALID_ARGUMENT", message)
        self._file(name)
        del self.files[f"files/{name}"]
        return {}, {}

    def _download(self, name: str, query: dict[str, str], **_: Any) -> Any:
        if query.get("alt") != "media":
            raise Refusal("INVALID_ARGUMENT", "alt=media is missing")
        return {}, self._file(name).content

    def _file(self, name: str) -> File:
        found = self.files.get(f"files/{name}")
        if found is None:
            raise Refusal(
                "PERMISSION_DENIED",
                f"You do not have permission to access the File {name} or it may not exist.",
            )
        return found

    def _create(self, model: str, kind: str, body: bytes, **_: Any) -> Any:
        asked = json.loads(body)
        batch = _camelled(asked.get("batch", {}))
        if asked.keys() != {"batch"} or batch.keys() - {"displayName", "inputConfig"}:
            raise Refusal("INVALID_ARGUMENT", 'Invalid JSON payload received. Unknown name at "batch"')
        if not batch.get("displayName"):
            raise Refusal("INVALID_ARGUMENT", "* BatchGenerateContentRequest.batch.display_name: required")
        if model.startswith("no-such"):
            raise Refusal(
                "NOT_FOUND",
                f"models/{model} is not found for API version v1, or is not supported for {kind}.",
            )
        if sum(one.open for one in self.all.values()) >= _MAX_OPEN:
            delay = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "37s"}
            raise Refusal("RESOURCE_EXHAUSTED", "You exceeded your current quota.", [delay])
        source = self._file(_camelled(batch["inputConfig"])["fileName"].removeprefix("files/"))
        if source.state != "ACTIVE":
            message = f"The File {source.name} is not in an ACTIVE state and usage is not allowed."
            raise Refusal("FAILED_PRECONDITION", message)
        name = f"batches/{secrets.token_hex(18)}"
        lines = source.content.removesuffix(b"\n").split(b"\n")
        made = Batch(name, batch["displayName"], f"models/{model}", kind.startswith("async"), lines)
        made.created -= self.age
        self.all[name] = made
        return {}, made.as_json()

    def _get(self, name: str, **_: Any) -> Any:
        batch = self._batch(name)
        self._look(batch)
        return {}, batch.as_json()

    def _list(self, query: dict[str, str], **_: Any) -> Any:
        shown = list(self.all.values())
        return {}, self._page(shown[::-1] if self.newest_first else shown, query, "operations")

    def _cancel(self, name: str, **_: Any) -> Any:
        batch = self._batch(name)
        if not batch.open:
            raise Refusal(
                "FAILED_PRECONDITION", f"The batch is in state {batch.state} and cannot be cancelled."
            )
        self.finish(batch, state="CANCELLED")
        return {}, {}

    def _delete(self, name: str, **_: Any) -> Any:
        del self.all[self._batch(name).name]
        return {}, {}

    def _batch(self, name: str) -> Batch:
        found = self.all.get(f"batches/{name}")
        if found is None:
            raise Refusal("NOT_FOUND", f"Requested entity was not found: batches/{name}")
        return found

    def _page(self, items: list[Any], query: dict[str, str], kind: str) -> dict[str, Any]:
        start, size = int(query.get("pageToken", 0)), int(query.get("pageSize", 10))
        page: dict[str, Any] = {kind: [item.as_json() for item in items[start : start + size]]}
        if not page[kind]:
            page = {}
        return page | ({"nextPageToken": str(start + size)} if start + size < len(items) else {})


_V = r"/v1(?:beta)?"
_ROUTES = {
    "upload": ("POST", rf"/upload{_V}/files"),
    "begin": ("POST", rf"/upload{_V}/files"),
    "list_files": ("GET", rf"{_V}/files"),
    "download": ("GET", rf"{_V}/files/(?P<name>[^/:]+):download"),
    "delete_file": ("DELETE", rf"{_V}/files/(?P<name>[^/:]+)"),
    "create": ("POST", rf"{_V}/models/(?P<model>[^/:]+):(?P<kind>batchGenerateContent|asyncBatchEmbedContent)"),
    "list": ("GET", rf"{_V}/batches"),
    "get": ("GET", rf"{_V}/batches/(?P<name>[^/:]+)"),
    "cancel": ("POST", rf"{_V}/batches/(?P<name>[^/:]+):cancel"),
    "delete": ("DELETE", rf"{_V}/batches/(?P<name>[^/:]+)"),
}  # fmt: skip


def _handler(server: GeminiServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        dropped = False

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            _, action, reply = server.handle(self.command, self.path, self.headers, body)
            word, _, number = (action or "").partition(":")
            if word in ("reset_before", "drop_reply"):
                self.close_connection = self.dropped = True
                self.connection.close()
            elif word == "html":
                self._send(
                    int(number), {"content-type": "text/html"}, b"<html>\n<h1>Bad Gateway</h1>\n</html>"
                )
            elif word == "status":
                error = {"code": int(number), "message": f"Told to answer {number}.", "status": "TOLD"}
                self._send(int(number), {}, json.dumps({"error": error}).encode())
            elif isinstance(reply, Refusal):
                self._send(reply.code, {}, json.dumps(reply.body).encode())
            else:
                headers, said = reply
                content = said if isinstance(said, bytes) else json.dumps(said).encode()
                self._send(200, headers, content, cut=word == "reset_midway")

        do_GET = do_POST = do_DELETE = handle_any

        def _send(self, status: int, headers: dict[str, str], body: bytes, cut: bool = False) -> None:
            self.send_response(status)
            told = {
                "content-type": "application/json; charset=UTF-8",
                **headers,
                "content-length": str(len(body)),
            }
            for name, value in told.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)
            self.close_connection = cut or self.close_connection

        def log_message(self, *_: Any) -> None:
            return

        def finish(self) -> None:
            if not self.dropped:
                super().finish()

    return Handler


def _problem(posted: dict[str, Any], known: dict[str, TypeAdapter[Any]]) -> str | None:
    """Why Google would not take this row."""
    request = posted.get("request", {})
    if posted.keys() != {"key", "request"}:
        return "a line is key and request"
    for name, value in request.items():
        if name not in known:
            return f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
        try:
            known[name].validate_python(value)
        except ValidationError as error:
            return f"Invalid value at '{name}': {error.errors()[0]['msg']}"
    turns = [*request.get("contents", ()), *([request["content"]] if "content" in request else ())]
    if not turns or any(not turn.get("parts") for turn in turns):
        return "GenerateContentRequest.contents: contents is not specified"
    if any(turn.get("role", "user") not in ("user", "model") for turn in turns):
        return "Please use a valid role: user, model."
    config = request.get("generationConfig", {})
    if "responseJsonSchema" in config and config.get("responseMimeType") != "application/json":
        return "response_json_schema needs response_mime_type: application/json"
    for part in itertools.chain.from_iterable(turn["parts"] for turn in turns):
        if "inlineData" in part:
            base64.b64decode(part["inlineData"]["data"], validate=True)
    return None


def _echo(key: str, request: dict[str, Any]) -> dict[str, Any]:
    """What the model says: the last text it was told, or JSON that fits."""
    if "content" in request:
        size = request.get("outputDimensionality", 3)
        return {"response": {"embedding": {"values": [0.5] * size}, "tokenCount": "3"}}
    text = request["contents"][-1]["parts"][-1].get("text", "I see it.")
    schema = request.get("generationConfig", {}).get("responseJsonSchema")
    return GeminiServer.said(json.dumps(Sampler(schema).sample(key)) if schema else text)


def _camelled(node: dict[str, Any]) -> dict[str, Any]:
    """Google takes both ways of writing a field, and its SDK uses both."""
    return {_camel(name): value for name, value in node.items()}


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
