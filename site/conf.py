"""Sphinx's settings for the book. tools/site.py stages what it reads; nothing is executed."""

import base64
import hashlib
import json
from collections import defaultdict
from pathlib import Path

from docutils import nodes

project = "How Machines Read Video"
author = "the authors of the course"
copyright = "the authors of the course; text CC BY 4.0, code MIT"
extensions = ["myst_nb"]
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = [str(Path(__file__).parent / "_build" / "source" / "_static")]
html_css_files = ["book.css"]
html_js_files = ["book.js"]
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "use_download_button": False,
    "use_fullscreen_button": False,
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "navbar_persistent": [],
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}
nb_execution_mode = "off"
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3
myst_links_external_new_tab = False
mathjax_path = "mathjax.js"
# Nothing of it may come from another site: no menu's speech, no later parts.
mathjax3_config = {"options": {"enableMenu": False}, "svg": {"fontCache": "local"}}
suppress_warnings = ["mystnb.unknown_mime_type", "misc.highlighting_failure", "myst.header"]
exclude_patterns = ["_static"]
language = "en"


def alt_texts(app, doctree) -> None:
    """Give each figure its alt text: myst-nb names a picture by its hash and keeps only sizes."""
    path = Path(app.srcdir) / f"{app.env.docname}.ipynb"
    if not path.is_file():
        return
    texts = defaultdict(list)
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                picture = base64.b64decode("".join(output["data"]["image/png"]))
                text = output["metadata"].get("image/png", {}).get("alt", "")
                texts[hashlib.sha256(picture).hexdigest()].append(text)
    for image in doctree.findall(nodes.image):
        if here := texts.get(Path(image["uri"]).stem):
            image["alt"] = here.pop(0) if len(here) > 1 else here[0]


def setup(app) -> None:
    app.connect("doctree-read", alt_texts)
