"""Sphinx's settings for the book. tools/site.py stages what it reads; nothing is executed."""

from pathlib import Path

project = "How Machines Read Video"
author = "the authors of the course"
copyright = "the authors of the course; text CC BY 4.0, code MIT"
extensions = ["myst_nb"]
html_theme = "sphinx_book_theme"
html_title = project
html_static_path = [str(Path(__file__).parent / "_build" / "source" / "_static")]
html_extra_path = [str(Path(__file__).parent / "live")]  # the live page, as it is
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
