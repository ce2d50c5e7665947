"""Load and validate job files, and fill in a job for one run."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, get_args

import yaml
from pydantic import BaseModel, ValidationError

from configs.budgets import HouseBudget, HouseBudgets
from configs.errors import ConfigError
from configs.foreign_text import secret_in_url
from configs.job import Job, SourceFiles
from configs.places import absolute, folder_of, is_url
from configs.providers.registry import PROVIDERS, AnyProvider, provider_class
from configs.request import job_files
from configs.trials import is_trial, key_without_mark

KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_PROVIDER_NAMES = tuple(PROVIDERS)  # pydantic puts the chosen provider's name into an error's location
_PRICES = Path(__file__).with_name("prices.yaml")
_BUDGETS = Path(__file__).with_name("budgets.yaml")
_JOB_FORM = "a job file is a mapping with name, source, prompt and output; see `nightmail schema`"
_BUDGETS_FORM = "it holds one key, budgets, with a list; see the comment at its top"
_CHECKOUT = Path(__file__).resolve().parents[1]
_DEEPEST = 200  # orjson writes 254 levels
_TOO_DEEP = f"is nested more than {_DEEPEST} levels deep; write it flatter"
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")
_REQUEST_FILE = re.compile(r"\.(jsonl|ndjson)(\.(gz|zst|bz2|xz))?$", re.IGNORECASE)
_PLACEHOLDER = re.compile(r"(?<!\{)\{(date|year|month|day|key|job)\}(?!\})")


class _StrictLoader(yaml.SafeLoader):
    """A YAML SafeLoader that refuses duplicate keys; PyYAML would silently keep the last one."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is given twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load_job(
    path: str | Path, overrides: Iterable[str] = (), read: Callable[[str], str] | None = None
) -> Job:
    """Load a job file, apply overrides (`a.b=value` items, values in YAML) and validate it. A file of ready requests is a job
    by itself (see `requests_job`).

    Prompt files are read in and relative paths made absolute, so the result stands on its own. `read` gives the text behind
    a URL; without it, only files of this machine are read (`tasks.storage.job_files.load_job_file` reads both).
    Raises ConfigError naming file, key and what is allowed.
    """
    file = str(path)
    read = _read_text if read is None or not is_url(file) else read
    tree = requests_job(file) if is_request_file(file) else _parse_yaml(read(file), file)
    for item in overrides:
        _override(tree, item)
    base = folder_of(file)
    try:
        if isinstance(tree.get("prompt"), dict):
            tree["prompt"] = _inline_files(tree["prompt"], base, file, read)
        _refuse_deep_values(tree, file)
    except RecursionError as error:
        raise ConfigError(f"{file}: {_TOO_DEEP}") from error
    try:
        job = Job.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(f"{file}: {_first_problem(error)}") from error
    files = job.source.files
    urls = [("source.path", job.source.path), ("output.path", job.output.path)]
    for key, url in [*urls, *(("source.files.roots", root) for root in files.roots)]:
        secret = secret_in_url(url)
        if secret:
            raise ConfigError(
                f"{file}: {key}: the URL holds {secret}, and the ledger keeps job files; give credentials through the"
                " environment of the storage, or download the file first"
            )
    output = absolute(job.output.path, base)
    _refuse_package_folder(output, file)
    roots = tuple(absolute(root, base) for root in files.roots)
    placed = {
        "path": absolute(job.source.path, base),
        "files": files.model_copy(update={"roots": roots}),
    }
    return job.model_copy(
        update={
            "source": job.source.model_copy(update=placed),
            "output": job.output.model_copy(update={"path": output}),
        }
    )


def is_request_file(path: str) -> bool:
    """Whether a path is that of a file of ready requests and not of a job file, by its ending."""
    return bool(_REQUEST_FILE.search(path))


def requests_job(path: str) -> dict[str, Any]:
    """The content of the job file that a file of ready requests stands for: it names the job, and the output is beside it."""
    whole = absolute(path, str(Path.cwd()))
    beside = _REQUEST_FILE.sub("", whole)
    name = re.sub(r"[^a-z0-9_-]+", "-", beside.rpartition("/")[2].lower()).strip("-_")[:63]
    return {
        "name": name or "requests",
        "source": {"path": whole, "format": "requests"},
        "output": {"path": f"{beside}-answers"},
    }


