"""Whom a file of ready requests asks, whether the provider takes it, and how it is cut into batches."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from configs.errors import ConfigError, InputError
from configs.job import Job
from configs.providers.limits import PORTABLE_ID
from configs.providers.registry import PROVIDERS
from tasks.stages.plan import request_plans
from tasks.stages.prompt.shard import FileLimits
from tasks.stages.ready_requests.survey import MOST_GROUPS

CHAT, EMBEDDINGS = "/v1/chat/completions", "/v1/embeddings"
CLAUDE = {"custom_id": "a", "params": {"model": "claude-haiku-4-5", "max_tokens": 5, "messages": [{}]}}
GEMINI = {"key": "a", "request": {"contents": [{"parts": [{"text": "hi"}]}]}}


def request(custom_id: str = "a", model: str = "m", url: str = CHAT, **params: Any) -> dict[str, Any]:
    asked = {"messages": [{"role": "user", "content": custom_id}]} if url == CHAT else {"input": custom_id}
    return {"custom_id": custom_id, "method": "POST", "url": url, "body": {"model": model, **asked, **params}}


def job(folder: Path, lines: Sequence[dict[str, Any]], provider: str = "local", **prompt: Any) -> Job:
    (folder / "requests.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Job.model_validate(
        {
            "name": "r",
            "source": {"path": str(folder / "requests.jsonl"), "format": "requests"},
            "provider": PROVIDERS[provider].model_validate({"name": provider}).model_dump(),
            "output": {"path": str(folder / "out")},
            **({"prompt": prompt} if prompt else {}),
        }
    )


@pytest.mark.parametrize(
    ("lines", "provider", "message"),
    [
        ([request(), request("b"), request()], "openai", r"line 3: custom_id 'a' is that of line 1, too; give each its own"),
        ([request(), request("b", url="/v1/videos", prompt="x")], "alibaba", r"line 2: Alibaba has no /v1/videos in batches; it has"),
        ([CLAUDE], "openai", r"line 1: is in the form of anthropic, and OpenAI takes that of openai; give another --provider"),
        ([request()], "anthropic", r"line 1: is in the form of openai, and Anthropic takes that of anthropic"),
        ([request("a"), CLAUDE], "local", r"line 2: is in the form of anthropic"),
        ([request("a" * 250)], "local", r"line 1: the request is \d+ bytes, and one may have 400; shorten it"),
        ([request(str(n), f"m{n}") for n in range(MOST_GROUPS + 1)], "local", "asks more than 50 models and endpoints; split"),
    ],
)  # fmt: skip
def test_a_file_that_the_provider_would_refuse_is_refused_before_anything_is_posted(
    tmp_path: Path, lines: list[dict[str, Any]], provider: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=rf"requests\.jsonl: {message}") as caught:
        request_plans(job(tmp_path, lines, provider), FileLimits(max_bytes=400), PORTABLE_ID)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("lines", "provider", "prompt", "message"),
    [
        ([GEMINI], "gemini", {}, r"requests\.jsonl: Gemini's requests name no model; give --model"),
        (
            [request()],
            "local",
            {"model": "x"},
            r"prompt\.model: each request of .*requests\.jsonl names its own",
        ),
    ],
)
def test_the_model_is_named_once(
    tmp_path: Path, lines: list[dict[str, Any]], provider: str, prompt: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        request_plans(job(tmp_path, lines, provider, **prompt), FileLimits(), PORTABLE_ID)


def test_a_group_has_the_largest_limits_of_its_requests_and_whatever_is_billed_of_any(tmp_path: Path) -> None:
    search, audio = (
        {"type": "web_search"},
        {"type": "input_audio", "input_audio": {"data": "", "format": "wav"}},
    )
    lines = [
        request("a", max_tokens=5, tools=[search]),
        request("b", max_completion_tokens=9, n=3, tools=[search]),
        request("c", "other", max_tokens=5),
        request("d", "other"),
        request("f", "fourth", max_tokens=5),
        request("e", "third", messages=[{"role": "user", "content": [audio]}]),
    ]
    plans = request_plans(job(tmp_path, lines), FileLimits(), PORTABLE_ID)
    prompts = [plan.job.prompt for plan in plans]
    assert [prompt.model for prompt in prompts] == ["m", "other", "fourth", "third"]
    assert prompts[0].params == {"max_completion_tokens": 9, "n": 3, "tools": [search]}
    assert prompts[1].params == {}  # one of them has no limit
    assert prompts[2].params == {"max_tokens": 5}  # by the name that the requests have
    assert prompts[3].user == ({"type": "input_audio"},)


def test_fields_that_must_have_one_value_in_a_batch_part_its_groups(tmp_path: Path) -> None:
    lines = [request(f"{n}", "qwen", enable_thinking=n % 2 == 0) for n in range(4)]
    counts = {
        provider: [
            sum(each.piece.requests for each in plan.row_slices())
            for plan in request_plans(job(tmp_path, lines, provider), FileLimits(), PORTABLE_ID)
        ]
        for provider in ("alibaba", "openai")
    }
    assert counts == {"alibaba": [2, 2], "openai": [4]}


def test_numbers_beyond_all_others_limit_nothing(tmp_path: Path) -> None:
    lines = [request("a", max_tokens=10**30, n=10**30), request("b", max_tokens=5)]
    (plan,) = request_plans(job(tmp_path, lines), FileLimits(), PORTABLE_ID)
    assert plan.job.prompt.params == {}


def test_two_ids_that_would_be_one_at_the_provider_are_named(tmp_path: Path) -> None:
    lines = [request("odd id"), request("b", "other"), request("row-000000000")]
    plans = request_plans(job(tmp_path, lines), FileLimits(), PORTABLE_ID)
    with pytest.raises(
        InputError, match=r"requests\.jsonl: lines 1 and 3: both would be posted under the id 'row-000000000'"
    ):
        list(plans[0].row_slices())


@pytest.mark.parametrize(
    "written", [b"", json.dumps(request("one-more", "other")).encode() + b"\n"], ids=["same", "more"]
)
def test_a_file_that_is_written_to_while_it_is_read_is_refused(tmp_path: Path, written: bytes) -> None:
    made = job(tmp_path, [request("a"), request("b", "other")])
    plans = request_plans(made, FileLimits(), PORTABLE_ID)
    path = Path(made.source.path)
    path.write_bytes(path.read_bytes() + written)
    os.utime(path, (0, 0))  # whenever it was: the test's clock may not have moved since
    with pytest.raises(
        InputError, match=r"requests\.jsonl: was written to while it was read; post it once it is whole"
    ):
        list(plans[0].row_slices())


def test_lines_that_are_blank_or_left_out_are_in_no_group(tmp_path: Path) -> None:
    made = job(tmp_path, [])
    texts = [json.dumps(each) for each in (request("a"), request("b", "other"), request("odd id"))]
    Path(made.source.path).write_text("\n".join(["", texts[0], "{", "", texts[1], texts[2]]))
    made = made.model_copy(update={"source": made.source.model_copy(update={"bad_lines": "skip"})})
    plans = request_plans(made, FileLimits(), PORTABLE_ID)
    slices = [list(plan.row_slices()) for plan in plans]
    lines = [[line for each in found for line in each.rows.column("line").to_pylist()] for found in slices]
    assert lines == [[2, 6], [5]]
    assert [custom_id for each in slices[0] for custom_id in each.ids] == ["a", "row-000000005"]
    assert [bad.line for bad in plans[0].dataset.bad_lines] == [3]


def test_groups_of_a_file_of_many_blocks_have_all_lines(tmp_path: Path) -> None:
    lines = [request(str(n), f"m{n % 3}", user="x" * 2_000) for n in range(2_000)]
    plans = request_plans(job(tmp_path, lines), FileLimits(), PORTABLE_ID)
    found = [[custom_id for each in plan.row_slices() for custom_id in each.ids] for plan in plans]
    assert found == [[str(n) for n in range(start, 2_000, 3)] for start in range(3)]


def test_no_two_groups_have_the_same_prompt(tmp_path: Path) -> None:
    odd: tuple[dict[str, Any], ...] = ({}, {"enable_thinking": False}, {"enable_thinking": True})
    lines = [request(str(n), "qwen", **each) for n, each in enumerate(odd)]
    plans = request_plans(job(tmp_path, lines, "alibaba"), FileLimits(), PORTABLE_ID)
    assert [plan.job.prompt.params for plan in plans] == list(odd)


ASKED = st.tuples(st.sampled_from(["m", "other"]), st.sampled_from([CHAT, EMBEDDINGS]), st.integers(0, 60))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(ASKED, min_size=1, max_size=30), st.integers(1, 7), st.integers(400, 1_000))
def test_every_line_is_in_one_batch_of_its_own_model_and_endpoint_within_its_limits(
    tmp_path: Path, asked: list[tuple[str, str, int]], most: int, size: int
) -> None:
    lines = [
        request(f"{n}" if length % 7 else f"odd id {n}", model, url, user="x" * length)
        for n, (model, url, length) in enumerate(asked)
    ]
    limits = FileLimits(max_requests=most, max_bytes=size)
    seen: list[int] = []
    for plan in request_plans(job(tmp_path, lines), limits, PORTABLE_ID):
        requests = used = 0
        rows: list[int] = []
        for each in plan.row_slices():
            requests, used = (0, 0) if each.piece.new_chunk else (requests, used)
            requests, used = requests + each.piece.requests, used + len(each.piece.payload)
            assert requests <= most
            assert used <= size
            posted = [json.loads(line) for line in each.piece.payload.split(b"\n")[:-1]]
            given_ids = each.rows.column("custom_id").to_pylist()
            for posting, custom_id, line in zip(
                posted, given_ids, each.rows.column("line").to_pylist(), strict=True
            ):
                original = lines[line - 1]
                assert (custom_id, posting["body"]) == (original["custom_id"], original["body"])
                assert posting["custom_id"] in (custom_id, f"row-{line - 1:09d}")
                assert (posting["url"], posting["body"]["model"]) == (
                    plan.job.prompt.endpoint,
                    plan.job.prompt.model,
                )
                assert PORTABLE_ID.fullmatch(posting["custom_id"])
                rows.append(line)
        assert rows == sorted(rows)
        seen += rows
    assert sorted(seen) == list(range(1, len(lines) + 1))
