"""OpenAI's Files and Batches protocol on loopback, in memory, as OpenAI documents it and as others deviate from it.

Batches stay open until `end` ends them, or end when they are first looked at with `hold` False. What rows come to is in
`script`: custom_id to a word of the contract's OUTCOMES; a row without one succeeds. What `replies` plays, as `{"body"}` and
where it is not 200 `{"status_code"}`, comes in the place of that.

`odd` names deviations, each seen at some service in the field:

    no_metadata no_input_id after_ignored value_list no_file_list no_cancel no_delete refuses_expiry     calls
    any_key any_endpoint any_line any_window one_of_equals oldest_first cancels_ended keeps_deleted
    uppercase unknown_status iso_times null_counts job_wrapper no_expiry text_type           objects
    body_as_string no_error_key no_newline empty_error_file failed_in_output doubled reversed no_role   result files
    no_cut_rows

and `short_windows`, which is none: batches may be given seconds, and expire when they are looked at.
"""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from time import time
from typing import Any, ClassVar

from fakes.loopback import Call, Loopback, Refused, Reply, Route
from fakes.played import PlayedReply, Replies
from tasks.local_batch.echo.schema_sampler import SchemaSampler
from tasks.local_batch.faults.corrupt_answers import AWKWARD
from tasks.stages.validate import InputCheck, Problem
from tasks.stages.wire.openai.refusals import refusals

KEY = "sk-secret"
_RETENTION = range(3_600, 2_592_001)
_ROW_ERRORS = {
    "failed": (400, "invalid_value"),
    "transient": (500, "server_error"),
    "overloaded": (429, "rate_limit"),
    "unpaid": (429, "insufficient_quota"),
}
_NEVER_RAN = {"expired": "batch_expired", "cancelled": "batch_cancelled"}


