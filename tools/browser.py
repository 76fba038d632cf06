"""Open notebooks in a real JupyterLab in a headless browser, run them, move every slider.

    python -m tools.browser            every notebook (make browser)
    python -m tools.browser 02 04      only those whose names begin with 02 or 04

nbval runs the cells; it opens no JupyterLab and moves no slider. Here a learner's way is gone: open, "Run All
Cells", move each slider. A fault is a cell that fails or does not run, a page error, an `interact` without a
slider, a slider that moves and changes no figure. The notebooks are copies: the browser saves what it ran.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from tools import notebooks

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
# A headless browser without its own errands on the network.
FLAGS = ("--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync")  # fmt: skip
OPEN, RUN, MOVE = 120, 300, 30  # seconds to wait for a notebook to open, to run, and for a slider's figure


class BrowserError(RuntimeError):
    """JupyterLab or the browser did not do what a step needs."""


def wait(done: Callable[[], bool], seconds: float, what: str) -> None:
    """Ask `done` until it says so.

    Raises:
        BrowserError: it has not within `seconds`.
    """
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            raise BrowserError(f"{what}: not within {seconds:g} s")
        time.sleep(0.25)


# JupyterLab and the browser


def get(url: str):
    with urllib.request.urlopen(url, timeout=10) as response:
        return json.load(response)


@contextmanager
def jupyterlab(folder: Path) -> Iterator[str]:
    """A JupyterLab server on `folder`, with settings of its own; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    with tempfile.TemporaryDirectory() as home:
        places = {
            name: str(Path(home) / name) for name in ("CONFIG", "DATA", "RUNTIME", "SETTINGS", "SPACES")
        }
        tracker = Path(places["SETTINGS"]) / "@jupyterlab" / "notebook-extension"
        tracker.mkdir(parents=True)
        # All cells in the page at once, so that a slider far down is there to be found.
        (tracker / "tracker.jupyterlab-settings").write_text('{"windowingMode": "none"}', encoding="utf-8")
        environment = dict(
            os.environ,
            OMP_NUM_THREADS="1",
            JUPYTER_PREFER_ENV_PATH="1",
            JUPYTER_CONFIG_DIR=places["CONFIG"],
            JUPYTER_DATA_DIR=places["DATA"],
            JUPYTER_RUNTIME_DIR=places["RUNTIME"],
            JUPYTERLAB_SETTINGS_DIR=places["SETTINGS"],
            JUPYTERLAB_WORKSPACES_DIR=places["SPACES"],
        )
        command = [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1",
            f"--port={port}", f"--ServerApp.root_dir={folder}", "--IdentityProvider.token=",
            "--ServerApp.disable_check_xsrf=True",  # this script, too, ends sessions
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        ]  # fmt: skip
        log = Path(home) / "log"
        with open(log, "wb") as out:
            server = subprocess.Popen(command, env=environment, stdout=out, stderr=out)
        try:

            def up() -> bool:
                if server.poll() is not None:
                    raise BrowserError(
                        f"JupyterLab ended:\n{log.read_text(errors='replace', encoding='utf-8')[-2000:]}"
                    )
                try:
                    return bool(get(f"{address}/api/status"))
                except OSError:
                    return False

            wait(up, OPEN, "JupyterLab's start")
            yield address
        finally:
            server.terminate()
            server.wait(30)


