"""One contract for every batch service, each spoken to through its genuine SDK over a socket."""

from __future__ import annotations

import io
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from configs.errors import (
    ConfigError,
    LeaseLost,
    LostReply,
    NightmailError,
    NotFound,
    TransientError,
    UnreliableReply,
)
from fakes.contract import OUTCOMES, STAGES, Stage
from tasks.local_batch.faults.corrupt_answers import AWKWARD
from tasks.providers.base import BatchStatus
from tasks.stages.merge.wholeness import Counts, ResultTally, judge
from tasks.stages.wire.formats import dialect

TEXT = ("/v1/chat/completions", "/v1/responses", "/v1/completions")
ROWS = {"a": "succeeded", "b": "succeeded", "c": "succeeded"}


@pytest.fixture(params=STAGES)
def stage(request: pytest.FixtureRequest, stages: Callable[[str], Stage]) -> Stage:
    """A service and what it speaks to, as new."""
    made = stages(request.param)
    made.renew()
    return made


def each(attribute: str) -> pytest.MarkDecorator:
    """Parametrise over what each service can show: pairs of its name and one of those words."""
    pairs = [(name, word) for name, kind in STAGES.items() for word in getattr(kind, attribute)]
    return pytest.mark.parametrize(
        ("stage", "word"), pairs, indirect=["stage"], ids=[f"{name}-{word}" for name, word in pairs]
    )


def raised(call: Callable[[], Any]) -> NightmailError:
    with pytest.raises(NightmailError) as caught:
        call()
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    return caught.value


CELLS = [(name, endpoint, word) for name, kind in STAGES.items() for endpoint, word in kind.cells()]


@pytest.mark.parametrize(("stage", "endpoint", "word"), CELLS, indirect=["stage"])
def test_what_a_row_comes_to(stage: Stage, endpoint: str, word: str) -> None:
    stage.endpoint = endpoint
    batch = stage.ended(stage.post({"row-1": word}).id)
    outcome = stage.answers(batch)["row-1"]
    expected = OUTCOMES[word]
    assert outcome.status is expected.status
    assert outcome.retryable is expected.again
    assert (outcome.error_code is None) == (word in ("succeeded", "awkward", "truncated"))
    assert (outcome.answer is not None) or word not in ("succeeded", "awkward")
    if outcome.answer is None:
        return
    if endpoint in TEXT:
        assert outcome.model == "m"
        assert outcome.input_tokens is not None
        assert outcome.input_tokens > 0
    if endpoint in TEXT and word == "succeeded":
        assert "word row-1" in str(outcome.answer)
    if word == "awkward":
        assert AWKWARD in str(outcome.answer)


@each("statuses")
def test_where_a_batch_is(stage: Stage, word: BatchStatus) -> None:
    batch_id = stage.showing(word)
    batch = stage.until(batch_id, lambda found: found.status is word)
    assert batch.id == batch_id
    cut_short = word in (BatchStatus.EXPIRED, BatchStatus.CANCELLED)
    if word is BatchStatus.COMPLETED or (cut_short and not stage.service.limits.all_or_nothing):
        assert batch.result_files
    if word is BatchStatus.FAILED:
        assert batch.error_code
        assert batch.error_message
    elif word is not BatchStatus.QUEUED:
        assert batch.total == 1
    if not word.ended:
        assert not batch.result_files
        stage.service.cancel(batch_id)


def test_every_row_of_a_batch_comes_back_under_its_own_id(stage: Stage) -> None:
    made = stage.post(ROWS)
    assert not made.status.ended
    batch = stage.ended(made.id)
    assert batch.status is BatchStatus.COMPLETED
    assert (batch.total, batch.completed, batch.failed) == ((3, 3, 0) if stage.counts else (3, None, None))
    assert {name: f"word {name}" in str(found.answer) for name, found in stage.answers(batch).items()} == {
        "a": True,
        "b": True,
        "c": True,
    }


def test_a_created_batch_whose_reply_was_lost_is_found_and_is_the_only_one(stage: Stage) -> None:
    before, began = stage.created(), stage.now()
    submission = stage.submission(ROWS)
    stage.fault("create", "drop_reply")
    assert type(raised(lambda: stage.create(submission))) is LostReply
    found = stage.service.find(submission, began)
    assert found is not None
    assert stage.created() == before + 1
    assert set(stage.answers(stage.ended(found.id))) == set(ROWS)


@pytest.mark.parametrize("action", ["reset_before", "status:500", "status:502", "status:503"])
def test_a_creating_call_that_broke_is_sent_once_and_leaves_open_what_it_did(
    stage: Stage, action: str
) -> None:
    before, began = stage.created(), stage.now()
    submission = stage.submission(ROWS, key="broken/1/1")
    stage.fault("create", action, html=action == "status:502")
    assert type(raised(lambda: stage.create(submission))) is LostReply
    assert stage.service.find(submission, began) is None
    assert stage.created() == before


