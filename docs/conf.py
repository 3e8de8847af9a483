"""How Sphinx builds the site; `make docs` calls it."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_extensions"), str(HERE.parent)]

import wsgi_async  # noqa: E402 - from this checkout, not from wherever else it is installed

project = "wsgi_async"
version = release = wsgi_async.__version__
project_copyright = "the wsgi_async contributors, BSD-3-Clause"

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "figures",
    "pages",
    "upstream",
]
exclude_patterns = ["_extensions", "examples"]
# Single backticks in docstrings are code; what they name is linked where it is documented.
default_role = "py:obj"
# As in pyproject: three levels of headings have an address.
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 70
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"wsgi_async {release}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
# The API page is the index.
html_use_index = False
html_domain_indices = False
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "native"