def browser_path() -> str | None:
    """The installed browser; None for the one that Playwright itself may have."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Browser]:
    """A headless Chromium.

    Raises:
        BrowserError: there is none; the message says how to get one.
    """
    flags = (
        [*FLAGS, "--no-sandbox"]
        if hasattr(os, "geteuid") and getattr(os, "geteuid", int)() == 0
        else list(FLAGS)
    )
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(executable_path=browser_path(), args=flags)
        except PlaywrightError as error:
            raise BrowserError(
                "no Chromium could be started: install one (Debian and Ubuntu: apt-get install chromium; "
                f"elsewhere: {sys.executable} -m playwright install chromium)\n{error}"
            ) from error
        try:
            yield chromium
        finally:
            chromium.close()


# One notebook


def whole(path: Path) -> bool:
    """Has JupyterLab written all of the file? While it writes, the file is no JSON."""
    try:
        json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return True


def cell_faults(path: Path) -> Iterator[str]:
    """Cells of the saved notebook that failed or were not run."""
    cells = nbformat.read(path, as_version=4).cells
    code = [(i, cell) for i, cell in enumerate(cells) if cell.cell_type == "code" and cell.source.strip()]
    for i, cell in code:
        for output in cell.outputs:
            if output.output_type == "error" and "raises-exception" not in cell.metadata.get("tags", []):
                yield f"cell {i}: {output.ename}: {output.evalue}"
    idle = [i for i, cell in code if cell.execution_count is None]
    if idle:
        yield f"cells {idle} were not run"


def move(slider: Locator, cell: Locator) -> str | None:
    """Move a slider by one step; what is wrong, if anything is."""

    def shown() -> list[str]:
        """What the cell shows, with pictures as their data."""
        return cell.locator(".jp-OutputArea-output img, .jp-OutputArea-output pre").evaluate_all(
            "all => all.map(one => one.src || one.textContent)"
        )

    label = slider.locator(".widget-label").inner_text()
    readout, before = slider.locator(".widget-readout").inner_text(), shown()
    handle = slider.locator(".noUi-handle")
    handle.focus()
    for key in ("ArrowRight", "ArrowLeft"):  # at its right end a slider can only go left
        handle.press(key)
        time.sleep(0.3)
        if slider.locator(".widget-readout").inner_text() != readout:
            break
    else:
        return f"slider {label!r} does not move from {readout}"
    try:
        wait(lambda: shown() != before and bool(shown()), MOVE, "a new figure")
    except BrowserError:
        return f"slider {label!r} moved from {readout}, and nothing changed"
    return None


def slider_faults(page: Page, path: Path) -> Iterator[str]:
    """Move every slider of the notebook that is open."""
    interactive = sum(
        "interact" in cell.source
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code"
    )
    cells = page.locator(".jp-CodeCell").filter(has=page.locator(".widget-slider"))
    if interactive and not cells.count():
        yield "it uses interact, and shows no slider"
    for cell in cells.all():
        for slider in cell.locator(".widget-slider").all():
            slider.scroll_into_view_if_needed()
            if fault := move(slider, cell):
                yield fault


def run(chromium: Browser, address: str, path: Path) -> tuple[int, list[str]]:
    """Open and run one notebook, a file at the top of the served folder; sliders moved, and all faults."""
    page, faults = chromium.new_page(viewport={"width": 1400, "height": 1000}), []
    page.on("pageerror", lambda error: faults.append(f"the page: {error}"))

    def session() -> dict | None:
        return next((one for one in get(f"{address}/api/sessions") if one["path"] == path.name), None)

    def idle() -> bool:
        kernel = (session() or {}).get("kernel", {})
        return kernel.get("execution_state") == "idle" and kernel.get("connections", 0) > 0

    def ran() -> bool:
        prompts = page.locator(".jp-CodeCell .jp-InputPrompt").all_inner_texts()
        return "[1]:" in prompts and "[*]:" not in prompts and idle()

    try:
        page.goto(f"{address}/lab/tree/{path.name}?reset", timeout=OPEN * 1000)
        page.locator(".jp-NotebookPanel").wait_for(timeout=OPEN * 1000)
        # The tool bar says idle too early; the status bar says it when cells can be run.
        wait(lambda: idle() and "| Idle" in page.locator("#jp-main-statusbar").inner_text(),
             OPEN, "a kernel")  # fmt: skip
        page.get_by_role("menuitem", name="Run", exact=True).click()
        page.get_by_text("Run All Cells", exact=True).click()
        page.locator(".jp-CodeCell .jp-InputPrompt", has_text="[1]:").first.wait_for(timeout=OPEN * 1000)
        wait(ran, RUN, "Run All Cells")
        old = path.stat().st_mtime_ns
        page.keyboard.press("Control+s")
        wait(lambda: path.stat().st_mtime_ns != old and whole(path), MOVE, "saving")
        faults += cell_faults(path)
        sliders = page.locator(".jp-CodeCell .widget-slider").count()
        if not faults:  # after a failed cell the sliders may not be there
            faults += slider_faults(page, path)
        page.wait_for_timeout(200)
        return sliders, faults
    except (BrowserError, PlaywrightError) as error:
        return 0, [*faults, str(error)]
    finally:
        page.close()
        if there := session():
            urllib.request.urlopen(
                urllib.request.Request(f"{address}/api/sessions/{there['id']}", method="DELETE"), timeout=30
            ).close()


def check(paths: list[Path]) -> dict[str, list[str]]:
    """Run copies of the notebooks; the faults of each."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for path in paths:
            shutil.copy(path, folder)
        with jupyterlab(Path(folder)) as address, browser() as chromium:
            for path in paths:
                start = time.monotonic()
                sliders, faults = run(chromium, address, Path(folder) / path.name)
                seconds = time.monotonic() - start
                print(f"{path.stem}: {seconds:.0f} s, {sliders} sliders, {len(faults)} faults", flush=True)
                for fault in faults:
                    print(f"    {fault}", flush=True)
                found[path.stem] = faults
    return found


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Run the notebooks in JupyterLab in a headless browser.")
    parser.add_argument(
        "prefix", nargs="*", default=[""], help="beginning of a name, such as 02; default all"
    )
    prefixes = parser.parse_args(arguments).prefix
    paths = [notebooks.notebook_path(name) for prefix in prefixes for name in notebooks.names(prefix)]
    if not paths:
        print(f"prefix: found no notebook that begins with {' or '.join(prefixes)}", file=sys.stderr)
        return 1
    try:
        return int(any(check(paths).values()))
    except BrowserError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
