"""Rule: git and patch take the patch of the FAQ, on the file that Transformer Engine has."""

from __future__ import annotations

import functools
import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from docutils.core import publish_doctree

from matrix.catalogue import faq
from matrix.cli import main
from matrix.errors import SourceUnavailable
from matrix.lane import git
from matrix.report.faq_patch import table

DOCUMENTATION = faq.load()
PUBLISHED = DOCUMENTATION.published
MAIN = "d0067d0da6cb01811b8072a7d304f0e00344ce2b"
"""The newest commit that was read; what the branch has by now is not for a test to follow."""
PROGRAMS = [words for words in (("git", "apply", "-"), ("patch", "-p1")) if shutil.which(words[0])]


@functools.cache
def printed() -> str:
    result = CliRunner().invoke(main, ["bands", "--faq"])
    assert result.exit_code == 0, result.output
    return result.output


def applied(folder: Path, before: str, *words: str) -> str:
    """The file after a program was given the patch; any complaint of the program is an error."""
    file = folder / PUBLISHED.file
    file.parent.mkdir(parents=True)
    file.write_text(before)
    subprocess.run(["git", "init", "--quiet"], cwd=folder, check=True)
    done = subprocess.run(
        words, cwd=folder, input=printed(), check=True, text=True, capture_output=True
    )
    assert "fuzz" not in done.stdout
    assert "offset" not in done.stdout
    assert done.stderr == ""
    return file.read_text()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("words", PROGRAMS, ids=lambda words: words[0])
def test_the_rendered_list_takes_the_patch(tmp_path: Path, words: tuple[str, ...]) -> None:
    above = "".join(f"Line {number}.\n" for number in range(1, PUBLISHED.line))
    after = applied(tmp_path / "a", above + table.as_published(DOCUMENTATION), *words)
    assert after.startswith(above)
    assert "Transformer Engine 1.0 to 2.20.2" in after


@pytest.mark.parametrize("ref", ["v1.12", "v2.9", "v2.18", MAIN])
def test_the_published_file_takes_the_patch(tmp_path: Path, ref: str) -> None:
    url = git.chosen_url(None)
    try:
        git.export(url, git.resolve(url, ref), tmp_path / "te", PUBLISHED.file)
    except SourceUnavailable as error:
        pytest.skip(f"Transformer Engine's own file cannot be had: {error}")
    before = (tmp_path / "te" / PUBLISHED.file).read_text()
    end = "".join(before.splitlines(keepends=True)[PUBLISHED.line - 1 :])
    assert end == table.as_published(DOCUMENTATION)
    assert hashlib.sha256(end.encode()).hexdigest() == PUBLISHED.sha256
    after = [applied(tmp_path / words[0], before, *words) for words in PROGRAMS]
    assert len(set(after)) == 1 and before not in after
    publish_doctree(after[0], settings_overrides={"halt_level": 2, "report_level": 2})
