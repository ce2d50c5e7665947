"""Check a provider through the interface that runs use: reachable, key accepted, a batch of two rows answered."""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import pyarrow as pa

from configs.clock import Clock
from configs.errors import ConfigError, NightmailError, TransientError
from configs.prompt import Prompt
from configs.providers.registry import AnyProvider
from tasks.diagnostics.facts import Fact, Grade, Report
from tasks.providers.base import BatchService, ServiceBatch, Submission
from tasks.stages.prompt.render import Renderer
from tasks.stages.wire.formats import dialect

_CUSTOM_IDS = ("nightmail-doctor-1", "nightmail-doctor-2")
WaitFor = Callable[[float], bool]
"""Waits some seconds, and returns whether any of the time limit is left."""


class CheckAborted(Exception):
    """The remaining checks are impossible; the result that says why has been reported."""


class Preflight:
    """The checks of one provider. Call `run` once.

    `connect` makes the service that runs would use. A function and not a service: a refused key is a result like others.
    """

    def __init__(
        self,
        config: AnyProvider,
        connect: Callable[[], BatchService],
        clock: Clock,
        report: Report,
        wait: WaitFor,
    ) -> None:
        self._config = config
        self._connect = connect
        self._clock = clock
        self._report = report
        self._wait = wait
        self.unfinished = False

    def run(self, model: str | None, endpoint: str) -> None:
        """Check the provider; post a batch of two rows if a `model` is given."""
        try:
            with self._step("key"):
                service = self._connect()
            started_at = self._clock.now()
            with self._step("reachable"):
                list(service.list_batches(started_at))  # since now: an empty list, which costs one request
            self._report_ok("reachable", f"{service.account}: the key is accepted, batches can be listed")
            with self._step("files"):
                list(service.list_files(started_at))
            limits = service.limits
            self._report_ok(
                "limits", f"{limits.max_requests:,} requests and {limits.max_bytes:,} bytes a file"
            )
            if model is not None:
                self._try_batch(service, model, endpoint, started_at)
        except CheckAborted:
            return

    def _try_batch(self, service: BatchService, model: str, endpoint: str, started_at: datetime) -> None:
        lines = b"".join(trial_request_lines(self._config, model, endpoint))
        key = f"doctor{secrets.token_hex(4)}/1/1"
        submission = Submission(
            key=key,
            file_name=f"nightmail-{key.replace('/', '-')}.jsonl",
            endpoint=endpoint,
            model=model,
            completion_window=self._config.completion_window,
            requests=len(_CUSTOM_IDS),
            lines=lambda: io.BytesIO(lines),
            metadata={"job": "doctor", "run": "preflight"},
        )
        with self._step("upload"):
            upload = service.upload(submission.file_name, io.BytesIO(lines))
        self._report_ok("upload", upload or "goes with the batch")
        files = [upload]
        try:
            with self._step("create"):
                batch = service.create(submission, upload)
            self._report_ok("create", batch.id)
            # What a run does after a lost reply: without it, the run could not tell whether it has paid.
            with self._step("finds again"):
                found_batch = service.find(replace(submission, file_id=upload), started_at)
            if found_batch is not None and found_batch.id == batch.id:
                self._report_ok("finds again", "as after a lost reply")
            else:
                self._report_bad("finds again", "the batch is not found: a lost reply could be paid twice")
            batch = self._poll_until_ended(service, batch)
            files += batch.result_files
            self._check_answers(service, batch, endpoint)
        finally:
            self._delete_files(service, [file for file in files if file])

    def _poll_until_ended(self, service: BatchService, batch: ServiceBatch) -> ServiceBatch:
        statuses = [str(batch.status)]
        wait = max(0.25, self._config.poll_floor_seconds)  # Alibaba asks for a minute between two requests
        while not batch.status.ended:
            if not self._wait(wait):
                self.unfinished = True
                self._report(
                    Fact(
                        "ends", Grade.NOTE, f"{' ▸ '.join(statuses)}, and no end in the time given; cancelled"
                    )
                )
                with self._step("cancel"):
                    service.cancel(batch.id)
                raise CheckAborted
            wait = min(wait * 1.5, max(15.0, self._config.poll_floor_seconds))
            try:
                batch = service.retrieve(batch.id)
            except TransientError:
                continue  # a run would poll again as well
            if str(batch.status) != statuses[-1]:
                statuses.append(str(batch.status))
        self._report_ok("ends", " ▸ ".join(statuses))
        return batch

    def _check_answers(self, service: BatchService, batch: ServiceBatch, endpoint: str) -> None:
        if batch.error_code:
            self._report_bad("answers", f"the batch failed: {batch.error_code}: {batch.error_message}")
            return
        content = io.BytesIO()
        for file in batch.result_files:
            with self._step("download"):
                service.download(file, content)
        parser = dialect(self._config.dialect).parser(endpoint)
        outcomes = {outcome.custom_id: outcome for outcome in parser.parse(content.getvalue())}
        for name in _CUSTOM_IDS:
            outcome = outcomes.get(name)
            if outcome is None:
                self._report_bad("answers", f"{name} is in no result file")
            elif not outcome.has_answer:
                self._report_bad(
                    "answers", f"{name}: {outcome.status}: {outcome.error_code}: {outcome.error_message}"
                )
        if all(name in outcomes and outcomes[name].has_answer for name in _CUSTOM_IDS):
            tokens = sum(
                (outcome.input_tokens or 0) + (outcome.output_tokens or 0) for outcome in outcomes.values()
            )
            self._report_ok(
                "answers",
                f"both rows, by {outcomes[_CUSTOM_IDS[0]].model or 'an unnamed model'}, {tokens} tokens",
            )

    def _delete_files(self, service: BatchService, files: list[str]) -> None:
        try:
            for file in files:
                service.delete_file(file)
        except NightmailError as error:
            self._report(Fact("delete", Grade.ODD, str(error)))
        else:
            self._report_ok("delete", f"{len(files)} files")

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        try:
            yield
        except NightmailError as error:
            key_refused = isinstance(error, ConfigError)
            self._report_bad("key" if key_refused else name, str(error))
            raise CheckAborted from error

    def _report_ok(self, name: str, detail: str) -> None:
        self._report(Fact(name, Grade.OK, detail))

    def _report_bad(self, name: str, detail: str) -> None:
        self._report(Fact(name, Grade.BAD, detail))


def trial_request_lines(config: AnyProvider, model: str, endpoint: str) -> list[bytes]:
    """Two minimal request lines in the provider's format."""
    is_chat = endpoint.startswith("/v1/chat/")
    prompt = Prompt.model_validate(
        {"model": model, "endpoint": "/v1/chat/completions" if is_chat else endpoint, "user": "Say ok."}
    )
    request: dict[str, Any] = dialect(config.dialect).request_tree(prompt, config)
    if "url" in request:
        request["url"] = endpoint  # may be Alibaba's free test endpoint, which job files do not know
    rows = pa.RecordBatch.from_pydict({"row": list(_CUSTOM_IDS)})
    return [line for line in Renderer(request, ["row"]).lines(rows, _CUSTOM_IDS) if isinstance(line, bytes)]
