"""The documentation site: ``python3 -m dev docs`` builds and serves it; warnings are errors."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from docutils.nodes import Element, TextElement
from sphinx.util.nodes import make_refnode

if TYPE_CHECKING:
    from sphinx.addnodes import pending_xref
    from sphinx.application import Sphinx
    from sphinx.environment import BuildEnvironment

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# Airflow makes its home when it is imported; the reader's own stays as it is.
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="portkey-docs-")

from airflow_provider_portkey import __version__  # noqa: E402

project = "airflow-provider-portkey"
author = "The airflow-provider-portkey authors"
project_copyright = author
release = version = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["_build"]

myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist", "smartquotes"]
# The anchors of headings are those that GitHub makes, so that links hold in both places.
myst_heading_anchors = 4

autodoc_member_order = "bysource"
autodoc_class_signature = "mixed"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented_params"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 88
add_module_names = False
toc_object_entries_show_parents = "hide"

nitpicky = True
# Names of others, whose inventories are on other servers: the build needs no network.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!airflow_provider_portkey\b)(?!.*Portkey).*"),
    (r"py:.*", r"airflow_provider_portkey\..*\._\w+"),
    (r"py:class", r"airflow_provider_portkey\.client\..*"),
]
# The patterns of the sections name pages that may come; Sphinx has no setting for this warning.
logging.getLogger("sphinx.sphinx.directives.other").addFilter(lambda record: "glob pattern" not in str(record.msg))

html_theme = "pydata_sphinx_theme"
html_title = f"Portkey provider for Apache Airflow {__version__}"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_show_sourcelink = False
# Where the site will be, for its canonical links; nowhere yet.
html_baseurl = os.environ.get("PROJECT_DOCS", "")
html_theme_options = {
    "logo": {"text": "Portkey provider for Airflow"},
    "navbar_align": "left",
    "header_links_before_dropdown": 7,
    "navbar_end": ["theme-switcher", "navbar-icon-links"],
    "show_nav_level": 2,
    "navigation_depth": 3,
    "show_toc_level": 2,
    # Pages that are one wide table have its whole width.
    "secondary_sidebar_items": {"**": ["page-toc"], "choosing": [], "parameters": [], "stability": []},
    "footer_start": ["copyright"],
    "footer_end": [],
    "pygments_light_style": "default",
    "pygments_dark_style": "github-dark",
}
if home := os.environ.get("PROJECT_HOME"):
    html_theme_options["icon_links"] = [{"name": "Source", "url": home, "icon": "fa-solid fa-code-branch"}]


def resolve_short_name(app: Sphinx, env: BuildEnvironment, node: pending_xref, contents: TextElement) -> Element | None:
    """Find ``PortkeyX`` of another module: docstrings and signatures have class names without their modules."""
    if node.get("refdomain") != "py" or "Portkey" not in node["reftarget"]:
        return None
    objects = env.domains.python_domain.objects
    suffix = "." + node["reftarget"].removeprefix(".")
    found = [name for name, entry in objects.items() if name.endswith(suffix) and not entry.aliased]
    if len(found) != 1:
        return None
    entry = objects[found[0]]
    return make_refnode(app.builder, node["refdoc"], entry.docname, entry.node_id, contents, found[0])


def setup(app: Sphinx) -> None:
    """Register what this file adds."""
    app.connect("missing-reference", resolve_short_name)