def load_provider(name: str, overrides: Iterable[str] = ()) -> AnyProvider:
    """Provider settings without a job file: its defaults, and `provider.*` overrides."""
    tree: dict[str, Any] = {"provider": {"name": name}}
    for item in overrides:
        _override(tree, item)
    kind = provider_class(name)
    try:
        return kind.model_validate(tree["provider"])
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(["provider", *map(str, problem["loc"])])
        raise ConfigError(f"{key}: {_message(problem['msg'])}; give it with --set {key}=...") from error


def logical_date(job: Job, given: date | None, now: datetime) -> date:
    """The logical date of a run: the given one, else the day before `now` in the job's time zone."""
    return given or now.astimezone(job.zone).date() - timedelta(days=1)


def run_key(day: date, given: str | None) -> str:
    """The key of a run: the given one (letters, digits, `.`, `_`, `-`, at most 63), else the date."""
    if given is None:
        return day.isoformat()
    if not KEY.fullmatch(given):
        raise ConfigError(
            f"--key {given!r}: use at most 63 letters, digits, '.', '_' or '-', starting with a letter or digit"
        )
    if is_trial(given):
        raise ConfigError(
            f"--key {given!r}: this ending marks trials; for the trial itself, give --key {key_without_mark(given)} and --limit"
        )
    return given


def resolve(job: Job, day: date, key: str) -> Job:
    """The job with the placeholders {date}, {year}, {month}, {day}, {key} and {job} filled in, in paths and prompt."""
    names = {
        "date": day.isoformat(),
        "year": f"{day:%Y}",
        "month": f"{day:%m}",
        "day": f"{day:%d}",
        "key": key,
        "job": job.name,
    }
    files = job.source.files
    paths = (job.source.path, job.output.path, *files.roots)
    for text in paths:
        unknown = re.search(r"\{([^{}]*)\}", _PLACEHOLDER.sub("", text))
        if unknown:
            raise ConfigError(
                f"{text}: unknown name {{{unknown[1]}}}; known: {', '.join(f'{{{name}}}' for name in names)}"
            )
    prompt = job.prompt.model_dump(mode="json", by_alias=True)
    schema = prompt.pop("schema")
    filled = type(job.prompt).model_validate({**_fill_placeholders(prompt, names), "schema": schema})
    roots = tuple(_fill_placeholders(root, names) for root in files.roots)
    placed = {
        "path": _fill_placeholders(job.source.path, names),
        "files": files.model_copy(update={"roots": roots}),
    }
    return job.model_copy(
        update={
            "source": job.source.model_copy(update=placed),
            "output": job.output.model_copy(update={"path": _fill_placeholders(job.output.path, names)}),
            "prompt": filled,
        }
    )


def identity(job: Job) -> dict[str, Any]:
    """The part of a job that determines its output; if it differs, an existing run cannot be resumed.

    Polling, retries, reuse, limits, budget, deadline and execution are not part of it: they may change while a run sleeps.
    Nor is the prompt cache, which changes what an answer costs alone, the description, or the schedule.
    """
    besides = dict.fromkeys(
        (
            "description",
            "poll",
            "retry",
            "reuse",
            "run",
            "limits",
            "budget",
            "deadline",
            "execution",
            "timezone",
            "schedule",
        ),
        True,
    )
    tree = job.model_dump(mode="json", by_alias=True, exclude={**besides, "prompt": {"cache"}})
    if not job.output.include:  # as in runs that began before there was such a key
        del tree["output"]["include"]
    if job.source.files == SourceFiles():
        del tree["source"]["files"]
    tree["provider"] = {k: v for k, v in tree["provider"].items() if k in job.provider.identity_keys}
    return tree


# Keys that identities of earlier versions lack, and what their runs do.
_LATER_KEYS: Final = {"output.result_lines": False}


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """The dotted keys that differ between two identities."""
    old, new = _LATER_KEYS | _flatten(before), _LATER_KEYS | _flatten(after)
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def job_schema() -> dict[str, Any]:
    """JSON Schema of the job file, for editors."""
    return Job.model_json_schema(by_alias=True) | {"$schema": "https://json-schema.org/draft/2020-12/schema"}


