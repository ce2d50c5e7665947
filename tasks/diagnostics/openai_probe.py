"""Check which parts of OpenAI's Files and Batches protocol a service supports, with one batch of two rows.

Calls go through the SDK that runs use, but replies are read as raw JSON: the SDK's models would hide deviations.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable
from typing import Any

from configs.errors import ConfigError
from tasks.diagnostics.facts import Fact, Grade
from tasks.diagnostics.fault_probe import FaultProbe
from tasks.diagnostics.probe_request import CUSTOM_IDS, ProbeRequest
from tasks.diagnostics.probe_results import check_result_files
from tasks.providers.openai.compatible import KEEP_SECONDS, KEY
from tasks.providers.openai.raw_calls import RawCalls, Refused, raw_calls_at
from tasks.providers.openai.replies import Record, batch_of, metadata_of, status_of
from tasks.providers.times import time_of

_OPENAI_STATUSES = frozenset(
    {"validating", "in_progress", "finalizing", "completed", "failed", "expired", "cancelling", "cancelled"}
)
_LIST_LIMIT = 100  # the most that OpenAI's API allows
_WRONG_KEY = "nightmail-doctor-wrong-key"
_EXPIRY: Any = {"anchor": "created_at", "seconds": KEEP_SECONDS}


class Probe:
    """The checks of one service. Call `run` once.

    `wait(seconds)` waits that long, and returns whether any of the time limit is left.
    """

    def __init__(
        self,
        raw: RawCalls,
        request: ProbeRequest,
        report: Callable[[Fact], None],
        wait: Callable[[float], bool],
    ) -> None:
        self._raw = raw
        self._request = request
        self._report = report
        self._wait = wait
        self._submission_key = f"doctor/{secrets.token_hex(5)}"
        self.unfinished = False
        self.created = False  # whether the service makes batches at all

    def run(self) -> None:
        """Run all checks, or stop after one that the others depend on. Cancels the batch and deletes the files at the end."""
        if not self._check_connection():
            return
        upload = self._upload()
        if upload is None:
            return
        files = [upload]
        try:
            batch = self._create(upload)
            if batch:
                self.created = True
                self._check_batch_list(batch, upload)
                batch = self._poll_until_ended(batch)
            if batch:
                files += batch_of(batch).result_files
                self._check_results(batch)
        finally:
            self._delete(files)

    def _check_connection(self) -> bool:
        """Check that the service answers, accepts the key and lists batches; False if no upload should be tried."""
        try:
            rows = self._raw.batches(limit=1)
        except Refused as refusal:
            if refusal.status is None:
                self._report_bad("reachable", refusal.text)
                return False
            self._report_ok("reachable", f"answers (HTTP {refusal.status})")
            if refusal.status in (401, 403):
                self._report_bad("key", refusal.text)
                return False
            self._report_bad(
                "lists batches", f"{refusal.text}; a batch whose reply was lost could not be found again"
            )
            return refusal.status in (404, 405, 501)  # no such endpoint: the others may still work
        self._report_ok("reachable", "answers")
        self._report_ok("key", "accepted, or none is asked for")
        if len(rows) > 1:
            self._report_odd("list limit", f"asked for 1 batch, got {len(rows)}")
        return True

    def _upload(self) -> str | None:
        name = f"nightmail-{self._submission_key.replace('/', '-')}.jsonl"
        try:
            file, expiry_refusal = self._upload_with_expiry(name)
        except Refused as refusal:
            self._report_bad("upload", refusal.text)
            return None
        file_id = file.get("id")
        if not isinstance(file_id, str) or not file_id:
            self._report_bad("upload", "the reply names no id")
            return None
        self._report_ok("upload", file_id)
        if expiry_refusal is not None:
            self._report_odd(
                "files expire",
                f"expires_after is refused ({expiry_refusal}); Nightmail asks only those who take it",
            )
        elif time_of(file.get("expires_at")) is None:
            self._report_odd("files expire", "expires_after is taken, and no expires_at is shown")
        else:
            self._report_ok("files expire", f"at {time_of(file.get('expires_at')):%Y-%m-%d}")
        self._check_file_list(file_id, name)
        return file_id

    def _upload_with_expiry(self, name: str) -> tuple[Record, str | None]:
        """Upload the input file; also why the service refused an expiry for it, None if it did not."""
        content = self._request.lines()
        try:
            return self._raw.upload(name, content, _EXPIRY), None
        except Refused as refusal:
            if refusal.status not in (400, 422):
                raise
            return self._raw.upload(name, content), refusal.text

    def _check_file_list(self, file_id: str, name: str) -> None:
        try:
            rows = self._raw.files()
        except Refused as refusal:
            self._report_odd("lists files", f"{refusal.text}; after a lost reply the file is uploaded twice")
            return
        if any(row.get("id") == file_id and row.get("filename") == name for row in rows):
            self._report_ok("lists files", "the upload is found by its name")
        else:
            self._report_odd(
                "lists files", "the upload is not in the list under its name; it may be uploaded twice"
            )

    def _create(self, upload: str) -> Record:
        fields = {"input_file_id": upload, "endpoint": self._request.endpoint, "completion_window": "24h"}
        try:
            batch = self._raw.create(**fields, metadata={KEY: self._submission_key})
        except Refused as refusal:
            self._report_bad("create", refusal.text)
            return {}
        if not isinstance(batch.get("id"), str) or not batch["id"]:
            self._report_bad("create", f"the reply names no id: {json.dumps(batch)[:200]}")
            return {}
        self._report_ok("create", batch["id"])
        if metadata_of(batch).get(KEY) == self._submission_key:
            self._report_ok("metadata", "echoed by create")
        else:
            self._report_odd("metadata", "not echoed by create")
        if not isinstance(batch.get("created_at"), int):
            self._report_odd("times", f"created_at is {batch.get('created_at')!r}, not unix seconds")
        if time_of(batch.get("expires_at")) is None:
            self._report_odd("expiry", "no expires_at; Nightmail goes by the window")
        return batch

    def _check_batch_list(self, batch: Record, upload: str) -> None:
        """Check that the list shows the batch with its submission key, as needed after a lost reply, and that paging works."""
        batch_id = batch["id"]
        try:
            rows = self._raw.batches(limit=_LIST_LIMIT)
            next_page = self._raw.batches(limit=1, after=batch_id)
        except Refused as refusal:
            self._report_bad(
                "finds by key", f"{refusal.text}; after a lost reply a run stops rather than pay twice"
            )
            return
        if any(metadata_of(row).get(KEY) == self._submission_key for row in rows):
            self._report_ok("finds by key", "the list shows the batch with its key")
        elif any(row.get("id") == batch_id and row.get("input_file_id") == upload for row in rows):
            self._report_ok(
                "finds by key", "the list shows the batch without metadata; it is found by its file"
            )
        elif any(row.get("id") == batch_id for row in rows):
            self._report_bad(
                "finds by key", "the list shows the batch without metadata: a lost reply could be paid twice"
            )
        else:
            self._report_bad(
                "finds by key", "the list does not show the batch: a lost reply could be paid twice"
            )
        if any(row.get("id") == batch_id for row in next_page):
            self._report_odd("list paging", "`after` is ignored; only the first page can be seen")
        else:
            self._report_ok("list paging", "`after` continues behind a batch")

    def _poll_until_ended(self, batch: Record) -> Record:
        batch_id, statuses, wait = batch["id"], [str(batch.get("status"))], 0.25
        while not status_of(batch).ended:
            if not self._wait(wait):
                return self._cancel_after_timeout(batch_id, statuses)
            wait = min(wait * 1.5, 15.0)
            try:
                reply = self._raw.retrieve(batch_id)
            except Refused as refusal:
                if refusal.status is not None and refusal.status < 500 and refusal.status != 429:
                    self._report_bad("retrieve", refusal.text)
                    return {}
                continue  # a passing fault: a run would poll again as well
            batch = reply or batch
            if str(batch.get("status")) != statuses[-1]:
                statuses.append(str(batch.get("status")))
        self._report_ok("retrieve", " ▸ ".join(statuses))
        unknown = [status for status in statuses if status not in _OPENAI_STATUSES]
        if unknown:
            self._report_odd(
                "status words", f"{', '.join(unknown)}: unlike OpenAI's, read regardless of case"
            )
        # Some services refuse to cancel a batch that has ended, others accept it. Runs cope with both.
        self._cancel(batch_id, "has ended")
        return batch

    def _cancel_after_timeout(self, batch_id: str, statuses: list[str]) -> Record:
        """The time limit is over: cancel the batch, which checks cancelling of an open batch as well."""
        self.unfinished = True
        self._report_note("retrieve", f"{' ▸ '.join(statuses)}, and no end in the time given")
        self._cancel(batch_id, "is running")
        return {}

    def _cancel(self, batch_id: str, state: str) -> None:
        try:
            self._raw.cancel(batch_id)
        except Refused as refusal:
            if refusal.status in (404, 405, 501):
                self._report_odd("cancel", f"{refusal.text}; a cancelled run keeps costing money")
            else:
                self._report_ok("cancel", f"refused for a batch that {state} ({refusal.text})")
            return
        self._report_ok("cancel", f"taken for a batch that {state}")

    def _check_results(self, batch: Record) -> None:
        ended = batch_of(batch)
        if ended.error_code:
            self._report_bad("rows", f"the batch failed: {ended.error_code}: {ended.error_message}")
            return
        counts = (ended.total, ended.completed, ended.failed)
        if None in counts or ended.total != len(CUSTOM_IDS):
            self._report_odd("counts", f"total, completed, failed are {counts}")
        else:
            self._report_ok("counts", "{} rows, {} completed, {} failed".format(*counts))
        if not ended.result_files:
            self._report_bad("result files", "the batch names none")
            return
        output, errors = (
            self._download(file) if file in ended.result_files else None
            for file in (batch.get("output_file_id"), batch.get("error_file_id"))
        )
        check_result_files(output, errors, self._request.endpoint, CUSTOM_IDS, self._report)

    def _download(self, file_id: str) -> bytes | None:
        try:
            return self._raw.content(file_id)
        except Refused as refusal:
            self._report_bad("download", f"{file_id}: {refusal.text}")
            return None

    def _delete(self, files: list[str]) -> None:
        for file in files:
            try:
                self._raw.delete(file)
            except Refused as refusal:
                self._report_odd("delete", f"{file}: {refusal.text}; files stay until somebody removes them")
                return
        self._report_ok("delete", f"{len(files)} files")

    def _report_ok(self, name: str, detail: str) -> None:
        self._report(Fact(name, Grade.OK, detail))

    def _report_odd(self, name: str, detail: str) -> None:
        self._report(Fact(name, Grade.ODD, detail))

    def _report_bad(self, name: str, detail: str) -> None:
        self._report(Fact(name, Grade.BAD, detail))

    def _report_note(self, name: str, detail: str) -> None:
        self._report(Fact(name, Grade.NOTE, detail))


def probe_service(
    url: str,
    *,
    model: str | None,
    endpoint: str,
    key: str | None,
    report: Callable[[Fact], None],
    wait: Callable[[float], bool],
    deep: bool = False,
) -> bool:
    """Check the service at `url`, with `deep` by provoked faults too; False when a batch did not end within the time limit.

    Without a `model` the first one that the service lists is used. ConfigError when it lists none.
    """
    raw = raw_calls_at(url, key)
    chosen_model = model or _first_model(raw)
    if chosen_model is None:
        raise ConfigError(f"{url}: lists no models; name one with --model")
    if model is None:
        report(Fact("model", Grade.NOTE, f"{chosen_model}, the first that the service lists"))
    request = ProbeRequest(chosen_model, endpoint)
    probe = Probe(raw, request, report, wait)
    probe.run()
    if not deep or not probe.created:
        return not probe.unfinished
    losing = raw_calls_at(url, key, lose_replies=True)
    stranger = raw_calls_at(url, _WRONG_KEY) if key else None
    faults = FaultProbe(raw, losing, stranger, request, report, wait)
    faults.run()
    return not (probe.unfinished or faults.unfinished)


def _first_model(raw: RawCalls) -> str | None:
    """Id of the first model that the service lists, if it lists any."""
    try:
        rows = raw.models()
    except Refused:
        return None
    names = [row["id"] for row in rows if isinstance(row.get("id"), str)]
    return names[0] if names else None
