"""Job files: what is taken, what is refused, and that the refusal says what to do."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
import yaml

from configs.errors import ConfigError
from configs.load import changes, identity, job_schema, load_job, logical_date, resolve, run_key
from rigs.checkout import ROOT

TREE: dict[str, Any] = {
    "name": "triage",
    "source": {"path": "rows.csv"},
    "prompt": {"model": "m", "user": "{{ body }}"},
    "output": {"path": "out"},
}


def job_file(folder: Path, **changed: Any) -> Path:
    path = folder / "job.yaml"
    path.write_text(yaml.safe_dump({**TREE, **changed}, allow_unicode=True), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("prompt.parms=1", "prompt.parms: unknown key; did you mean params?"),
        ("prompts=1", "prompts: unknown key; did you mean prompt?"),
        ("provider.api_key=sk-1", "provider.api_key: unknown key; did you mean api_key_env"),
        (
            "prompt.endpoint=/v1/chat",
            "prompt.endpoint: '/v1/chat' is not known; allowed: '/v1/chat/completions'",
        ),
        ("provider={name: opnai}", "provider.name: 'opnai' is not known; allowed: 'local', 'openai'"),
        (
            "source.format=xml",
            "source.format: 'xml' is not known; allowed: 'auto', 'parquet', 'csv', 'jsonl', 'arrow' or 'requests'",
        ),
        ("prompt.model=", "prompt.model: "),
        ("prompt.model='{{ m }}'", "prompt: model cannot be a template"),
        ("prompt.user=", r"prompt: user, messages or messages_from is required"),
        ("prompt.params={stream: true}", "prompt: params may not set stream"),
        (
            "prompt={model: m, endpoint: /v1/embeddings, user: x, system: y}",
            "system does not exist at /v1/embeddings",
        ),
        ("retry.max_attempts=0", "retry.max_attempts: "),
        ("poll.max_seconds=1", "poll: max_seconds must not be below first_seconds"),
        ("timezone=Mars/Olympus", "unknown time zone 'Mars/Olympus'; use an IANA name"),
        ("name=Big Job", "name: string should match pattern"),
        ("output={}", "output.path: is required"),
        ("source.limit=0", "source.limit: "),
        ("nonsense", "write it as key=value"),
        ("name.x=1", "name is a value, not a section"),
    ],
)
def test_a_wrong_key_or_value_is_one_line_with_file_key_and_what_is_allowed(
    tmp_path: Path, override: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_job(job_file(tmp_path), [override])
    assert "\n" not in str(caught.value)
    assert "sk-1" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "line 1 not valid YAML"),
        ("a: 1\na: 2", "line 2 not valid YAML: the key 'a' is given twice"),
        ("- a list", "a job file is a mapping"),
        ("", "a job file is a mapping"),
        ("a: b: c", "line 1 not valid YAML"),
    ],
)
def test_what_is_not_a_job_file_says_so(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "job.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_job(tmp_path / "job.yaml")


def test_setting_another_provider_starts_its_section_anew(tmp_path: Path) -> None:
    path = job_file(tmp_path, provider={"name": "local", "rows_per_second": 5})
    assert load_job(path, ["provider.name=openai", "provider.api_key_env=KEY"]).provider.name == "openai"
    assert load_job(path, ["provider.name=local"]).provider.model_dump()["rows_per_second"] == 5


def test_the_embedded_service_is_looked_at_more_often(tmp_path: Path) -> None:
    assert load_job(job_file(tmp_path)).pace.max_seconds == 5
    assert load_job(job_file(tmp_path), ["provider.name=openai"]).pace.max_seconds == 900


def test_a_missing_file_suggests_the_nearest(tmp_path: Path) -> None:
    job_file(tmp_path)
    with pytest.raises(ConfigError, match=r"no such job file; did you mean .*job\.yaml\?"):
        load_job(tmp_path / "jub.yaml")


def test_paths_are_relative_to_the_job_file_and_urls_are_left_alone(tmp_path: Path) -> None:
    job = load_job(job_file(tmp_path, source={"path": "../rows.csv"}, output={"path": "s3://bucket/out"}))
    assert job.source.path == str(tmp_path.parent / "rows.csv")
    assert job.output.path == "s3://bucket/out"


@pytest.mark.parametrize(
    ("folder", "output"),
    [
        ("lib/python3.11/site-packages/configs/jobs", "../../out"),  # as the sample jobs of a wheel have it
        ("lib/python3/dist-packages/configs/jobs", "out"),
        ("jobs", "../lib/site-packages/out.parquet"),
        ("jobs", "file://{tmp}/site-packages/out"),
        ("link/configs", "out"),
    ],
)
def test_no_output_goes_among_installed_packages(tmp_path: Path, folder: str, output: str) -> None:
    (tmp_path / "venv" / "site-packages").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "venv" / "site-packages")
    (tmp_path / folder).mkdir(parents=True)
    path = job_file(tmp_path / folder, output={"path": output.replace("{tmp}", str(tmp_path))})
    with pytest.raises(
        ConfigError, match=r"job\.yaml: output\.path: .*/out.* lies among installed packages"
    ) as error:
        load_job(path)
    assert "\n" not in str(error.value)
    elsewhere = tmp_path / "out"
    assert load_job(path, [f"output.path={elsewhere}"]).output.path == str(elsewhere)
    assert load_job(path, ["output.path=s3://bucket/site-packages/out"]).output.path.startswith("s3://")


def test_no_output_goes_into_a_folder_that_nightmail_was_installed_into_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("configs.load._CHECKOUT", tmp_path)
    assert load_job(job_file(tmp_path)).output.path == str(tmp_path / "out")
    (tmp_path / "nightmail-0.1.0.dist-info").mkdir()
    with pytest.raises(ConfigError, match="lies among installed packages"):
        load_job(job_file(tmp_path))


def test_a_source_among_installed_packages_may_be_read(tmp_path: Path) -> None:
    data = tmp_path / "site-packages" / "data" / "rows.csv"
    assert load_job(job_file(tmp_path, source={"path": str(data)})).source.path == str(data)


def test_prompts_and_schemas_may_live_in_files_beside_the_job(tmp_path: Path) -> None:
    (tmp_path / "ask.md").write_text("Sort {{ body }}", encoding="utf-8")
    (tmp_path / "answer.json").write_text('{"type": "object"}')
    prompt = {"model": "m", "user": {"file": "ask.md"}, "schema": {"file": "answer.json"}}
    job = load_job(job_file(tmp_path, prompt=prompt))
    assert (job.prompt.user, job.prompt.answer_schema) == ("Sort {{ body }}", {"type": "object"})


def test_a_missing_prompt_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"prompt file .*ask\.md cannot be read"):
        load_job(job_file(tmp_path, prompt={"model": "m", "user": {"file": "ask.md"}}))


def test_the_date_is_yesterday_where_the_job_lives(tmp_path: Path) -> None:
    noon = datetime.datetime(2026, 11, 22, 20, 0, tzinfo=datetime.UTC)
    tokyo = load_job(job_file(tmp_path, timezone="Asia/Tokyo"))
    assert logical_date(tokyo, None, noon) == datetime.date(2026, 11, 22)
    assert logical_date(load_job(job_file(tmp_path)), None, noon) == datetime.date(2026, 11, 21)
    assert logical_date(tokyo, datetime.date(2020, 1, 1), noon) == datetime.date(2020, 1, 1)


def test_names_are_filled_in_and_templates_and_json_left_alone(tmp_path: Path) -> None:
    prompt = {"model": "m", "user": 'On {date} ({key}): {{ body }} {"date": 1} {unknown}'}
    job = load_job(job_file(tmp_path, prompt=prompt, output={"path": "out/{job}/{year}-{month}-{day}"}))
    filled = resolve(job, datetime.date(2026, 1, 2), "k1")
    assert filled.prompt.user == 'On 2026-01-02 (k1): {{ body }} {"date": 1} {unknown}'
    assert filled.output.path.endswith("out/triage/2026-01-02")


def test_an_unknown_name_in_a_path_is_an_error(tmp_path: Path) -> None:
    job = load_job(job_file(tmp_path, output={"path": "out/{dat}"}))
    with pytest.raises(ConfigError, match=r"unknown name \{dat\}; known: \{date\}"):
        resolve(job, datetime.date(2026, 1, 2), "k")


@pytest.mark.parametrize("key", ["", "a/b", "../x", "a b", "-x", "x" * 64])
def test_keys_that_cannot_name_a_folder_are_refused(key: str) -> None:
    with pytest.raises(ConfigError, match="--key"):
        run_key(datetime.date(2026, 1, 2), key)


def test_only_what_shapes_the_output_is_part_of_a_runs_identity(tmp_path: Path) -> None:
    before = identity(load_job(job_file(tmp_path)))
    pacing = [
        "poll.first_seconds=1",
        "retry.max_attempts=9",
        "limits.max_requests=5",
        "provider.concurrency=9",
        "description=Weekly letters",
    ]
    assert changes(before, identity(load_job(job_file(tmp_path), pacing))) == []
    asked = ["prompt.model=other", "source.limit=3"]
    assert changes(before, identity(load_job(job_file(tmp_path), asked))) == ["prompt.model", "source.limit"]


def test_a_key_that_came_later_is_no_change_of_a_run_that_began_before(tmp_path: Path) -> None:
    now = identity(load_job(job_file(tmp_path)))
    before = {**now, "output": {key: value for key, value in now["output"].items() if key != "result_lines"}}
    assert before != now
    assert changes(before, now) == []
    lines = {**now, "output": {**now["output"], "result_lines": True}}
    assert changes(before, lines) == ["output.result_lines"]


def test_roots_of_files_are_relative_to_the_job_file_and_part_of_the_identity(tmp_path: Path) -> None:
    plain = load_job(job_file(tmp_path))
    assert "files" not in identity(plain)["source"], "as in runs that began before there was such a key"
    given = ["source.files.roots=[img, '../{key}', 's3://b/{date}', /abs/x]"]
    rooted = load_job(job_file(tmp_path), given)
    assert changes(identity(plain), identity(rooted)) == ["source.files.max_bytes", "source.files.roots"]
    assert resolve(rooted, datetime.date(2026, 1, 2), "k").source.files.roots == (
        f"{tmp_path}/img",
        f"{tmp_path.parent}/k",
        "s3://b/2026-01-02",
        "/abs/x",
    )


@pytest.mark.parametrize(
    "root", ["http://x.y/img", "HTTPS://x.y/img", "simplecache::s3://b/img", "zip://*::a.zip", "", " "]
)
def test_roots_below_which_nobody_can_tell_what_lies_are_refused(tmp_path: Path, root: str) -> None:
    with pytest.raises(ConfigError, match=r"source\.files\.roots: (must be a local folder|an empty name)"):
        load_job(job_file(tmp_path, source={"path": "rows.csv", "files": {"roots": ["img", root]}}))


@pytest.mark.parametrize("levels", [201, 5_000])
@pytest.mark.parametrize("place", ["job", "file", "override"])
def test_what_is_nested_too_deeply_to_be_sent_is_refused(tmp_path: Path, place: str, levels: int) -> None:
    deep = '{"a":' * levels + "1" + "}" * levels
    given = {"job": deep, "file": "{file: s.json}", "override": "{}"}[place]
    (tmp_path / "s.json").write_text(deep)
    lines = (
        "name: n",
        "source: {path: p}",
        f"prompt: {{model: m, user: u, schema: {given}}}",
        "output: {path: o}",
    )
    (tmp_path / "job.yaml").write_text("\n".join(lines))
    with pytest.raises(
        ConfigError, match=r"nested more than 200 levels deep|not valid YAML; quote it"
    ) as caught:
        load_job(tmp_path / "job.yaml", [f"prompt.schema={deep}"] if place == "override" else [])
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize("path", sorted((ROOT / "configs/jobs").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_jobs_load_and_satisfy_the_published_schema(path: Path) -> None:
    load_job(path)
    validator = jsonschema_rs.validator_for(json.loads(json.dumps(job_schema())))
    assert list(validator.iter_errors(yaml.safe_load(path.read_text(encoding="utf-8")))) == []
