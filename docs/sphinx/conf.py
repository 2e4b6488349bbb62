"""How `nox -s docs` builds the documentation.

Sphinx, because docstrings here are reStructuredText, and it checks each reference between pages,
docstrings and commands. Pages are Markdown, read by MyST. The source folder is the repository's
root: a page is built at its own place, so a relative link means the same here as on a code host.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from matrix import __version__

sys.path.insert(0, str(Path(__file__).parent))

project = "te-checkpoint-matrix"
version = release = __version__
root_doc = "docs/index"
include_patterns = ["*.md", "docs/**.md", "fixtures/*.md"]
# Folders that hold no page, some of them with very many files.
exclude_patterns = [".*", "build", "dist", "docs/_build", "matrix", "mutants", "tests"]
exclude_patterns += ["te-matrix-*"]

extensions = ["myst_parser", "sphinx.ext.autodoc"]
extensions += ["command_help", "repository_links", "schema_pages"]

source_url = os.environ.get("TE_MATRIX_DOCS_SOURCE_URL", "")
"""Where a code host shows the repository's files, e.g. https://HOST/OWNER/NAME/blob/main."""

myst_heading_anchors = 4
# An option that a help text names keeps its two hyphens.
smartquotes = False

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
# Functions, attributes and data that a docstring refers to must be on these pages; of the types in
# signatures, only those of the public interface are.
nitpicky = True
nitpick_ignore_regex = [("py:(class|obj)", ".*")]
maximum_signature_line_length = 60
python_use_unqualified_type_names = True
# pydantic's own settings are no part of what is documented.
autodoc_default_options = {"undoc-members": True, "exclude-members": "model_config"}

html_theme = "furo"
html_title = f"{project} {version}"
html_copy_source = False
html_static_path = ["style"]
html_css_files = ["style.css"]
html_js_files = ["accessible.js"]
html_show_copyright = False
# Where the address of the documentation itself leads.
html_extra_path = ["top"]
