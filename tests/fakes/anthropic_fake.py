"""Anthropic's Message Batches on loopback: the shapes of the vendor's own objects, its limits and its validation.

Batches end as soon as they are looked at, unless `hold` is set; then `end` ends them. What rows come to is in `script`:
custom_id to one or several words, a word per batch that asks for the row, the last of them for ever after.

    succeeded truncated refused tool failed transient overloaded canceled expired     and  missing doubled garbled cut

What `replies` plays are fields of a succeeded row's message, such as `{"content"}`, in the place of its own.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from fakes.anthropic_rules import MAX_BYTES, refuse_batch, refuse_row
from fakes.loopback import Call, Loopback, Reply, Route
from fakes.played import PlayedReply, Replies
from tasks.local_batch.echo.schema_sampler import SchemaSampler
from tasks.local_batch.faults.corrupt_answers import AWKWARD

KEY = "sk-ant-secret"
_CACHEABLE = 1_024  # characters here, tokens there
_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_ROW_ERRORS = {
    "failed": ("invalid_request_error", "max_tokens: 999999 > 64000, which is the maximum allowed"),
    "transient": ("api_error", "Internal server error"),
    "overloaded": ("overloaded_error", "Overloaded"),
    "unpaid": ("billing_error", "There is an issue with your billing."),
}


class AnthropicFake(Loopback):
    """The service. `batches` are newest last; a deleted one is gone."""

    _BATCH = r"/v1/messages/batches/([^/]+)"
    routes: ClassVar[tuple[Route, ...]] = (
        ("POST", r"/v1/messages/batches", "create"),
        ("GET", r"/v1/messages/batches", "list"),
        ("GET", _BATCH, "retrieve"),
        ("POST", _BATCH + "/cancel", "cancel"),
        ("GET", _BATCH + "/results", "content"),
        ("DELETE", _BATCH, "delete"),
    )

    def forget(self) -> None:
        super().forget()
        self.hold = False
        self.held: set[str] = set()  # these batches alone
        self.script: dict[str, Sequence[str]] = {}
        self.replies = Replies()
        self.ends: list[
            str
        ] = []  # the next batches end as: ended, expired, canceled (of every row); then ended
        self.batches: dict[str, dict[str, Any]] = {}
        self.created: list[tuple[str, ...]] = []  # the ids of every batch ever created: what is paid
        self.results_url = "{url}/v1/messages/batches/{id}/results"
        self.deletes = True
        self.kill_at_create: int | None = (
            None  # a process that is killed once its batch is made, before the reply
        )
        self._cache: dict[str, datetime] = {}  # marked prefixes, and until when they are kept
        self._there: dict[
            str, frozenset[str]
        ] = {}  # those that were kept when a batch was made: it begins at once
        self._asked: dict[str, int] = {}
        self._lines: dict[str, bytes] = {}
        self._posted: dict[str, list[dict[str, Any]]] = {}
        self._versions: dict[str, str] = {}

    # What a test does to it

    def end(self, batch_id: str, how: str = "ended") -> None:
        """Let a batch end; `how` may be expired or canceled, for all of its rows."""
        batch = self.batches[batch_id]
        lines: list[bytes] = []
        counts = dict.fromkeys(batch["request_counts"], 0)
        there = self._there[batch_id]
        for request in self._posted[batch_id]:
            word = how if how != "ended" else self._word(request["custom_id"])
            played = self.replies.next(request["custom_id"]) or {}
            line = self._line(request, word, self._versions[batch_id], there, played)
            counts[line["result"]["type"]] += 1
            lines += [played["raw"].encode()] if "raw" in played else _corrupted(line, word)
        lines.reverse()  # the order is not guaranteed
        batch |= {"processing_status": "ended", "ended_at": _time(self.skew), "request_counts": counts}
        batch["results_url"] = self.results_url.format(url=self.url, id=batch_id)
        data = b"".join(line + b"\n" for line in lines)
        truncate = any(self._script(request["custom_id"])[-1] == "cut" for request in self._posted[batch_id])
        self._lines[batch_id] = data[:-20] if truncate else data

    def archive(self, batch_id: str) -> None:
        """29 days later."""
        self.batches[batch_id] |= {"archived_at": _time(), "results_url": None}

    def add(self, custom_ids: Sequence[str], created_at: datetime | None = None) -> str:
        """Somebody else's batch."""
        params = {"model": "m", "max_tokens": 1, "messages": [{"role": "user", "content": "x"}]}
        posted = [{"custom_id": each, "params": params} for each in custom_ids]
        return str(self._make(posted, "2026-10-21", created_at)["id"])

    # The protocol

    def answer(self, call: Call) -> Reply | None:
        keys = (call.headers.get("authorization"), call.headers.get("x-api-key"))
        if keys not in ((f"Bearer {KEY}", None), (None, KEY)):
            return self.refusal(401, "invalid x-api-key")
        if not call.headers.get("anthropic-version"):
            return self.refusal(400, "anthropic-version: header is required")
        reply = super().answer(call)
        if reply is not None:
            reply.headers.setdefault("request-id", "req_011CX")
        return reply

    def refusal(self, status: int, text: str) -> Reply:
        error = {"type": _ERRORS.get(status, "api_error"), "message": text}
        return Reply({"type": "error", "error": error, "request_id": "req_011CX"}, status)

    def on_create(self, call: Call) -> Reply:
        if len(call.body) > MAX_BYTES:
            return self.refusal(413, "Request exceeds the maximum size")
        if call.headers.get("content-type") != "application/json":
            return self.refusal(400, "content-type must be application/json")
        try:
            body = json.loads(call.body)
        except ValueError:
            return self.refusal(400, "The request body is not valid JSON")
        problem = refuse_batch(body)
        if problem:
            return self.refusal(400, problem)
        made = self._make(body["requests"], call.headers["anthropic-version"])
        self.created.append(tuple(request["custom_id"] for request in body["requests"]))
        if self.kill_at_create is not None:
            os.kill(self.kill_at_create, signal.SIGKILL)
            self.kill_at_create = None
        return Reply(made)

    def on_list(self, call: Call) -> Reply:
        limit = int(call.query.get("limit", "20"))
        if not 1 <= limit <= 1000:
            return self.refusal(400, "limit: Input should be between 1 and 1000")
        newest = list(reversed(self.batches))
        if "after_id" in call.query:
            newest = newest[newest.index(call.query["after_id"]) + 1 :]
        page = [self.batches[each] for each in newest[:limit]]
        ends = {"first_id": page[0]["id"], "last_id": page[-1]["id"]} if page else {}
        reply = {
            "data": list(map(dict, page)),
            "has_more": len(newest) > limit,
            "first_id": None,
            "last_id": None,
        }
        for batch in page:
            self._look(batch)
        return Reply({**reply, **ends})

    def on_retrieve(self, _: Call, batch_id: str) -> Reply:
        if batch_id not in self.batches:
            return self._unknown(batch_id)
        self._look(self.batches[batch_id])
        return Reply(self.batches[batch_id])

    def on_cancel(self, _: Call, batch_id: str) -> Reply:
        if batch_id not in self.batches:
            return self._unknown(batch_id)
        batch = self.batches[batch_id]
        if batch["processing_status"] == "ended":
            return self.refusal(400, "Batch has already ended and cannot be canceled")
        batch |= {"processing_status": "canceling", "cancel_initiated_at": _time()}
        return Reply(batch)

    def on_content(self, call: Call, batch_id: str) -> Reply:
        batch = self.batches.get(batch_id)
        if batch is None:
            return self._unknown(batch_id)
        if batch["results_url"] is None:
            return self.refusal(404, "No results are available for this batch")
        return Reply(self._lines[batch_id], headers={"content-type": "application/x-jsonl"}, chunked=True)

    def on_delete(self, _: Call, batch_id: str) -> Reply:
        if not self.deletes:
            return self.refusal(405, "Method Not Allowed")
        if batch_id not in self.batches:
            return self._unknown(batch_id)
        if self.batches[batch_id]["processing_status"] != "ended":
            return self.refusal(400, "Only batches that have ended can be deleted")
        del self.batches[batch_id]
        return Reply({"id": batch_id, "type": "message_batch_deleted"})

    # How it is done

    def _look(self, batch: dict[str, Any]) -> None:
        """A batch that is not held ends once it is looked at."""
        if batch["processing_status"] == "ended" or self.hold or batch["id"] in self.held:
            return
        canceling = batch["processing_status"] == "canceling"
        self.end(batch["id"], "canceled" if canceling else self.ends.pop(0) if self.ends else "ended")

    def _unknown(self, batch_id: str) -> Reply:
        return self.refusal(404, f"Message Batch {batch_id} not found.")

    def _make(
        self, requests: list[dict[str, Any]], version: str, created_at: datetime | None = None
    ) -> dict[str, Any]:
        batch_id = f"msgbatch_{len(self._posted):024d}"
        self._posted[batch_id], self._versions[batch_id] = requests, version
        self._there[batch_id] = self._still_cached()
        counts = {"processing": len(requests), "succeeded": 0, "errored": 0, "canceled": 0, "expired": 0}
        self.batches[batch_id] = {
            "id": batch_id,
            "type": "message_batch",
            "processing_status": "in_progress",
            "request_counts": counts,
            "created_at": _time(self.skew, created_at),
            "expires_at": _time(self.skew + timedelta(days=1), created_at),
            "ended_at": None,
            "archived_at": None,
            "cancel_initiated_at": None,
            "results_url": None,
        }
        return dict(self.batches[batch_id])

    def _script(self, custom_id: str) -> Sequence[str]:
        words = self.script.get(custom_id, self.script.get("*", "succeeded"))
        return [words] if isinstance(words, str) else words

    def _word(self, custom_id: str) -> str:
        words = self._script(custom_id)
        turn = self._asked.get(custom_id, 0)
        self._asked[custom_id] = turn + 1
        return words[min(turn, len(words) - 1)]

    def _line(
        self, request: dict[str, Any], word: str, version: str, there: frozenset[str], played: PlayedReply
    ) -> dict[str, Any]:
        problem = refuse_row(request["params"], version)
        if problem or word in _ROW_ERRORS:
            kind, text = ("invalid_request_error", problem) if problem else _ROW_ERRORS[word]
            error = {"type": "error", "error": {"type": kind, "message": text}, "request_id": "req_011CX"}
            return {"custom_id": request["custom_id"], "result": {"type": "errored", "error": error}}
        if word in ("canceled", "expired"):
            return {"custom_id": request["custom_id"], "result": {"type": word}}
        message = {
            "id": f"msg_{request['custom_id']}",
            "type": "message",
            "role": "assistant",
            "model": request["params"]["model"],
            **_content(request["params"], word),
            "stop_sequence": None,
            "usage": self._usage(request["params"], there),
            **played,
        }
        result = {"type": "succeeded", "message": message}
        return {"custom_id": request["custom_id"], "result": result}

    def _still_cached(self) -> frozenset[str]:
        now = datetime.now(UTC) + self.skew
        return frozenset(prefix for prefix, until in self._cache.items() if now < until)

    def _usage(self, params: dict[str, Any], there: frozenset[str]) -> dict[str, Any]:
        """The requests of a batch run side by side: each reads the marked prefix if it was there before the batch, else it
        writes it, whatever the others do. Every use keeps it for as long as it was written for."""
        prefix, ttl = _marked_prefix(params)
        size = len(prefix) if len(prefix) >= _CACHEABLE else 0
        key = f"{params['model']} {prefix}"
        written = 0 if key in there else size
        if size:
            kept = timedelta(hours=1) if ttl == "1h" else timedelta(minutes=5)
            self._cache[key] = datetime.now(UTC) + self.skew + kept
        return {
            "input_tokens": 12,
            "cache_creation_input_tokens": written,
            "cache_read_input_tokens": size - written,
            "cache_creation": {
                "ephemeral_5m_input_tokens": 0 if ttl == "1h" else written,
                "ephemeral_1h_input_tokens": written if ttl == "1h" else 0,
            },
            "output_tokens": 9,
            "service_tier": "batch",
        }


