"""Try a provider through the interface that runs use: is it there, does it take the key, does a tiny batch come back?"""

from __future__ import annotations

import io
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

import pyarrow as pa

from configs.clock import Clock
from configs.errors import ConfigError, NightmailError, TransientError
from configs.prompt import Prompt
from configs.providers.registry import AnyProvider
from tasks.diagnostics.facts import Fact, Grade
from tasks.providers.base import BatchService, ServiceBatch, Submission
from tasks.stages.prompt.render import Renderer
from tasks.stages.wire.formats import dialect

_IDS = ("nightmail-doctor-1", "nightmail-doctor-2")
Tell = Callable[[Fact], None]
Wait = Callable[[float], bool]


class Stop(Exception):
    """Nothing further can be tried; the fact that says why has been told."""


class Preflight:
    """One trial of one provider. `run` it once.

    `connect` makes the service that runs would use. `tell` gets each fact as it is found out; `wait(seconds)` passes the
    time, and says whether there is any left.
    """

    def __init__(
        self,
        config: AnyProvider,
        connect: Callable[[], BatchService],
        clock: Clock,
        tell: Tell,
        wait: Wait,
    ) -> None:
        self._config = config
        self._connect = connect
        self._clock = clock
        self._tell = tell
        self._wait = wait
        self.unfinished = False

    def run(self, model: str | None, endpoint: str) -> None:
        """Look at the provider; post two rows if there is a `model` to ask."""
        try:
            with self._step("key"):
                service = self._connect()
            began = self._clock.now()
            with self._step("reachable"):
                list(service.list_batches(began))
            self._ok("reachable", f"{service.account}: the key is accepted, batches can be listed")
            with self._step("files"):
                list(service.list_files(began))
            limits = service.limits
            self._ok("limits", f"{limits.max_requests:,} requests and {limits.max_bytes:,} bytes a file")
            if model is not None:
                self._post(service, model, endpoint, began)
        except Stop:
            return

    def _post(self, service: BatchService, model: str, endpoint: str, began: datetime) -> None:
        lines = b"".join(two_lines(self._config, model, endpoint))
        key = f"doctor{secrets.token_hex(4)}/1/1"
        submission = Submission(
            key=key,
            file_name=f"nightmail-{key.replace('/', '-')}.jsonl",
            endpoint=endpoint,
            model=model,
            completion_window=self._config.completion_window,
            requests=len(_IDS),
            lines=lambda: io.BytesIO(lines),
            metadata={"job": "doctor", "run": "preflight"},
        )
        with self._step("upload"):
            upload = service.upload(submission.file_name, io.BytesIO(lines))
        self._ok("upload", upload or "goes with the batch")
        files = [upload]
        try:
            with self._step("create"):
                batch = service.create(submission, upload)
            self._ok("create", batch.id)
            with self._step("finds again"):
                same = service.find(submission, began)
            if same is not None and same.id == batch.id:
                self._ok("finds again", "as after a lost reply")
            else:
                self._bad("finds again", "the batch is not found: a lost reply could be paid twice")
            batch = self._to_its_end(service, batch)
            files += batch.result_files
            self._answers(service, batch, endpoint)
        finally:
            self._delete(service, [file for file in files if file])

    def _to_its_end(self, service: BatchService, batch: ServiceBatch) -> ServiceBatch:
        statuses = [str(batch.status)]
        wait = max(0.25, self._config.poll_floor_seconds)
        while not batch.status.ended:
            if not self._wait(wait):
                self.unfinished = True
                self._tell(
                    Fact(
                        "ends", Grade.NOTE, f"{' ▸ '.join(statuses)}, and no end in the time given; cancelled"
                    )
                )
                with self._step("cancel"):
                    service.cancel(batch.id)
                raise Stop
            wait = min(wait * 1.5, max(15.0, self._config.poll_floor_seconds))
            try:
                batch = service.retrieve(batch.id)
            except TransientError:
                continue
            if str(batch.status) != statuses[-1]:
                statuses.append(str(batch.status))
        self._ok("ends", " ▸ ".join(statuses))
        return batch

    def _answers(self, service: BatchService, batch: ServiceBatch, endpoint: str) -> None:
        if batch.error_code:
            self._bad("answers", f"the batch failed: {batch.error_code}: {batch.error_message}")
            return
        content = io.BytesIO()
        for file in batch.result_files:
            with self._step("download"):
                service.download(file, content)
        parser = dialect(self._config.dialect).parser(endpoint)
        outcomes = {outcome.custom_id: outcome for outcome in parser.parse(content.getvalue())}
        for name in _IDS:
            outcome = outcomes.get(name)
            if outcome is None:
                self._bad("answers", f"{name} is in no result file")
            elif not outcome.has_answer:
                self._bad(
                    "answers", f"{name}: {outcome.status}: {outcome.error_code}: {outcome.error_message}"
                )
        if all(name in outcomes and outcomes[name].has_answer for name in _IDS):
            tokens = sum(
                (outcome.input_tokens or 0) + (outcome.output_tokens or 0) for outcome in outcomes.values()
            )
            self._ok(
                "answers", f"both rows, by {outcomes[_IDS[0]].model or 'an unnamed model'}, {tokens} tokens"
            )

    def _delete(self, service: BatchService, files: list[str]) -> None:
        try:
            for file in files:
                service.delete_file(file)
        except NightmailError as error:
            self._tell(Fact("delete", Grade.ODD, str(error)))
        else:
            self._ok("delete", f"{len(files)} files")

    @contextmanager
    def _step(self, name: str) -> Iterator[None]:
        try:
            yield
        except NightmailError as error:
            refused = isinstance(error, ConfigError)
            self._bad("key" if refused else name, str(error))
            raise Stop from error

    def _ok(self, name: str, detail: str) -> None:
        self._tell(Fact(name, Grade.OK, detail))

    def _bad(self, name: str, detail: str) -> None:
        self._tell(Fact(name, Grade.BAD, detail))


def two_lines(config: AnyProvider, model: str, endpoint: str) -> list[bytes]:
    """Two request lines in the provider's format, about as small as they can be."""
    chatlike = endpoint.startswith("/v1/chat/")
    prompt = Prompt.model_validate(
        {"model": model, "endpoint": "/v1/chat/completions" if chatlike else endpoint, "user": "Say ok."}
    )
    tree: dict[str, Any] = dialect(config.dialect).request_tree(prompt, config)
    if "url" in tree:
        tree["url"] = endpoint  # also one that no job can name
    rows = pa.RecordBatch.from_pydict({"row": list(_IDS)})
    return [line for line in Renderer(tree, ["row"]).lines(rows, _IDS) if isinstance(line, bytes)]