@pytest.mark.parametrize(("seconds", "after"), [(None, None), (7, 7.0)])
@pytest.mark.parametrize("op", ["create", "retrieve", "list", "content"])
def test_429_says_how_long_to_wait_when_the_service_does(
    stage: Stage, op: str, seconds: float | None, after: float | None
) -> None:
    batch = stage.ended(stage.post(ROWS).id)
    stage.fault(op, "status:429", retry_after=seconds)
    found = raised(lambda: call(stage, op, batch.id, batch.result_files[0]))
    assert type(found) is TransientError
    assert found.retry_after_seconds == after


@pytest.mark.parametrize("action", ["reset_before", "drop_reply", "status:500", "status:502"])
@pytest.mark.parametrize("op", ["retrieve", "list", "content", "cancel", "delete"])
def test_a_broken_call_that_creates_nothing_may_be_repeated(stage: Stage, op: str, action: str) -> None:
    batch = stage.ended(stage.post(ROWS).id)
    stage.fault(op, action, html=action == "status:502")
    found = raised(lambda: call(stage, op, batch.id, batch.result_files[0]))
    assert type(found) is TransientError


def test_a_download_is_whole_or_fails(stage: Stage) -> None:
    batch = stage.ended(stage.post(ROWS).id)
    stage.fault("content", "close_midway")
    found = raised(lambda: stage.service.download(batch.result_files[0], io.BytesIO()))
    assert isinstance(found, UnreliableReply)
    assert "too early" in str(found)
    assert set(stage.answers(batch)) == set(ROWS)


