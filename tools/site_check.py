"""Look at every page of the built site in a headless browser, light and dark, wide and narrow.

    python -m tools.site_check                       all pages
    python -m tools.site_check index 02 --pictures shots   pages that begin so, and a picture of each view

A fault is a serious finding of axe, a request that leaves the site or finds nothing, a page wider than a
360-pixel screen, an image without an alt text, an equation that was not set. axe-core is taken from
site/_build/node (make site).
"""

from __future__ import annotations

import argparse
import functools
import http.server
import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

from tools.browser import FLAGS, browser_path
from tools.site import BUILD

AXE = BUILD / "node" / "node_modules" / "axe-core" / "axe.min.js"
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
FOUND = """async () => (await axe.run(document, {resultTypes: ["violations"]})).violations
    .filter(v => ["serious", "critical"].includes(v.impact))
    .map(v => [v.id, v.nodes.length, v.nodes[0].target, v.nodes[0].failureSummary].join(" "))"""
WAIT = 300_000  # milliseconds for a page; a busy machine needs many
SET = "!document.querySelector('.math:not(:has(mjx-container))')"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a server of `folder` on this machine."""
    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def faults(page: Page, theme: str) -> list[str]:
    """What is wrong with the page that is open."""
    page.evaluate(
        "theme => { document.documentElement.dataset.mode = theme;"
        " document.documentElement.dataset.theme = theme; }",
        theme,
    )
    found = list(page.evaluate(FOUND))
    wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    if wide > 1:
        found.append(f"{wide} pixels wider than the screen")
    if bare := page.locator("article img:not([alt]), article img[alt=''], article img[alt^=_images]").count():
        found.append(f"{bare} images without an alt text")
    if unset := page.locator("span.math:not(:has(mjx-container)), div.math:not(:has(mjx-container))").count():
        found.append(f"{unset} equations that are not set")
    return found


def check(folder: Path, names: list[str], pictures: Path | None = None) -> dict[str, list[str]]:
    """Page and view -> its faults, for the views that have any."""
    found: dict[str, list[str]] = {}
    with served(folder) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path(), args=[*FLAGS, "--no-sandbox"], headless=True
        )
        page = browser.new_page(viewport=WIDE)
        page.set_default_timeout(WAIT)
        strayed: list[str] = []
        page.on(
            "request",
            lambda r: None if r.url.startswith((address, "data:", "blob:")) else strayed.append(r.url),
        )
        page.on("response", lambda r: strayed.append(f"{r.url}: {r.status}") if r.status >= 400 else None)
        for name in names:
            page.set_viewport_size(WIDE)
            page.goto(f"{address}/{name}.html", wait_until="load")
            page.wait_for_timeout(300)
            if page.locator(".math").count():
                page.wait_for_function(SET)
            page.add_script_tag(path=str(AXE))
            for theme, size in itertools.product(("light", "dark"), (WIDE, NARROW)):
                page.set_viewport_size(size)
                page.wait_for_timeout(100)
                view = f"{name}, {theme}, {size['width']}"
                if here := faults(page, theme) + [f"request to {url}" for url in strayed]:
                    found[view] = here
                    print(view, *here, sep="\n    ", flush=True)
                strayed.clear()
                if pictures:
                    pictures.mkdir(parents=True, exist_ok=True)
                    page.screenshot(path=str(pictures / f"{name}_{theme}_{size['width']}.png"))
        browser.close()
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description="Look at every page of the built site in a browser.")
    parser.add_argument("pages", nargs="*", help="what their names begin with")
    parser.add_argument("--pictures", type=Path, help="a folder for pictures")
    options = parser.parse_args()
    html = BUILD / "html"
    names = [
        path.stem
        for path in sorted(html.glob("*.html"))
        if path.stem.startswith(tuple(options.pages or [""]))
    ]
    found = check(html, names, options.pictures)
    print(f"{len(names)} pages, {4 * len(names)} views, {len(found)} with faults")
    return 1 if found or not names else 0


if __name__ == "__main__":
    raise SystemExit(main())