def load_prices() -> Any:
    """The content of `configs/prices.yaml`: the user's own prices."""
    return yaml.safe_load(_PRICES.read_text(encoding="utf-8"))


def load_budgets() -> tuple[HouseBudget, ...]:
    """The entries of `configs/budgets.yaml`; none when there is no such file. ConfigError names the key that is wrong."""
    if not _BUDGETS.exists():
        return ()
    tree = _parse_yaml(_read_text(str(_BUDGETS)), str(_BUDGETS), _BUDGETS_FORM)
    try:
        return HouseBudgets.model_validate(tree).budgets
    except ValidationError as error:
        problem = _first_problem(error, HouseBudgets)
        raise ConfigError(f"{_BUDGETS}: {problem}; correct the file, nothing was posted") from error


def _read_text(name: str) -> str:
    file = Path(name)
    try:
        return file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        similar_names = difflib.get_close_matches(
            file.name, [Path(each).name for each in job_files(file.parent)], 1
        )
        hint = (
            f"did you mean {file.parent / similar_names[0]}?"
            if similar_names
            else "give the path of a job file, e.g. configs/jobs/quickstart.yaml"
        )
        raise ConfigError(f"{file}: no such job file; {hint}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{file}: cannot be read as UTF-8 text ({error}); check the path and its permissions"
        ) from error


def _parse_yaml(text: str, file: str, form: str = _JOB_FORM) -> dict[str, Any]:
    try:
        tree = yaml.load(text, _StrictLoader)  # noqa: S506 - a SafeLoader subclass
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that is none, a number of 5,000 digits
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise ConfigError(
            f"{file}:{where} not valid YAML: {getattr(error, 'problem', error)}; fix that line"
        ) from error
    except RecursionError as error:
        raise ConfigError(f"{file}: {_TOO_DEEP}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{file}: {form}")
    return tree


def _override(tree: dict[str, Any], item: str) -> None:
    dotted, equals, value = item.partition("=")
    if not equals or not dotted:
        raise ConfigError(f"--set {item!r}: write it as key=value, e.g. --set prompt.model=gpt-5.4-mini")
    *parents, leaf = dotted.strip().split(".")
    try:
        parsed = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"--set {item[:200]!r}: the value is not valid YAML; quote it") from error
    provider = tree.get("provider")
    if dotted == "provider.name" and isinstance(provider, dict) and provider.get("name", "local") != parsed:
        tree["provider"] = {}  # other providers have other keys: start with an empty section
    node = tree
    for name in parents:
        child = node.setdefault(name, {})
        if not isinstance(child, dict):
            raise ConfigError(f"--set {item!r}: {name} is a value, not a section")
        node = child
    node[leaf] = parsed


def _inline_files(node: Any, base: str, job_file: str, read: Callable[[str], str]) -> Any:
    """Replace every `{file: path}` below the prompt by that file's content (parsed for .json)."""
    if isinstance(node, list):
        return [_inline_files(child, base, job_file, read) for child in node]
    if not isinstance(node, dict):
        return node
    if set(node) != {"file"} or not isinstance(node["file"], str):
        return {key: _inline_files(child, base, job_file, read) for key, child in node.items()}
    path = absolute(node["file"], base)
    # Whoever may start a run may set this: without a limit, every file that the process can read.
    if not _is_below(path, base):
        raise ConfigError(
            f"{job_file}: prompt file {node['file']} is outside of {base}, the job file's folder; copy it there"
        )
    try:
        text = read(path) if is_url(path) else Path(path).read_text(encoding="utf-8-sig")
        return json.loads(text) if path.endswith(".json") else text
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{job_file}: prompt file {path} cannot be read ({error}); paths are relative to the job file"
        ) from error
    except json.JSONDecodeError as error:
        raise ConfigError(
            f"{path}: line {error.lineno} is not valid JSON: {error.msg}; fix that line"
        ) from error


def _is_below(path: str, folder: str) -> bool:
    if is_url(folder):
        inside = path.removeprefix(f"{folder}/")
        # A store that is a file system (sftp) would follow these.
        return inside != path and not {".", ".."} & set(inside.split("/"))
    return not is_url(path) and Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder))


def _refuse_deep_values(tree: dict[str, Any], file: str) -> None:
    """ConfigError for what no writer of JSON could send."""
    for section, content in tree.items():
        level: list[Any] = [content]
        for _ in range(_DEEPEST):
            level = [child for node in level for child in _children(node)]
        if level:
            raise ConfigError(f"{file}: {section} {_TOO_DEEP}")


