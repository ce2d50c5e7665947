"""What the documentation tells people to type works, and shows what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from configs.load import load_job
from configs.providers.openai import OpenAIProvider
from rigs.pages import Block, blocks, other_services

_BOOTSTRAP = "python3 deployments/bootstrap.py "
_LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory, root: Path, readme: list[Block]) -> tuple[Path, str]:
    """README's `sh` blocks, run in order in a folder with its example files; the folder and what was printed."""
    folder = tmp_path_factory.mktemp("readme")
    shutil.copytree(root / "configs" / "jobs", folder / "configs" / "jobs")
    for block in readme:
        if block.file:
            (folder / block.file).write_text(block.text, encoding="utf-8")
    script = "".join(block.text for block in readme if block.language == "sh")
    # The environment is there already, and these tests are one of the commands.
    lines = [line.removeprefix(_BOOTSTRAP) for line in script.splitlines()]
    commands = "\n".join(line for line in lines if not line.startswith("pytest"))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environ = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_API", "NIGHTMAIL_"))}
    environ |= {"PATH": path, "NIGHTMAIL_HOME": str(folder / ".nightmail")}
    done = subprocess.run(
        ["bash", "-euxc", commands], cwd=folder, env=environ, capture_output=True, text=True, timeout=900
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, done.stdout


@pytest.mark.slow
def test_commands_show_what_readme_shows(session: tuple[Path, str], readme: list[Block]) -> None:
    _, printed = session
    shown = [block.text for block in readme if block.language == "text" and "  output" in block.text][:2]
    for sample in shown:
        first_words = [line.split()[0] for line in sample.splitlines() if line.startswith("  ")]
        assert first_words
        for word in first_words:
            assert re.search(rf"^  {word} ", printed, re.MULTILINE), (
                f"README shows a line {word!r}; nobody prints it"
            )


@pytest.mark.slow
@pytest.mark.parametrize("reader", ["pandas", "duckdb", "polars"])
def test_python_examples_run_on_the_output(
    session: tuple[Path, str], readme: list[Block], reader: str
) -> None:
    pytest.importorskip(reader)
    folder, _ = session
    examples = [block.text for block in readme if block.language == "python" and reader in block.text]
    assert examples
    for example in examples:
        done = subprocess.run(
            [sys.executable, "-c", example], cwd=folder, capture_output=True, text=True, timeout=300
        )
        assert "succeeded" in done.stdout, done.stderr


def test_example_jobs_are_valid(yaml_blocks: dict[str, str], tmp_path: Path) -> None:
    assert len(yaml_blocks) >= 3
    for name, text in yaml_blocks.items():
        file = tmp_path / (re.sub(r"\W", "-", name) + ".yaml")
        file.write_text(text, encoding="utf-8")
        load_job(file)


def test_sections_of_jobs_are_valid(tmp_path: Path) -> None:
    """Blocks that show one section of a job file or two, e.g. what a prompt of pictures looks like."""
    texts = [block.text for block in blocks("configs/README.md") if block.language == "text"]
    found = [text for text in texts if re.match(r"(?:source|prompt): *(?:\{|$)", text, re.MULTILINE)]
    assert len(found) >= 2
    (tmp_path / "images").mkdir()
    for text in found:
        job = {
            "name": "shown",
            "source": {"path": "rows.csv"},
            "prompt": {"model": "m", "user": "hi"},
            "output": {"path": "out"},
        }
        file = tmp_path / "job.yaml"
        file.write_text(yaml.safe_dump({**job, **yaml.safe_load(text)}), encoding="utf-8")
        load_job(file)


def test_sections_for_other_services_are_valid(tmp_path: Path) -> None:
    """Each with its own key, and at its own address."""
    services = [*other_services()]
    assert {"Groq", "Together"} <= {service.name for service in services}
    assert len({service.provider["base_url"] for service in services}) == len(services)
    for service in services:
        job = {
            "name": "shown",
            "source": {"path": "rows.csv"},
            "prompt": {"model": "m", "user": "hi"},
            "provider": service.provider,
            "limits": service.limits,
            "output": {"path": "out"},
        }
        file = tmp_path / "job.yaml"
        file.write_text(yaml.safe_dump(job), encoding="utf-8")
        provider = load_job(file).provider
        assert isinstance(provider, OpenAIProvider)
        assert provider.api_key_env != OpenAIProvider.default_key_variable(), service.name


def test_sample_jobs_are_valid(root: Path) -> None:
    for file in (root / "configs" / "jobs").glob("*.yaml"):
        load_job(file)


def test_links_between_pages_lead_somewhere(root: Path) -> None:
    for page in (*root.glob("*.md"), *root.glob("*/README.md")):
        for link, section in _LINK.findall(page.read_text(encoding="utf-8")):
            target = page.parent / link if link else page
            assert target.exists(), f"{page.name}: {link}"
            assert not section or section in _sections(target), f"{page.name}: {link}#{section}"


def _sections(page: Path) -> list[str]:
    """What links to the page's headings end in, as GitHub makes it."""
    headings = _HEADING.findall(page.read_text(encoding="utf-8"))
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]
