"""Rule: mypy refuses a misspelt word and a misspelt field."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CODE = """\
from matrix.catalogue.words import Stage, Verdict
from matrix.store.records import Load


def conforms(verdict: Verdict) -> bool:
    return verdict == {word}


def stage(load: Load) -> Stage:
    return load.{field}
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep what mypy read of the package from one check to the next."""
    return tmp_path_factory.mktemp("mypy")


@pytest.mark.parametrize(
    ("word", "field", "complaint"),
    [
        ("Verdict.CONFORMS", "stage", None),
        ("'confroms'", "stage", "comparison-overlap"),
        ("'conforms'", "stage", "comparison-overlap"),
        ("Verdict.CONFROMS", "stage", 'has no attribute "CONFROMS"'),
        ("Verdict.CONFORMS", "stge", '"Load" has no attribute "stge"'),
    ],
)
def test_mypy_knows_words_and_fields(
    word: str, field: str, complaint: str | None, cache: Path, tmp_path: Path
) -> None:
    path = tmp_path / "checked.py"
    path.write_text(CODE.format(word=word, field=field))
    command = [sys.executable, "-m", "mypy", "--follow-imports", "silent"]
    done = subprocess.run(
        [*command, "--cache-dir", str(cache), str(path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == (1 if complaint else 0), done.stdout
    assert (complaint or "no issues found") in done.stdout