class OpenAIFake(Loopback):
    """The service; the class attributes are what vendors differ in."""

    prefix: ClassVar[str] = "/v1"
    file_id: ClassVar[str] = "file-"
    result_id: ClassVar[str] = "file-"
    purpose: ClassVar[str] = "batch"
    endpoints: ClassVar[frozenset[str]] = frozenset(
        {"/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/completions", "/v1/moderations"}
    )
    rules: ClassVar[dict[str, Any]] = {"max_requests": 50_000, "max_bytes": 209_715_200}
    oddities: ClassVar[frozenset[str]] = frozenset()  # that the vendor always has
    routes: ClassVar[tuple[Route, ...]] = (
        ("POST", r".*/files", "upload"),
        ("GET", r".*/files", "list_files"),
        ("GET", r".*/files/([^/]+)/content", "content"),
        ("DELETE", r".*/files/([^/]+)", "delete"),
        ("POST", r".*/batches", "create"),
        ("GET", r".*/batches", "list"),
        ("GET", r".*/batches/([^/]+)", "retrieve"),
        ("POST", r".*/batches/([^/]+)/cancel", "cancel"),
    )

    def forget(self) -> None:
        super().forget()
        self.hold = True
        self.odd: set[str] = set(self.oddities)
        self.script: dict[str, str] = {}
        self.replies = Replies()
        self.files: dict[str, dict[str, Any]] = {}
        self.bytes: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.hidden: set[str] = set()  # batches that the list does not show

    @property
    def url(self) -> str:
        return super().url + self.prefix

    def answer(self, call: Call) -> Reply | None:
        if not self.admits(call):
            return self.refusal(401, "Incorrect API key provided.")
        if not call.path.startswith(self.prefix + "/"):
            return self.refusal(404, f"no such page: {call.path}")
        return super().answer(call)

    def refusal(self, status: int, text: str) -> Reply:
        error = {"message": text, "type": "invalid_request_error", "param": None, "code": None}
        return Reply({"error": error}, status)

    def admits(self, call: Call) -> bool:
        """Whether the key is right."""
        return "any_key" in self.odd or call.headers.get("authorization") == f"Bearer {KEY}"

    # --- what a test does to it

    def show(self, batch_id: str, status: str) -> None:
        """Let a batch be at that word."""
        self.batches[batch_id]["status"] = status

    def fail(self, batch_id: str, problem: Problem) -> None:
        """Let validation fail."""
        error = {
            "code": problem.code,
            "line": problem.line,
            "message": problem.message,
            "param": problem.param,
        }
        self.batches[batch_id] |= {
            "status": "failed",
            "failed_at": int(time()),
            "errors": {"object": "list", "data": [error]},
        }

    def end(self, batch_id: str, how: str = "completed") -> None:
        """Let a batch end; expired and cancelled ones for all of its rows."""
        batch = self.batches[batch_id]
        output, errors = b"", b""
        counts = {"total": 0, "completed": 0, "failed": 0}
        for request in self._requests(batch):
            word = _word(self.script, request) if how == "completed" else how
            good, raw = self._line(request, word)
            counts["total"] += 1
            counts["completed" if good else "failed"] += 1
            if "no_cut_rows" in self.odd and word in _NEVER_RAN:
                continue
            if good or self.failed_rows_in_output(word) or "failed_in_output" in self.odd:
                output += raw * (2 if "doubled" in self.odd else 1)
            else:
                errors += raw
        if "reversed" in self.odd:
            output = b"".join(reversed(output.splitlines(keepends=True)))
        batch |= {"status": how, f"{how}_at": int(time()), "request_counts": self.counted(counts)}
        batch["output_file_id"] = self._result(output)
        batch["error_file_id"] = self._result(errors, even_empty="empty_error_file" in self.odd)

    # --- what vendors differ in

    def failed_rows_in_output(self, word: str) -> bool:
        """Whether such a row's line stands in the output file."""
        return False

    def counted(self, counts: dict[str, int]) -> dict[str, int]:
        """The counts as it tells them."""
        return counts

    def check_upload(self, fields: dict[str, str]) -> None:
        """Raise Refused for what it does not take."""
        seconds = fields.get("expires_after[seconds]")
        if seconds is not None and ("refuses_expiry" in self.odd or int(seconds) not in _RETENTION):
            raise Refused(400, "expires_after is not supported")

    def check_create(self, parameters: dict[str, Any]) -> None:
        """Raise Refused for what it does not take."""
        seconds = "short_windows" in self.odd and re.fullmatch(r"\d+s", parameters["completion_window"])
        if parameters.get("completion_window") != "24h" and "any_window" not in self.odd and not seconds:
            raise Refused(400, "Invalid value for completion_window: expected '24h'.")
        if parameters.get("output_expires_after") and "refuses_expiry" in self.odd:
            raise Refused(400, "output_expires_after is not supported")
        for name, text in (parameters.get("metadata") or {}).items():
            if not isinstance(text, str) or len(name) > 64 or len(text) > 512:
                raise Refused(400, f"Invalid 'metadata.{name}'.")

    def batch_json(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The Batch object as this vendor shows it."""
        fields = dict(batch)
        if "no_metadata" in self.odd:
            fields["metadata"] = None
        if "no_input_id" in self.odd:
            fields["input_file_id"] = None
        if "null_counts" in self.odd:
            fields["request_counts"] = {**batch["request_counts"], "completed": None, "failed": None}
        if "no_expiry" in self.odd:
            fields["expires_at"] = None
        if "unknown_status" in self.odd and fields["status"] in ("validating", "in_progress"):
            fields["status"] = "scheduling"
        if "uppercase" in self.odd:
            fields["status"] = fields["status"].upper()
        if "iso_times" in self.odd:
            fields["created_at"] = datetime.fromtimestamp(fields["created_at"], UTC).isoformat()
        return fields

    def refused_row(self, url: str) -> tuple[int, dict[str, Any]]:
        """Status and body of a row that the model refused."""
        if url == "/v1/responses":
            body = _response("m", "", "refused")
            body["output"][0]["content"] = [{"type": "refusal", "refusal": "I will not."}]
            return 200, body
        return 200, self._completion("m", None, "stop", refusal="I will not.")

    # --- files

    def on_upload(self, call: Call) -> Reply:
        fields, name, content = _multipart(call)
        if fields.get("purpose") != self.purpose or not name.endswith(".jsonl"):
            raise Refused(400, "Invalid file format for Batch API. Must be .jsonl")
        if not content.strip():
            raise Refused(400, "Invalid file format: the file is empty.")
        self.check_upload(fields)
        kept = fields.get("expires_after[seconds]")
        return Reply(self._keep(self.file_id, name, content, None if kept is None else int(kept)))

    def on_list_files(self, call: Call) -> Reply:
        if "no_file_list" in self.odd:
            raise Refused(405, "Method Not Allowed")
        return self._page(list(self.files.values()), call)

    def on_content(self, call: Call, file_id: str) -> Reply:
        if file_id not in self.files:
            raise Refused(404, f"No such File object: {file_id}")
        return Reply(self.bytes[file_id])

    def on_delete(self, call: Call, file_id: str) -> Reply:
        if "no_delete" in self.odd:
            raise Refused(405, "Method Not Allowed")
        if "keeps_deleted" not in self.odd and self.files.pop(file_id, None) is None:
            raise Refused(404, f"No such File object: {file_id}")
        return Reply({"id": file_id, "object": "file", "deleted": True})

    # --- batches

    def on_create(self, call: Call) -> Reply:
        parameters = json.loads(call.body)
        self.check_create(parameters)
        equal = (batch for batch in self.batches.values() if parameters.items() <= batch.items())
        if "one_of_equals" in self.odd and (first := next(equal, None)):
            return self._object(first)
        batch_id, now = f"batch_{uuid.uuid4()}", int(time() + self.skew.total_seconds())
        self.batches[batch_id] = {
            "id": batch_id,
            "object": "batch",
            "endpoint": parameters["endpoint"],
            "errors": None,
            "input_file_id": parameters["input_file_id"],
            "completion_window": parameters["completion_window"],
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": now,
            "expires_at": now + 86_400,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": parameters.get("metadata"),
        }
        reply = self._object(self.batches[batch_id])
        self._validate(batch_id)
        return reply

    def on_retrieve(self, call: Call, batch_id: str) -> Reply:
        batch = self._batch(batch_id)
        if not self.hold and batch["status"] in ("in_progress", "cancelling"):
            before = self._object(batch)
            expires = "short_windows" in self.odd and batch["completion_window"].endswith("s")
            ends = "expired" if expires else "completed"
            self.end(batch_id, ends if batch["status"] == "in_progress" else "cancelled")
            return before
        return self._object(batch)

    def on_list(self, call: Call) -> Reply:
        shown = (batch for name, batch in self.batches.items() if name not in self.hidden)
        return self._page([self.batch_json(batch) for batch in shown], call)

    def on_cancel(self, call: Call, batch_id: str) -> Reply:
        if "no_cancel" in self.odd:
            raise Refused(404, "Not Found")
        batch = self._batch(batch_id)
        if (
            batch["status"] in ("completed", "failed", "expired", "cancelled")
            and "cancels_ended" not in self.odd
        ):
            raise Refused(self.cancel_refusal, f"Cannot cancel a batch with status '{batch['status']}'.")
        batch["status"] = "cancelling"
        return self._object(batch)

    cancel_refusal: ClassVar[int] = 409

    # --- inside

    def _batch(self, batch_id: str) -> dict[str, Any]:
        if batch_id not in self.batches:
            raise Refused(404, f"No batch found with id '{batch_id}'.")
        return self.batches[batch_id]

    def _object(self, batch: dict[str, Any]) -> Reply:
        fields = self.batch_json(batch)
        body = {"job": fields, "warning": None} if "job_wrapper" in self.odd else fields
        return Reply(body, headers={"content-type": "text/plain"} if "text_type" in self.odd else {})

    def _page(self, rows: list[dict[str, Any]], call: Call) -> Reply:
        """Newest first."""
        rows = rows if "oldest_first" in self.odd else rows[::-1]
        after = None if "after_ignored" in self.odd else call.query.get("after")
        start = 1 + [row["id"] for row in rows].index(after) if after else 0
        limit = int(call.query.get("limit", 20))
        if limit > 100:
            raise Refused(400, "Invalid 'limit': expected an integer from 1 to 100.")
        page = rows[start : start + limit]
        more = start + limit < len(rows)
        name = "value" if "value_list" in self.odd else "data"
        return Reply({"object": "list", name: page or self.no_rows, "has_more": more})

    no_rows: ClassVar[Any] = []

    def _keep(self, prefix: str, name: str, content: bytes, seconds: int | None) -> dict[str, Any]:
        now = int(time())
        file_id = f"{prefix}{uuid.uuid4().hex}"
        file: dict[str, Any] = {
            "id": file_id,
            "object": "file",
            "bytes": len(content),
            "created_at": now,
        }
        file |= {"filename": name, "purpose": "batch", "status": "processed"}
        file["expires_at"] = None if seconds is None else now + seconds
        self.files[file_id] = file
        self.bytes[file_id] = content
        return file

    def _result(self, content: bytes, *, even_empty: bool = False) -> str | None:
        if not content and not even_empty:
            return None
        content = content.rstrip(b"\n") if "no_newline" in self.odd else content
        return str(self._keep(self.result_id, "batch_output.jsonl", content, None)["id"])

    def _validate(self, batch_id: str) -> None:
        batch = self.batches[batch_id]
        lines = self.bytes.get(batch["input_file_id"], b"").split(b"\n")
        check = InputCheck(endpoint=batch["endpoint"], **self.rules)
        problems = list(check.problems(line + b"\n" for line in lines if line))
        if self.odd & {"any_line", "any_endpoint"}:
            problems = []
        if batch["endpoint"] not in self.endpoints and "any_endpoint" not in self.odd:
            problems.insert(
                0, Problem(1, "url_not_found", f"{batch['endpoint']} is no batch endpoint.", "url")
            )
        if problems:
            self.fail(batch_id, problems[0])
            return
        batch["status"] = "in_progress"
        batch["request_counts"]["total"] = check.requests

    def _requests(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        for line in self.bytes[batch["input_file_id"]].split(b"\n"):
            if line and ("any_line" not in self.odd or line.endswith(b"}")):
                yield json.loads(line)

    def _line(self, request: dict[str, Any], word: str) -> tuple[bool, bytes]:
        """Whether the row succeeded, and its result line."""
        played = self.replies.next(request["custom_id"])
        if played and "raw" in played:
            return True, played["raw"].encode() + b"\n"
        good, line = self._line_json(request, word, played)
        return good, json.dumps(line, ensure_ascii=False).encode() + b"\n"

    def _line_json(
        self, request: dict[str, Any], word: str, played: PlayedReply | None
    ) -> tuple[bool, dict[str, Any]]:
        line: dict[str, Any] = {"id": f"batch_req_{uuid.uuid4().hex}", "custom_id": request["custom_id"]}
        if word in _NEVER_RAN:
            return False, line | {
                "response": None,
                "error": {"code": _NEVER_RAN[word], "message": "It never ran."},
            }
        status, body = self._reply(request, word, played)
        sent = json.dumps(body, ensure_ascii=False) if "body_as_string" in self.odd else body
        line["response"] = {"status_code": status, "request_id": uuid.uuid4().hex, "body": sent}
        if "no_error_key" not in self.odd:
            line["error"] = None
        return 200 <= status < 300, line

    def _reply(
        self, request: dict[str, Any], word: str, played: PlayedReply | None
    ) -> tuple[int, dict[str, Any]]:
        if word in _ROW_ERRORS:
            status, code = _ROW_ERRORS[word]
            return status, {"error": {"message": "No.", "type": code, "param": None, "code": code}}
        if word == "refused":
            return self.refused_row(request["url"])
        body = request["body"]
        if refused := next(refusals(request["url"], body), None):
            param, text = refused
            return 400, {
                "error": {"message": text, "type": "invalid_request_error", "param": param, "code": None}
            }
        if played:
            return played.get("status_code", 200), played["body"]
        question = body.get("messages", [{}])[-1].get("content") or str(body.get("input", ""))
        if request["url"] == "/v1/embeddings":
            data = [{"object": "embedding", "index": 0, "embedding": [0.5, float(len(question))]}]
            return 200, {
                "object": "list",
                "model": body["model"],
                "data": data,
                "usage": {"prompt_tokens": 3},
            }
        if request["url"] == "/v1/responses":
            return 200, _response(body["model"], question, word)
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        answer = json.dumps(SchemaSampler(schema).sample(question)) if schema else f"« {question} »"
        text = AWKWARD if word == "awkward" else answer
        return 200, self._completion(body["model"], text, "length" if word == "truncated" else "stop")

    def _completion(self, model: str, text: str | None, reason: str, **more: Any) -> dict[str, Any]:
        role = {} if "no_role" in self.odd else {"role": "assistant"}
        choice = {"index": 0, "finish_reason": reason, "message": {**role, "content": text, **more}}
        usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
        return {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "model": model,
            "choices": [choice],
            "usage": usage,
        }


def _response(model: str, question: str, word: str) -> dict[str, Any]:
    text = AWKWARD if word == "awkward" else f"« {question} »"
    part = {"type": "output_text", "text": text, "annotations": []}
    truncated = (
        {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}}
        if word == "truncated"
        else {}
    )
    return {
        "id": "resp_1",
        "object": "response",
        "status": "completed",
        "model": model,
        "output": [{"type": "message", "role": "assistant", "content": [part]}],
        "usage": {"input_tokens": 9, "output_tokens": 4, "total_tokens": 13},
        **truncated,
    }


def _word(script: dict[str, str], request: dict[str, Any]) -> str:
    return script.get(request["custom_id"], "succeeded")


def _multipart(call: Call) -> tuple[dict[str, str], str, bytes]:
    """The fields, the file's name and its bytes."""
    boundary = re.search(r'boundary="?([^";]+)', call.headers["content-type"])
    assert boundary
    fields: dict[str, str] = {}
    name, content = "", b""
    for part in call.body.split(b"--" + boundary[1].encode())[1:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        field = re.search(rb'name="([^"]+)"', head)
        file = re.search(rb'filename="([^"]+)"', head)
        assert field
        if file:
            name, content = file[1].decode(), data.removesuffix(b"\r\n")
        else:
            fields[field[1].decode()] = data.removesuffix(b"\r\n").decode()
    return fields, name, content
