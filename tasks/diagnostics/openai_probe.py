"""Probe a service of OpenAI's Files and Batches protocol: what it honours, fact by fact, from one batch of two rows.

Each call is made with the SDK that runs use, and its reply is looked at as it came.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

from configs.errors import ConfigError
from tasks.diagnostics.facts import Fact, Grade
from tasks.diagnostics.probe_request import CUSTOM_IDS, ProbeRequest
from tasks.diagnostics.probe_results import read_results
from tasks.providers.openai.compatible import KEEP_SECONDS, KEY
from tasks.providers.openai.raw_calls import RawCalls, Refused, raw_calls_at
from tasks.providers.openai.replies import Record, batch_of, metadata_of, status_of, time_of

_OPENAI_STATUSES = frozenset(
    {"validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"}
)
_LIST_LIMIT = 100
_EXPIRY: Any = {"anchor": "created_at", "seconds": KEEP_SECONDS}


class Probe:
    """One probe of one service. `run` it once.

    `tell` gets each fact as it is found out. `wait(seconds)` passes the time, and says whether there is any left.
    """

    def __init__(
        self,
        raw: RawCalls,
        request: ProbeRequest,
        tell: Callable[[Fact], None],
        wait: Callable[[float], bool],
    ) -> None:
        self._raw = raw
        self._request = request
        self._tell = tell
        self._wait = wait
        self._key = f"doctor/{secrets.token_hex(5)}"
        self.unfinished = False

    def run(self) -> None:
        """Find out everything; stops where nothing further can be asked. Leaves nothing open behind."""
        if not self._opens():
            return
        upload = self._upload()
        if upload is None:
            return
        files = [upload]
        try:
            batch = self._create(upload)
            if batch:
                self._finds(batch, upload)
                batch = self._to_its_end(batch)
            if batch:
                files += batch_of(batch).result_files
                self._results(batch)
        finally:
            self._delete(files)

    # --- each step

    def _opens(self) -> bool:
        """Is anybody there, do they take the key, can batches be listed?"""
        try:
            rows = self._raw.batches(limit=1)
        except Refused as refusal:
            if refusal.status is None:
                self._bad("reachable", refusal.text)
                return False
            self._ok("reachable", f"answers (HTTP {refusal.status})")
            if refusal.status in (401, 403):
                self._bad("key", refusal.text)
                return False
            self._bad(
                "lists batches", f"{refusal.text}; a batch whose reply was lost could not be found again"
            )
            return refusal.status in (404, 405, 501)
        self._ok("reachable", "answers")
        self._ok("key", "accepted, or none is asked for")
        if len(rows) > 1:
            self._odd("list limit", f"asked for 1 batch, got {len(rows)}")
        return True

    def _upload(self) -> str | None:
        name = f"nightmail-{self._key.replace('/', '-')}.jsonl"
        try:
            file, why_no_expiry = self._uploaded(name)
        except Refused as refusal:
            self._bad("upload", refusal.text)
            return None
        file_id = file.get("id")
        if not isinstance(file_id, str) or not file_id:
            self._bad("upload", "the reply names no id")
            return None
        self._ok("upload", file_id)
        if why_no_expiry is not None:
            self._odd(
                "files expire",
                f"expires_after is refused ({why_no_expiry}); Nightmail asks only those who take it",
            )
        elif time_of(file.get("expires_at")) is None:
            self._odd("files expire", "expires_after is taken, and no expires_at is shown")
        else:
            self._ok("files expire", f"at {time_of(file.get('expires_at')):%Y-%m-%d}")
        self._lists_files(file_id, name)
        return file_id

    def _uploaded(self, name: str) -> tuple[Record, str | None]:
        """The file, and why it could not be told to expire."""
        content = self._request.lines()
        try:
            return self._raw.upload(name, content, _EXPIRY), None
        except Refused as refusal:
            if refusal.status not in (400, 422):
                raise
            return self._raw.upload(name, content), refusal.text

    def _lists_files(self, file_id: str, name: str) -> None:
        try:
            rows = self._raw.files()
        except Refused as refusal:
            self._odd("lists files", f"{refusal.text}; after a lost reply the file is uploaded twice")
            return
        if any(row.get("id") == file_id and row.get("filename") == name for row in rows):
            self._ok("lists files", "the upload is found by its name")
        else:
            self._odd("lists files", "the upload is not in the list under its name; it may be uploaded twice")

    def _create(self, upload: str) -> Record:
        fields = {"input_file_id": upload, "endpoint": self._request.endpoint, "completion_window": "24h"}
        try:
            batch = self._raw.create(**fields, metadata={KEY: self._key})
        except Refused as refusal:
            self._bad("create", refusal.text)
            return {}
        if not isinstance(batch.get("id"), str) or not batch["id"]:
            self._bad("create", f"the reply names no id: {json.dumps(batch)[:200]}")
            return {}
        self._ok("create", batch["id"])
        if metadata_of(batch).get(KEY) == self._key:
            self._ok("metadata", "echoed by create")
        else:
            self._odd("metadata", "not echoed by create")
        if not isinstance(batch.get("created_at"), int):
            self._odd("times", f"created_at is {batch.get('created_at')!r}, not unix seconds")
        if time_of(batch.get("expires_at")) is None:
            self._odd("expiry", "no expires_at; Nightmail goes by the window")
        return batch

    def _finds(self, batch: Record, upload: str) -> None:
        """By key in the list, as after a lost reply; and page by page."""
        batch_id = batch["id"]
        try:
            rows = self._raw.batches(limit=_LIST_LIMIT)
            after = self._raw.batches(limit=1, after=batch_id)
        except Refused as refusal:
            self._bad("finds by key", f"{refusal.text}; after a lost reply a run stops rather than pay twice")
            return
        if any(metadata_of(row).get(KEY) == self._key for row in rows):
            self._ok("finds by key", "the list shows the batch with its key")
        elif any(row.get("id") == batch_id and row.get("input_file_id") == upload for row in rows):
            self._ok("finds by key", "the list shows the batch without metadata; it is found by its file")
        elif any(row.get("id") == batch_id for row in rows):
            self._bad(
                "finds by key", "the list shows the batch without metadata: a lost reply could be paid twice"
            )
        else:
            self._bad("finds by key", "the list does not show the batch: a lost reply could be paid twice")
        if any(row.get("id") == batch_id for row in after):
            self._odd("list paging", "`after` is ignored; only the first page can be seen")
        else:
            self._ok("list paging", "`after` goes on behind a batch")

    def _to_its_end(self, batch: Record) -> Record:
        batch_id, statuses, wait = batch["id"], [str(batch.get("status"))], 0.25
        while not status_of(batch).ended:
            if not self._wait(wait):
                return self._given_up(batch_id, statuses)
            wait = min(wait * 1.5, 15.0)
            try:
                latest = self._raw.retrieve(batch_id)
            except Refused as refusal:
                if refusal.status is not None and refusal.status < 500 and refusal.status != 429:
                    self._bad("retrieve", refusal.text)
                    return {}
                continue
            batch = latest or batch
            if str(batch.get("status")) != statuses[-1]:
                statuses.append(str(batch.get("status")))
        self._ok("retrieve", " ▸ ".join(statuses))
        unknown = [status for status in statuses if status not in _OPENAI_STATUSES]
        if unknown:
            self._odd("status words", f"{', '.join(unknown)}: unlike OpenAI's, read regardless of case")
        self._cancel(batch_id, "has ended")
        return batch

    def _given_up(self, batch_id: str, statuses: list[str]) -> Record:
        """The time is over: the batch is cancelled, which is one more thing to find out."""
        self.unfinished = True
        self._note("retrieve", f"{' ▸ '.join(statuses)}, and no end in the time given")
        self._cancel(batch_id, "is running")
        return {}

    def _cancel(self, batch_id: str, state: str) -> None:
        try:
            self._raw.cancel(batch_id)
        except Refused as refusal:
            if refusal.status in (404, 405, 501):
                self._odd("cancel", f"{refusal.text}; a cancelled run goes on costing")
            else:
                self._ok("cancel", f"refused for a batch that {state} ({refusal.text})")
            return
        self._ok("cancel", f"taken for a batch that {state}")

    def _results(self, batch: Record) -> None:
        ended = batch_of(batch)
        if ended.error_code:
            self._bad("rows", f"the batch failed: {ended.error_code}: {ended.error_message}")
            return
        counts = (ended.total, ended.completed, ended.failed)
        if None in counts or ended.total != len(CUSTOM_IDS):
            self._odd("counts", f"total, completed, failed are {counts}")
        else:
            self._ok("counts", "{} rows, {} completed, {} failed".format(*counts))
        if not ended.result_files:
            self._bad("result files", "the batch names none")
            return
        output, errors = (
            self._content(file) if file in ended.result_files else None
            for file in (batch.get("output_file_id"), batch.get("error_file_id"))
        )
        read_results(output, errors, self._request.endpoint, CUSTOM_IDS, self._tell)

    def _content(self, file_id: str) -> bytes | None:
        try:
            return self._raw.content(file_id)
        except Refused as refusal:
            self._bad("download", f"{file_id}: {refusal.text}")
            return None

    def _delete(self, files: list[str]) -> None:
        for file in files:
            try:
                self._raw.delete(file)
            except Refused as refusal:
                self._odd("delete", f"{file}: {refusal.text}; files stay until somebody removes them")
                return
        self._ok("delete", f"{len(files)} files")

    # --- facts

    def _ok(self, name: str, detail: str) -> None:
        self._tell(Fact(name, Grade.OK, detail))

    def _odd(self, name: str, detail: str) -> None:
        self._tell(Fact(name, Grade.ODD, detail))

    def _bad(self, name: str, detail: str) -> None:
        self._tell(Fact(name, Grade.BAD, detail))

    def _note(self, name: str, detail: str) -> None:
        self._tell(Fact(name, Grade.NOTE, detail))


def probe_at(
    url: str,
    *,
    model: str | None,
    endpoint: str,
    key: str | None,
    tell: Callable[[Fact], None],
    wait: Callable[[float], bool],
) -> bool:
    """Tell all facts about the service at `url`; False when the time was over before its batch ended.

    Without a `model` the first one that the service lists is asked. ConfigError when it lists none.
    """
    raw = raw_calls_at(url, key)
    asked_model = model or first_model(raw)
    if asked_model is None:
        raise ConfigError(f"{url}: lists no models; name one with --model")
    if model is None:
        tell(Fact("model", Grade.NOTE, f"{asked_model}, the first that the service lists"))
    probe = Probe(raw, ProbeRequest(asked_model, endpoint), tell, wait)
    probe.run()
    return not probe.unfinished


def first_model(raw: RawCalls) -> str | None:
    """The first model that the service lists, if it lists any."""
    try:
        rows = raw.models()
    except Refused:
        return None
    names = [row["id"] for row in rows if isinstance(row.get("id"), str)]
    return names[0] if names else None
