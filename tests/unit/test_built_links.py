"""Rule: a link in built documentation that leads nowhere is found, with its page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools import built_links

TARGET = '<h1 id="the-top">Top</h1>'


@pytest.mark.parametrize(
    ("link", "found"),
    [
        ("b.html", True),
        ("b.html#the-top", True),
        ("#here", True),
        ("tables/c%20d.toml", True),
        ("https://elsewhere.example/nothing", True),
        ("mailto:someone@elsewhere.example", True),
        ("report/index.html#made/by/its/script", True),
        ("nosuch.html", False),
        ("b.html#nosuch", False),
        ("#nosuch", False),
        ("tables", False),
        ("nosuch.html#the-top", False),
    ],
)
@pytest.mark.parametrize("element", ['<a href="{}">', '<img src="{}">'])
def test_a_link_that_leads_nowhere_is_found(
    element: str,
    link: str,
    found: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for folder in ("tables", "report"):
        (tmp_path / folder).mkdir()
    (tmp_path / "a.html").write_text(f'<p id="here">{element.format(link)}')
    (tmp_path / "b.html").write_text(TARGET)
    (tmp_path / "tables" / "c d.toml").touch()
    (tmp_path / "report" / "index.html").write_text('<a href="#also/by/script">')
    monkeypatch.setattr("sys.argv", ["built_links.py", str(tmp_path)])
    assert built_links.main() == (0 if found else 1)
    assert capsys.readouterr().out == ("" if found else f"leads nowhere: a.html: {link}\n")