def _children(node: Any) -> Iterable[Any]:
    return node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()


def _refuse_package_folder(output: str, job_file: str) -> None:
    """ConfigError for an output below a folder that pip installs packages into, symbolic links followed.

    A wheel of this project brings its sample jobs there. Reading their data is harmless, writing is not.
    """
    local = output.removeprefix("file://")
    if is_url(local):
        return
    resolved = Path(os.path.realpath(local))
    # `pip install --target` names the folder itself. A checkout has no dist-info beside its packages.
    beside_us = resolved.is_relative_to(_CHECKOUT) and any(_CHECKOUT.glob("nightmail-*.dist-info"))
    if beside_us or any(name in _PACKAGE_FOLDERS for name in resolved.parts):
        raise ConfigError(
            f"{job_file}: output.path: {output} lies among installed packages, where an upgrade may remove it;"
            " copy the job file and its data to a folder of your own, or give an absolute path:"
            " --set output.path=/..."
        )


def _fill_placeholders(node: Any, names: Mapping[str, str]) -> Any:
    if isinstance(node, str):
        return _PLACEHOLDER.sub(lambda match: names[match[1]], node)
    if isinstance(node, dict):
        return {key: _fill_placeholders(child, names) for key, child in node.items()}
    if isinstance(node, list):
        return [_fill_placeholders(child, names) for child in node]
    return node


def _flatten(node: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(node, Mapping) and node:
        return {
            k: v
            for key, child in node.items()
            for k, v in _flatten(child, f"{prefix}.{key}" if prefix else str(key)).items()
        }
    return {prefix: node}


def _first_problem(error: ValidationError, root: type[BaseModel] = Job) -> str:
    # A key that is not known may be the one that is missing, misspelt: it is named first.
    problem = min(error.errors(), key=lambda each: each["type"] != "extra_forbidden")
    where = [str(part) for part in problem["loc"] if part not in _PROVIDER_NAMES]
    dotted = ".".join(where) or "job"
    context = problem.get("ctx", {})
    kind = problem["type"]
    if kind == "extra_forbidden":
        known = _known_keys([str(part) for part in problem["loc"][:-1]], root)
        similar_names = difflib.get_close_matches(where[-1], known, 1)
        hint = f"did you mean {similar_names[0]}?" if similar_names else f"allowed: {', '.join(known)}"
        return f"{dotted}: unknown key; {hint}"
    if kind == "missing":
        form = "`nightmail schema`" if root is Job else "the comment at the top of the file"
        return f"{dotted}: is required; see {form} for its form"
    if kind in ("literal_error", "union_tag_invalid"):
        allowed = context.get("expected") or context.get("expected_tags")
        given = context.get("tag", problem["input"])
        dotted = f"{dotted}.name" if kind == "union_tag_invalid" else dotted
        return f"{dotted}: {given!r} is not known; allowed: {allowed}"
    message = _message(problem["msg"])
    if not where:
        return message  # about the whole job: the message names the key itself
    is_secret = where[-1].startswith("api_key") or secret_in_url(str(problem["input"]))
    given = (
        ""
        if isinstance(problem["input"], Mapping) or is_secret
        else f" (given: {str(problem['input'])[:80]!r})"
    )
    return f"{dotted}: {message}{given}"


def _message(text: str) -> str:
    """What a validator says, as the rest of a line: ours as it stands (it may begin with a name), pydantic's in lower case."""
    ours = text.removeprefix("Value error, ")
    return ours if ours != text else text[0].lower() + text[1:]


def _known_keys(where: list[str], root: type[BaseModel]) -> list[str]:
    """The keys that are allowed at this path of the file that `root` describes."""
    models: list[type[BaseModel]] = [root]
    for name in where:
        if name.isdigit():  # an item of a list
            continue
        if name in _PROVIDER_NAMES:
            models = [m for m in models if name in get_args(m.model_fields["name"].annotation)]
            continue
        fields = [model.model_fields[name] for model in models if name in model.model_fields]
        models = [inner for field in fields for inner in _models_in(field.annotation)]
    return sorted({field.alias or name for model in models for name, field in model.model_fields.items()})


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]
