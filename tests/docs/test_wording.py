"""What may stand in no file of the project."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

# In pieces, or this file would be the first to be found.
_FORBIDDEN = {
    "a package index": "index" + "-url",
    "advice to install it from an index": r"pip install ['\"`]?" + "nightmail",
    "a path of the machine it was written on": r"(?<![\w.\]}-])/(work|tmp/nm|root|opt/pypi|opt/wheels)/[a-z.]",
}


def _texts(root: Path) -> dict[str, str]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=False)
    names = [name for name in listed.stdout.split("\0") if name]
    if not names:
        pytest.skip("not a git checkout")
    files = [root / name for name in names]
    return {
        str(file.relative_to(root)): file.read_text(encoding="utf-8", errors="replace")
        for file in files
        if file.is_file() and file.suffix not in (".parquet", ".gz", ".zst", ".png")
    }


@pytest.mark.parametrize("what", sorted(_FORBIDDEN))
def test_no_file_names(what: str, root: Path) -> None:
    pattern = re.compile(_FORBIDDEN[what])
    found = [f"{name}: {hit[0]}" for name, text in _texts(root).items() if (hit := pattern.search(text))]
    assert not found


@pytest.mark.parametrize(
    "name", ["requirements.lock", "tests/s3_servers.lock", "tests/browser.lock", "tests/tokens.lock"]
)
def test_the_lock_names_versions_and_hashes_but_no_place(root: Path, name: str) -> None:
    lock = (root / name).read_text(encoding="utf-8")
    assert "://" not in lock
    assert not re.search(r"^\s*(-i\b|--(index|find|trusted|extra))", lock, re.MULTILINE)
    for line in lock.splitlines():
        assert re.fullmatch(
            r"[A-Za-z0-9._\[\],-]+==\S+( ; [^;]+)? \\|    --hash=sha256:[0-9a-f]{64}( \\)?", line
        ), line
