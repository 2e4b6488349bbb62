"""Links from pages to files of the repository that are no pages, such as tables and programs.

Where ``source_url`` says where a code host shows the repository, they lead there. Where it is
empty, a file is copied beside the pages, and a folder is named without a link.
"""

from __future__ import annotations

from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform


class RepositoryLinks(SphinxTransform):
    """Turns links to files and folders of the repository into links to ``source_url``."""

    # Before Sphinx collects the files to copy, which it does when a page was read.
    default_priority = 500

    def apply(self) -> None:
        """Replace the links of one page."""
        base: str = self.config.source_url.rstrip("/")
        for node in list(self.document.findall(_is_link)):
            place = self._target(node)
            if base and place.exists():
                address = f"{base}/{place.relative_to(self.env.srcdir).as_posix()}"
                node.replace_self(nodes.reference("", "", *node.children, refuri=address))
            elif place.is_dir():
                node.replace_self(node.children)

    def _target(self, node: nodes.Element) -> Path:
        _relative, absolute = self.env.relfn2path(node["reftarget"], self.env.docname)
        return Path(absolute)


def _is_link(node: nodes.Node) -> bool:
    """Return whether a node is a link that MyST found no page for."""
    if isinstance(node, addnodes.download_reference):
        return True
    return (
        isinstance(node, addnodes.pending_xref)
        and node["reftype"] == "myst"
        and not node["refdomain"]
    )


def setup(app: Sphinx) -> dict[str, bool]:
    """Add the setting and the transform to Sphinx."""
    app.add_config_value("source_url", "", "env", str)
    app.add_transform(RepositoryLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