DAMAGED = {
    "web_page": "a web page came instead",
    "cut_at_line": "lines for 2 of 3 rows",
    "cut_in_line": "cannot be read",
    "wrong_length": "cannot be read",
    "cut_gzip": "ends too early",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_download_that_is_not_whole_is_not_taken_for_the_answers(stage: Stage, damage: str) -> None:
    batch = stage.ended(stage.post(ROWS).id)
    stage.fault("content", damage)
    sink = ResultTally(dialect(stage.settings.dialect).parser(stage.endpoint), frozenset(ROWS))

    def read() -> None:
        stage.service.download(batch.result_files[0], sink)
        sink.end_file()
        counts = Counts(complete=True, completed=batch.completed, failed=batch.failed)
        raise UnreliableReply(str(judge(sink, counts).doubt))

    assert DAMAGED[damage] in str(raised(read))
    stage.service.reconnect()
    assert set(stage.answers(batch)) == set(ROWS)


def test_a_reply_about_another_batch_is_refused(stage: Stage) -> None:
    batch = stage.post(ROWS)
    stage.fault("retrieve", "other_batch")
    assert type(raised(lambda: stage.service.retrieve(batch.id))) is UnreliableReply
    assert stage.service.retrieve(batch.id).id == batch.id


def test_a_batch_that_carries_another_key_is_not_confirmed(stage: Stage) -> None:
    if not stage.keeps_keys:
        pytest.skip("a batch carries nothing of ours: its results tell whose it is")
    seen = stage.service.retrieve(stage.post(ROWS, key="mine/1/1").id)
    assert seen.confirmed("mine/1/1") is seen
    assert type(raised(lambda: seen.confirmed("other/1/1"))) is UnreliableReply


@pytest.mark.parametrize("hours", [-1, -0.25, 0.25, 1, 72])
def test_a_batch_whose_reply_was_lost_is_found_however_our_clock_stands(stage: Stage, hours: float) -> None:
    before, began = stage.created(), stage.now() + timedelta(hours=hours)
    submission = stage.submission(ROWS, key="clock/1/1")
    stage.fault("create", "drop_reply")
    assert type(raised(lambda: stage.create(submission))) is LostReply
    found = stage.service.find(submission, began)
    assert found is not None
    assert found.key in (None, "clock/1/1")
    assert stage.created() == before + 1


@pytest.mark.parametrize("hours", [-72, -1, -0.25, 0.25, 1])
def test_a_batch_whose_reply_was_lost_is_found_however_the_providers_clock_stands(
    stage: Stage, hours: float
) -> None:
    if not hasattr(stage.fake, "skew"):
        pytest.skip("the embedded service has this machine's clock")
    stage.fake.skew = timedelta(hours=hours)
    began, submission = stage.now(), stage.submission(ROWS, key="clock/1/1")
    stage.fault("create", "drop_reply")
    assert type(raised(lambda: stage.create(submission))) is LostReply
    assert stage.service.find(submission, began) is not None
    there = stage.service.clock.now()
    assert abs(there - stage.now() - stage.fake.skew) < timedelta(minutes=1)


def test_a_batch_is_listed_by_our_key_where_batches_can_carry_one(stage: Stage) -> None:
    began = stage.now()
    made = stage.post(ROWS, key="listed/1/1")
    listed = [(key, batch.id) for key, batch in stage.service.list_batches(began)]
    assert (("listed/1/1", made.id) in listed) is stage.keeps_keys
    assert stage.keeps_keys or listed == []


def test_pages_of_the_list_show_batches_as_they_are(stage: Stage) -> None:
    batches = [stage.post(ROWS, key=f"shown/{number}/1") for number in (1, 2)]
    stage.ended(batches[0].id)
    shown = {batch.id: batch for page in stage.service.batch_pages(2) for batch in page}
    assert shown[batches[0].id].status.ended
    for batch in batches:
        asked = stage.service.retrieve(batch.id)
        assert shown[batch.id].key == asked.key
        if hasattr(stage.fake, "skew") and not asked.status.ended:  # the embedded service goes on meanwhile
            assert shown[batch.id] == asked


def test_another_submission_is_not_taken_for_it(stage: Stage) -> None:
    began = stage.now()
    made = stage.post(ROWS, key="mine/1/1")
    stage.ended(made.id)
    other = stage.submission({"x": "succeeded", "y": "succeeded", "z": "succeeded"}, key="other/1/1")
    assert stage.service.find(other, began) is None


def test_an_upload_is_found_by_its_name_where_there_are_uploads(stage: Stage) -> None:
    began = stage.now()
    submission = stage.submission(ROWS, key="uploaded/1/1")
    with submission.lines() as lines:
        file_id = stage.service.upload(submission.file_name, lines)
    assert bool(file_id) is stage.uploads
    assert stage.service.find_upload(submission.file_name, began) == (file_id or None)
    assert stage.service.find_upload("nightmail-no-such-1-1.jsonl", began) is None


def test_what_is_deleted_is_gone_and_may_be_deleted_again(stage: Stage) -> None:
    if not stage.deletes_results:
        pytest.skip("the service cannot delete its results; they go by themselves")
    batch = stage.ended(stage.post(ROWS).id)
    for file_id in (*batch.result_files, *batch.result_files):
        stage.service.delete_file(file_id)
    for file_id in batch.result_files:
        assert type(raised(lambda: stage.service.download(file_id, io.BytesIO()))) is NotFound  # noqa: B023


def test_a_batch_is_cancelled_and_one_that_has_ended_is_left_alone(stage: Stage) -> None:
    batch_id = stage.showing(BatchStatus.RUNNING)
    stage.service.cancel(batch_id)
    stage.let_end(batch_id)
    stage.until(batch_id, lambda found: found.status is BatchStatus.CANCELLED)
    stage.service.cancel(batch_id)
    assert stage.service.retrieve(batch_id).status is BatchStatus.CANCELLED


@pytest.mark.parametrize("op", ["retrieve", "cancel", "content"])
def test_what_the_service_does_not_have_is_not_found(stage: Stage, op: str) -> None:
    assert type(raised(lambda: call(stage, op, *stage.absent))) is NotFound


@pytest.mark.parametrize("op", ["create", "retrieve", "list", "list_batches", "cancel", "content", "delete"])
def test_a_wrong_key_is_the_users_to_correct(stage: Stage, op: str) -> None:
    batch = stage.ended(stage.post(ROWS).id)
    stage.service = stage.connect("sk-secret-but-wrong")
    found = raised(lambda: call(stage, op, batch.id, batch.result_files[0]))
    assert type(found) is ConfigError
    assert stage.key_variable in str(found)


@pytest.mark.parametrize("op", ["create", "retrieve", "list", "cancel", "content", "delete"])
def test_nothing_is_sent_by_a_process_that_may_not_act_any_more(stage: Stage, op: str) -> None:
    batch = stage.ended(stage.post(ROWS).id)
    before = stage.created()

    def lost() -> None:
        raise LeaseLost("taken over")

    stage.service.guard = lost
    assert type(raised(lambda: call(stage, op, batch.id, batch.result_files[0]))) is LeaseLost
    assert stage.created() == before


def test_without_its_key_in_the_environment_a_service_is_a_config_error(stage: Stage) -> None:
    found = raised(lambda: stage.connect(""))
    assert type(found) is ConfigError
    assert stage.key_variable in str(found)


def call(stage: Stage, op: str, batch_id: str, file_id: str) -> Any:
    """The operation, as the run does it."""
    service = stage.service
    match op:
        case "create":
            return stage.create(stage.submission(ROWS, key="called/1/1"))
        case "retrieve":
            return service.retrieve(batch_id)
        case "list":
            return service.find(stage.submission(ROWS, key="called/1/1"), stage.now())
        case "list_batches":
            return list(service.list_batches(stage.now()))
        case "cancel":
            return service.cancel(batch_id)
        case "content":
            return service.download(file_id, io.BytesIO())
    return service.delete_file(file_id)
