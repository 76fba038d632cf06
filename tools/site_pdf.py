"""Print the built site to one PDF, with the Chromium that also tests the course.

    python -m tools.site_pdf                     site/_build/how-machines-read-video.pdf
    python -m tools.site_pdf --pages index 04    only pages that begin so

Every fold is open, since paper has no clicks. Links between pages lead to pages of the PDF; each page is in
its outline. Needs the optional dependencies `site` and a site in site/_build/html (make site).
"""

from __future__ import annotations

import argparse
import io
import sys
from pathlib import Path

from playwright.sync_api import Page, sync_playwright
from pypdf import PdfReader, PdfWriter
from pypdf.generic import ArrayObject, NameObject, NumberObject

from tools.browser import FLAGS, browser_path
from tools.site import BUILD, DOCS, chapters
from tools.site_check import SET, WAIT, served

PDF = BUILD / "how-machines-read-video.pdf"
FIXED = ("index", "routes", "cheat_sheet")  # before the chapters; DOCS come after them
# Folds open, and the parts of the page that a click or a scroll would bring go.
OPEN = """() => {
    for (const fold of document.querySelectorAll("details")) fold.open = true;
    document.documentElement.dataset.mode = document.documentElement.dataset.theme = "light";
}"""
STYLE = """
    * { animation: none !important; transition: none !important; } /* folds fade in when they open */
    .bd-sidebar-primary, .bd-sidebar-secondary, .bd-header-article, .bd-footer, .prev-next-footer,
    .skip-link, button.copybtn { display: none !important; }
    .bd-article pre { white-space: pre-wrap !important; }
    .cell, .cell *, div[class^="highlight-"], div[class^="highlight-"] * {
        overflow: visible !important; break-inside: auto !important; }
    .cell_input { display: block !important; }
    mjx-container svg * { stroke: none !important; } /* a stroke of no width is a hairline on paper */
    .bd-article table { display: table !important; font-size: 0.8em; }
    .bd-article img, .bd-article svg { max-width: 100% !important; break-inside: avoid; }
    h1, h2, h3 { break-after: avoid; }
    details.hide > summary { display: none !important; }
"""


def pages() -> list[str]:
    """The names of the book's printed pages, in their order: no library, no live pages."""
    return [*FIXED, *(book.name for book in chapters()), *DOCS]


def printed(page: Page, address: str) -> tuple[str, bytes]:
    """Title and PDF of the page at `address`."""
    page.goto(address, wait_until="load")
    if page.locator(".math").count():
        page.wait_for_function(SET)
    page.add_style_tag(content=STYLE)
    page.evaluate(OPEN)
    margin = {side: "18mm" for side in ("top", "bottom", "left", "right")}
    title = page.locator("h1").first.inner_text().removesuffix("#").strip()
    return title, page.pdf(format="A4", margin=margin, print_background=True)


def relink(writer: PdfWriter, address: str, starts: dict[str, int]) -> int:
    """Turn links to pages of the site into links inside the PDF; return how many."""
    count = 0
    for sheet in writer.pages:
        for reference in sheet.get("/Annots") or []:
            link = reference.get_object()
            target = str(link.get("/A", {}).get("/URI", ""))
            name = target.removeprefix(f"{address}/").split("#")[0].removesuffix(".html")
            if target.startswith(address) and name in starts:
                del link["/A"]
                start = writer.pages[starts[name]]
                top = NumberObject(int(start.mediabox.top))
                place = [start.indirect_reference, NameObject("/XYZ"), NumberObject(0), top, NumberObject(0)]
                link[NameObject("/Dest")] = ArrayObject(place)
                count += 1
    return count


def build(names: list[str], html: Path, to: Path) -> int:
    """Print pages of the site in `html` to one PDF `to`, and return its number of pages.

    Raises:
        FileNotFoundError: a page is missing from the site.
    """
    for name in names:
        if not (html / f"{name}.html").is_file():
            raise FileNotFoundError(f"{name}: found no {html / name}.html, expected it from `make site`")
    writer, starts = PdfWriter(), {}
    with served(html) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path(), args=[*FLAGS, "--no-sandbox"])
        page = browser.new_page(color_scheme="light")
        page.set_default_timeout(WAIT)
        for name in names:
            title, data = printed(page, f"{address}/{name}.html")
            starts[name] = len(writer.pages)
            writer.append(PdfReader(io.BytesIO(data)), outline_item=title)
        browser.close()
        relink(writer, address, starts)
    writer.compress_identical_objects()
    to.parent.mkdir(parents=True, exist_ok=True)
    writer.write(to)
    return len(writer.pages)


def main() -> int:
    parser = argparse.ArgumentParser(description="Print the built site to one PDF.")
    parser.add_argument("--pages", nargs="+", default=[""], help="what their names begin with; default all")
    options = parser.parse_args()
    names = [name for name in pages() if name.startswith(tuple(options.pages))]
    try:
        count = build(names, BUILD / "html", PDF)
    except FileNotFoundError as error:
        print(error, file=sys.stderr)
        return 1
    print(
        f"{len(names)} pages of the site, {count} of paper, {PDF.stat().st_size / 2**20:.1f} MiB: {PDF.name}"
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