def _content(params: dict[str, Any], word: str) -> dict[str, Any]:
    """A message's content, and its stop reason."""
    if word == "refused":
        details = {"type": "refusal", "category": "cyber", "explanation": "declined"}
        return {"content": [], "stop_reason": "refusal", "stop_details": details}
    if word == "tool":
        call = {"type": "tool_use", "id": "toolu_01", "name": "get_weather", "input": {"city": "Osaka"}}
        return {"content": [call], "stop_reason": "tool_use"}
    content = params["messages"][-1]["content"]
    question = content if isinstance(content, str) else " ".join(each.get("text", "") for each in content)
    schema = params.get("output_config", {}).get("format", {}).get("schema")
    text = (
        json.dumps(SchemaSampler(schema).sample(question), ensure_ascii=False)
        if schema
        else f"echo: {question}"
    )
    if word in ("awkward", "invalid"):
        text = AWKWARD if word == "awkward" else "Sure: it is fine."
    thought = {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"}
    thinking = [thought] if params.get("thinking", {}).get("type") == "enabled" else []
    reason = "max_tokens" if word == "truncated" else "end_turn"
    return {"content": [*thinking, {"type": "text", "text": text}], "stop_reason": reason}


def _marked_prefix(params: dict[str, Any]) -> tuple[str, str]:
    """(the request from its beginning to its last mark, how long that is to be kept); nothing without a mark."""
    parts = list(params.get("tools", ()))
    for message in ({"content": params.get("system", [])}, *params["messages"]):
        content = message["content"]
        parts += [{"text": content}] if isinstance(content, str) else content
    marks = [number for number, part in enumerate(parts) if "cache_control" in part]
    if not marks:
        return "", "5m"
    shared = [part.get("text") or json.dumps(part, sort_keys=True) for part in parts[: marks[-1] + 1]]
    return "".join(shared), parts[marks[-1]]["cache_control"].get("ttl", "5m")


def _corrupted(line: dict[str, Any], word: str) -> list[bytes]:
    """The line as it is in the results: left out, twice or cut in half where the script says so."""
    data = json.dumps(line, ensure_ascii=False).encode()
    return {"missing": [], "doubled": [data, data], "garbled": [data[: len(data) // 2]]}.get(word, [data])


def _time(ahead: timedelta = timedelta(0), at: datetime | None = None) -> str:
    return ((at or datetime.now(UTC)) + ahead).isoformat().replace("+00:00", "Z")
