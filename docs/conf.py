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
    "sphinx_copybutton",
    "comparison",
    "docstrings",
    "figures",
    "pages",
    "upstream",
]
exclude_patterns = ["_extensions"]
# Single backticks in docstrings are code; what they name is linked where it is documented.
default_role = "py:obj"
# As in pyproject: three levels of headings have an address.
myst_heading_anchors = 3
# What search engines and previews of links show.
myst_html_meta = {
    "description": (
        "Call async code from Flask, Django and plain WSGI. wsgi_async gives each worker thread "
        "an event loop that stays open, with its clients and background tasks."
    )
}

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
maximum_signature_line_length = 70
python_use_unqualified_type_names = True
toc_object_entries_show_parents = "hide"

html_theme = "furo"
html_title = f"wsgi_async {release}"
html_logo = "_static/logo.svg"
html_favicon = "_static/logo.svg"
html_static_path = ["_static"]
html_css_files = ["site.css"]
# What a program prints is not for pasting.
copybutton_selector = ", ".join(
    f"div.highlight-{language} pre" for language in ("apache", "ini", "python", "sh", "toml")
)
# The API reference is the index.
html_use_index = False
html_domain_indices = False
html_show_sphinx = False
html_copy_source = False
pygments_style = "friendly"
pygments_dark_style = "native"
