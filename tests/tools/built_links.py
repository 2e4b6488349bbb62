"""Looks for links within built documentation that lead nowhere. Argument: its folder.

Sphinx checks what pages refer to before they are built; this reads what a browser is given, files
beside the pages included. Addresses of other sites are not asked.
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

SCRIPTED = "report/index.html"
"""The page whose names its script makes, so that they are not known here."""


class Page(HTMLParser):
    """The links of a page, and the names that links may lead to.

    :param path: its file.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.names: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the links and names of an element."""
        for attribute, value in attrs:
            if attribute in ("href", "src") and value:
                self.links.add(value)
            elif attribute == "id" and value:
                self.names.add(value)


def broken(folder: Path) -> list[str]:
    """Return the links that lead nowhere, each with its page.

    :param folder: the built documentation.
    """
    root = folder.resolve()
    pages = {path: Page(path) for path in root.rglob("*.html") if path != root / SCRIPTED}
    return [
        f"{path.relative_to(root)}: {link}"
        for path, page in sorted(pages.items())
        for link in sorted(page.links)
        if not _leads_somewhere(path, link, pages)
    ]


def _leads_somewhere(path: Path, link: str, pages: dict[Path, Page]) -> bool:
    address = urlsplit(link)
    if address.scheme or address.netloc:
        return True
    target = (path.parent / unquote(address.path)).resolve() if address.path else path
    if not address.fragment or target not in pages:
        return target.is_file()
    return unquote(address.fragment) in pages[target].names


def main() -> int:
    """Print the links; return 1 if there are any."""
    found = broken(Path(sys.argv[1]))
    for line in found:
        print(f"leads nowhere: {line}")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
