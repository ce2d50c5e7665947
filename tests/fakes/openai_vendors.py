"""Vendors of OpenAI's protocol, each as strict as it documents itself and as odd as it was seen to be."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any, ClassVar

from fakes.loopback import Call, Refused, Reply, Route
from fakes.openai_fake import KEY, OpenAIFake
from fakes.played import PlayedReply
from tasks.stages.validate import Problem


class AlibabaFake(OpenAIFake):
    """Model Studio: labels instead of metadata, windows of up to 14 days, failed rows among the good ones."""

    prefix = "/compatible-mode/v1"
    file_id = "file-batch-"
    result_id = "file-batch_output-"
    endpoints = frozenset({"/v1/chat/completions", "/v1/embeddings", "/v1/chat/ds-test"})
    rules: ClassVar[dict[str, Any]] = {
        "max_requests": 50_000,
        "max_bytes": 500 << 20,
        "max_line_bytes": 6 << 20,
        "uniform": ("enable_thinking",),
    }
    oddities = frozenset({"no_expiry", "no_role"})
    no_rows = None
    cancel_refusal = 400
    max_files = 10_000

    def check_upload(self, fields: dict[str, str]) -> None:
        if set(fields) - {"purpose"}:
            raise Refused(400, f"Unknown parameter: {sorted(set(fields) - {'purpose'})[0]}")
        if len(self.files) >= self.max_files:
            raise Refused(400, "The number of files exceeds the limit of your account.")

    def check_create(self, parameters: dict[str, Any]) -> None:
        if set(parameters) - {"input_file_id", "endpoint", "completion_window", "metadata"}:
            raise Refused(400, f"Unknown parameter in {sorted(parameters)}")
        window = re.fullmatch(r"(\d+)([hd])", parameters["completion_window"])
        if not window or not 24 <= int(window[1]) * {"h": 1, "d": 24}[window[2]] <= 336:
            raise Refused(400, "completion_window must be between 24h and 336h.")
        most = {"ds_name": 100, "ds_description": 200, "ds_batch_finish_callback": 512}
        for name, text in (parameters.get("metadata") or {}).items():
            if name not in most or len(text) > most[name]:
                raise Refused(400, f"metadata.{name} is not supported or too long.")

    def failed_rows_in_output(self, word: str) -> bool:
        return True

    def counted(self, counts: dict[str, int]) -> dict[str, int]:
        return {**counts, "completed": counts["total"], "failed": 0}

    def refused_row(self, url: str) -> tuple[int, dict[str, Any]]:
        code = "data_inspection_failed"
        text = "Input data may contain inappropriate content."
        return 400, {"error": {"code": code, "message": text, "param": None, "type": code}}

    def on_content(self, call: Call, file_id: str) -> Any:
        if file_id in self.files and not file_id.startswith(self.result_id):
            raise Refused(400, "Only output files can be downloaded.")
        return super().on_content(call, file_id)


class AzureFake(OpenAIFake):
    """Azure OpenAI: a resource of one's own, nulls for counts and endpoint, an error file also when there are none."""

    prefix = "/openai/v1"
    endpoints = frozenset({"/v1/chat/completions", "/v1/responses"})
    rules: ClassVar[dict[str, Any]] = {"max_requests": 100_000, "max_bytes": 200 << 20}
    oddities = frozenset({"null_counts", "value_list", "empty_error_file"})
    retention = range(1_209_600, 2_592_001)
    max_files = 500

    @property
    def resource(self) -> str:
        """What the job file names."""
        return self.url.removesuffix(self.prefix)

    def admits(self, call: Call) -> bool:
        return KEY in (
            call.headers.get("api-key"),
            call.headers.get("authorization", "").removeprefix("Bearer "),
        )

    def check_upload(self, fields: dict[str, str]) -> None:
        seconds = fields.get("expires_after[seconds]")
        if seconds is not None and int(seconds) not in self.retention:
            raise Refused(400, "expires_after.seconds must be between 1209600 and 2592000.")
        if seconds is None and len(self.files) >= self.max_files:
            raise Refused(400, "The resource has reached its limit of 500 files.")

    def check_create(self, parameters: dict[str, Any]) -> None:
        if parameters.get("output_expires_after"):
            raise Refused(400, "Unknown parameter: output_expires_after")
        super().check_create(parameters)

    def batch_json(self, batch: dict[str, Any]) -> dict[str, Any]:
        return {**super().batch_json(batch), "endpoint": None}


class GroqFake(OpenAIFake):
    """Groq: chat alone, below a path of its own, in windows of up to 7 days. https://console.groq.com/docs/batch"""

    prefix = "/openai/v1"
    endpoints = frozenset({"/v1/chat/completions"})
    rules: ClassVar[dict[str, Any]] = {"max_requests": 50_000, "max_bytes": 100 << 20}
    oddities = frozenset({"refuses_expiry"})

    def check_create(self, parameters: dict[str, Any]) -> None:
        window = re.fullmatch(r"(\d+)([hd])", parameters["completion_window"])
        if not window or not 24 <= int(window[1]) * {"h": 1, "d": 24}[window[2]] <= 168:
            raise Refused(400, "completion_window must be between 24h and 7d.")
        super().check_create({**parameters, "completion_window": "24h"})


class TogetherFake(OpenAIFake):
    """Together: uploads at a path and with a purpose of their own, jobs that know no metadata, no counts, and times as text.

    https://docs.together.ai/reference/upload-file, /reference/batch-create and /docs/inference/batch/manage
    """

    purpose = "batch-api"
    endpoints = frozenset({"/v1/chat/completions"})
    rules: ClassVar[dict[str, Any]] = {"max_requests": 50_000, "max_bytes": 100_000_000}
    routes: ClassVar[tuple[Route, ...]] = (
        ("POST", r".*/files/upload", "upload"),
        *OpenAIFake.routes[1:],
    )

    def check_upload(self, fields: dict[str, str]) -> None:
        if set(fields) != {"purpose", "file_name"}:
            raise Refused(400, "purpose and file_name are required, and nothing else is known")

    def on_create(self, call: Call) -> Reply:
        return Reply({"job": super().on_create(call).body, "warning": ""}, 201)

    def on_list_files(self, call: Call) -> Reply:
        """All of them at once, whatever is asked for."""
        return Reply({"data": [*self.files.values()]})

    def on_list(self, call: Call) -> Reply:
        """The same, and without an object around them."""
        return Reply([self.batch_json(batch) for batch in self.batches.values()])

    def fail(self, batch_id: str, problem: Problem) -> None:
        self.batches[batch_id] |= {"status": "failed", "error": problem.message}

    def batch_json(self, batch: dict[str, Any]) -> dict[str, Any]:
        kept = ("id", "input_file_id", "endpoint", "output_file_id", "error_file_id")
        times = {"created_at": batch["created_at"], "job_deadline": batch["expires_at"]}
        return {
            **{name: batch[name] for name in kept},
            **{name: datetime.fromtimestamp(at, UTC).isoformat() for name, at in times.items()},
            "status": batch["status"].upper(),
            "error": batch.get("error", ""),
            "progress": 0,
        }

    def _line_json(
        self, request: dict[str, Any], word: str, played: PlayedReply | None
    ) -> tuple[bool, dict[str, Any]]:
        good, line = super()._line_json(request, word, played)
        if good or line["response"] is None:
            return good, line
        error = line["response"]["body"]["error"]
        return False, {"custom_id": line["custom_id"], "error": error}
