"""Use the live page as a visitor does, in a headless Chromium: samples, files, a camera with recordings.

    python -m tools.live_check                                what needs no recordings (part of make browser)
    python -m tools.live_check ../shared/grid_speakers        and 18 of its videos, by camera and as files
    python -m tools.live_check --pictures shots               and a picture of each state

A folder is a mouth set with videos of whole faces beside its manifest, raw/sN/ID.mpg, such as `python -m
lessons grid` makes. The page must read them as Python does: the word error rates may differ by a point, or by
a word where there are few. Needs the built book (make site). Prints a table; the exit status is 1 at a fault.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Page, sync_playwright

from lessons.ctc.metrics import wer
from lessons.data.video import read_video
from lessons.lipreading import LipNet
from lessons.training import checkpoint
from tools.browser import FLAGS, browser_path
from tools.live import BUDGET, MODELS, sizes
from tools.site import BUILD
from tools.site_check import AXE, NARROW, WIDE, faults, served
from tools.webcam import Video, read_both, validation_videos

PATIENCE = 180_000  # milliseconds that a step may take on a busy machine
PAUSE = 60  # frames that stand still after each recording of the camera, while the page reads
MARKED = 5  # frames of a recording that carry its mark: one frame could be lost
MARK = 8  # pixels of a square of the code in the picture's upper left corner
BITS = 6  # of a recording's number in that code
COUNT = 8  # bits of a frame's number, in the row of squares under it
CAPTURED = 68  # of a recording's 75 frames at least; with fewer the machine is too busy for a verdict
FIRST_WORD = 3.0  # seconds
CLIPS, FILES = 18, 3  # recordings for the camera; of them also as files, in each format
FORMATS = {"mp4": ("libx264", {"crf": "16"}), "webm": ("libvpx-vp9", {"crf": "16", "b": "0"})}
# Press the record button when a recording begins in the camera's picture; gives the recording's number.
RECORD_AT_MARK = f"""() => new Promise(resolve => {{
    const video = document.querySelector('[data-part="camera-video"]');
    const canvas = new OffscreenCanvas({MARK * (BITS + 2)}, {MARK});
    const context = canvas.getContext("2d", {{willReadFrequently: true}});
    const look = () => {{
        context.drawImage(video, 0, 0);
        const {{data, width}} = context.getImageData(0, 0, canvas.width, canvas.height);
        const luma = i => 0.3 * data[i] + 0.59 * data[i + 1] + 0.11 * data[i + 2];
        const lit = k => luma(4 * ({MARK // 2} * width + {MARK} * k + {MARK // 2})) > 128;
        if (!lit(0) || lit(1)) return video.requestVideoFrameCallback(look);
        document.querySelector('[data-part="record"]').click();
        let number = 0;
        for (let k = 0; k < {BITS}; k += 1) number += lit(k + 2) << k;
        window.numbers = [];
        resolve(number);
    }};
    video.requestVideoFrameCallback(look);
}})"""
# Keep the numbers of the frames that the reader gets.
COUNT_FRAMES = f"""() => {{
    window.numbers = [];
    const post = Worker.prototype.postMessage;
    Worker.prototype.postMessage = function (message, ...rest) {{
        if (message.type === "frame") {{
            const first = {MARK * 3 // 2} * message.width + {MARK // 2};
            let number = 0;
            for (let k = 0; k < {COUNT}; k += 1) number += (message.gray[first + {MARK} * k] > 128) << k;
            numbers.push(number);
        }}
        return post.call(this, message, ...rest);
    }};
}}"""
READ = """() => {
    const {greedy, grammar, frames, distinct, warnings, milliseconds, numbers} = window.readings.at(-1);
    const {queue, waited, firstWord, captured} = document.getElementById("live").dataset;
    const lost = numbers.slice(1).reduce((sum, n, i) => sum + n - numbers[i] - 1, 0);
    return {greedy: greedy.text, grammar: grammar?.text ?? "", frames, distinct, warnings, milliseconds, lost,
            captured: Number(captured), queue: Number(queue), waited: Number(waited),
            first: firstWord ? Number(firstWord) / 1000 : null};
}"""


@dataclass
class Table:
    """What was measured, and which of it is a fault."""

    rows: list[tuple[str, str, bool]] = field(default_factory=list)

    def add(self, name: str, value: object, good: bool = True) -> None:
        self.rows.append((name, str(value), good))
        print(f"{'ok   ' if good else 'FAULT'}  {name:46}  {value}", flush=True)

    @property
    def faults(self) -> int:
        return sum(not good for _, _, good in self.rows)


# Recordings


def planes(path: Path) -> Iterator[np.ndarray]:
    """The frames of a video as it stores them, (1.5 H, W) uint8 in YUV 4:2:0."""
    with av.open(f"file:{path}") as container:
        for frame in container.decode(video=0):
            yield frame.to_ndarray(format="yuv420p")


def write_y4m(to: Path, paths: Sequence[Path]) -> None:
    """Write a file that Chromium plays as its camera, from videos of one size at 25 frames per second.

    The first frames of each carry a mark and its number as squares in the upper left corner; under them each
    frame carries its own number. The last is held for PAUSE frames.
    """
    with to.open("wb") as file:
        for number, path in enumerate(paths):
            frames = [frame.copy() for frame in planes(path)]
            if number == 0:
                rows, width = frames[0].shape
                file.write(f"YUV4MPEG2 W{width} H{rows * 2 // 3} F25:1 Ip A1:1 C420jpeg\n".encode())
            for frame in frames:
                frame[:MARK, : MARK * (BITS + 2)] = 16
            lit = [True, False, *(bool(number >> k & 1) for k in range(BITS))]
            for frame in frames[:MARKED]:
                frame[:MARK, : MARK * (BITS + 2)] = np.where(np.repeat(lit, MARK), 235, 16)
            for at, shown in enumerate((*frames, *[frames[-1]] * PAUSE)):
                frame = shown.copy()
                bits = [bool(at >> k & 1) for k in range(COUNT)]
                frame[MARK : 2 * MARK, : MARK * COUNT] = np.where(np.repeat(bits, MARK), 235, 16)
                file.write(b"FRAME\n" + frame.tobytes())


def write_file(to: Path, frames: np.ndarray) -> None:
    """Write frames (T, H, W, 3) in the format of the name's suffix."""
    codec, options = FORMATS[to.suffix[1:]]
    with av.open(f"file:{to}", "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.thread_count = 1
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))


# The page


@contextmanager
def opened(address: str, *flags: str, allow: bool = True) -> Iterator[Page]:
    """The live page in a browser of its own. page.strayed lists requests that leave the site, and errors."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=browser_path(), args=[*FLAGS, "--no-sandbox", *flags], headless=True
        )
        context = browser.new_context(viewport=WIDE, permissions=["camera"] if allow else [])
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.strayed = []
        page.on("pageerror", lambda error: page.strayed.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((address, "data:", "blob:"))
                else page.strayed.append(f"request to {request.url}")
            ),
        )
        page.goto(f"{address}/live.html")
        page.evaluate(
            "() => { window.readings = []; document.getElementById('live').addEventListener('live:read',"
            " e => readings.push({...e.detail, numbers: [...(window.numbers ?? [])]})); }"
        )
        yield page
        browser.close()


def part(name: str) -> str:
    return f'[data-part="{name}"]'


def enter(page: Page, way: str) -> None:
    """Choose a way in, and wait for the reader."""
    page.click(part(f"way-{way}"))
    page.wait_for_function("document.getElementById('live').dataset.state === 'ready'")


def next_reading(page: Page, before: int) -> dict:
    """Wait for the reading after the first `before`, or for a problem, which is raised."""
    page.wait_for_function(
        "n => readings.length > n || document.querySelector('[data-kind=problem]')", arg=before
    )
    if page.evaluate("readings.length") == before:
        raise PlaywrightError(page.inner_text(part("status")))
    return page.evaluate(READ)


def upload(page: Page, path: Path) -> dict:
    before = page.evaluate("readings.length")
    page.set_input_files(part("file-input"), path)
    return next_reading(page, before)


# The checks


def check_sizes(table: Table, html: Path) -> None:
    rows = sizes((html / "live",))
    zipped = sum(row[2] for row in rows)
    table.add("all that the page loads, gzipped", f"{zipped / 1e6:.2f} MB", zipped <= BUDGET)


def check_sample(table: Table, address: str, pictures: Path | None) -> None:
    """A sample by keyboard alone; the time slider; why; nothing leaves the site; axe in each state."""
    with opened(address) as page:
        page.add_script_tag(path=str(AXE))
        looks(table, page, "at first", pictures)
        page.focus(part("way-sample"))
        page.keyboard.press("Enter")
        page.wait_for_function("document.getElementById('live').dataset.state === 'ready'")
        seconds = float(page.evaluate("document.getElementById('live').dataset.loaded"))
        table.add("reader loaded", f"{seconds:.1f} s")
        page.focus(".live-sample")
        page.keyboard.press("Enter")
        found = next_reading(page, 0)
        right = page.inner_text(part("heard"))
        table.add("sample, by keyboard", f"{found['grammar']}: {right}", right.startswith("6 of 6"))
        table.add("sample, frames", found["frames"], found["frames"] == 75)
        page.wait_for_function("document.querySelector('[data-part=play]').textContent === 'Play'")
        page.focus(part("time"))
        page.keyboard.press("Home")
        for _ in range(30):
            page.keyboard.press("ArrowRight")
        clock, so_far = page.inner_text(part("clock")), page.inner_text(part("so-far"))
        table.add("time slider at frame 30", f"{clock}: {so_far!r}", clock == "1.20 s" and len(so_far) < 20)
        word = page.locator(f"{part('greedy')} button").nth(1)
        before = page.evaluate("document.querySelector('[data-part=crop]').toDataURL()")
        word.press("Enter")
        after = page.evaluate("document.querySelector('[data-part=crop]').toDataURL()")
        table.add("why did it read this?", page.inner_text(part("why"))[:44], before != after)
        looks(table, page, "after a sample", pictures)
        table.add("requests that leave, errors", page.strayed or "none", not page.strayed)


def looks(table: Table, page: Page, state: str, pictures: Path | None) -> None:
    """axe and width, light and dark, wide and narrow; a picture of each."""
    for theme, size in (("light", WIDE), ("dark", WIDE), ("light", NARROW), ("dark", NARROW)):
        page.set_viewport_size(size)
        page.wait_for_timeout(300)
        found = faults(page, theme)
        if found:
            table.add(f"{state}, {theme}, {size['width']} pixels", found, False)
        if pictures:
            pictures.mkdir(parents=True, exist_ok=True)
            name = f"{state.replace(' ', '_')}_{theme}_{size['width']}.png"
            page.screenshot(path=str(pictures / name), full_page=True)
    page.set_viewport_size(WIDE)
    table.add(f"axe and width, {state}", "4 views")


def check_files(
    table: Table, address: str, model: LipNet, videos: Sequence[Video], pictures: Path | None
) -> None:
    """Files of each format, read by Python and by the page; files that hold no face, two, no video."""
    with tempfile.TemporaryDirectory() as folder, opened(address) as page:
        enter(page, "file")
        for suffix in FORMATS:
            said, python, browser, waits = [], [], [], []
            for video in videos[:FILES]:
                path = Path(folder) / f"{video.path.stem}.{suffix}"
                write_file(path, read_video(video.path))
                found = upload(page, path)
                said.append(video.said)
                python.append(read_both(path, model))
                browser.append((found["greedy"], found["grammar"]))
                waits.append(found["first"])
            if said:
                compare(table, f".{suffix}", said, python, browser)
                table.add(f".{suffix}: first word after its choice", f"{max(waits):.1f} s at most")
        if pictures and videos:
            page.screenshot(path=str(pictures / "file.png"), full_page=True)
        nobody = Path(folder) / "nobody.mp4"
        write_file(nobody, np.random.default_rng(0).integers(90, 140, (50, 240, 320, 3)).astype(np.uint8))
        found = upload(page, nobody)
        shown = page.inner_text(part("warnings"))
        good = "no face" in found["warnings"] and "No face was found" in shown
        table.add("no face", shown[:44], good and not found["grammar"] and page.is_hidden(part("result")))
        if len(videos) > 1:
            two = Path(folder) / "two.mp4"
            write_file(two, np.concatenate([read_video(video.path)[:60] for video in videos[:2]], axis=2))
            found = upload(page, two)
            table.add("two faces", found["warnings"], "two faces" in found["warnings"])
        if len(videos) > 2:
            check_long(table, page, Path(folder) / "long.mp4", videos[:3])
        broken = Path(folder) / "broken.mp4"
        broken.write_text("This is no video.", encoding="utf-8")
        try:
            upload(page, broken)
            message = "no message"
        except PlaywrightError as error:
            message = str(error)
        table.add("a file that is no video", message[:60], "cannot play" in message)
        table.add("files: requests that leave, errors", page.strayed or "none", not page.strayed)


def check_long(table: Table, page: Page, path: Path, videos: Sequence[Video]) -> None:
    """Of a long video 4 s are read, from where the visitor says; the page says so."""
    frames = [read_video(video.path) for video in videos]
    write_file(path, np.concatenate(frames))
    found = [upload(page, path)]
    told = page.inner_text(part("file-long"))
    seconds = sum(map(len, frames)) / 25
    table.add("a long video is told", told[:46], f"{seconds:.1f} seconds long" in told)
    before = page.evaluate("readings.length")
    page.fill(part("file-start"), f"{len(frames[0]) / 25:.2f}")
    page.press(part("file-start"), "Enter")
    found.append(next_reading(page, before))
    for which, reading in zip(("first", "second"), found, strict=True):
        good = reading["frames"] == 100 and "too long" not in reading["warnings"]
        text = f"{reading['grammar']!r}, {reading['frames']} frames"
        table.add(f"a long video, from its {which} sentence on", text, good)


def compare(
    table: Table, name: str, said: list[str], python: list[tuple[str, str]], browser: list[tuple[str, str]]
) -> None:
    """Word error rates of the two, and how many sentences are equal to the letter."""
    for k, decoder in enumerate(("greedy", "grammar")):
        here, there = [pair[k] for pair in browser], [pair[k] for pair in python]
        equal = sum(one == other for one, other in zip(here, there, strict=True))
        rates = wer(said, here), wer(said, there)
        text = f"WER {rates[0]:.1%}, Python {rates[1]:.1%}; {equal} of {len(said)} sentences equal"
        words = sum(len(sentence.split()) for sentence in said)
        table.add(f"{name}: {decoder}", text, abs(rates[0] - rates[1]) <= max(0.01, 1 / words) + 1e-9)


def check_camera(
    table: Table, address: str, y4m: Path, python: list[tuple[str, str]], said: list[str], *,
    name: str, throttle: int = 1, pictures: Path | None = None,
) -> None:  # fmt: skip
    """Record each recording once, starting at its mark."""
    flags = (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={y4m}",
    )
    with opened(address, *flags) as page:
        page.context.new_cdp_session(page).send("Emulation.setCPUThrottlingRate", {"rate": throttle})
        page.evaluate(COUNT_FRAMES)
        page.click(part("way-camera"))
        told = page.inner_text(part("camera-off"))
        table.add(f"{name}: told before it starts", told[:40], "Nothing leaves your computer" in told)
        page.click(part("camera-start"))
        page.wait_for_selector(part("record"))
        found: dict[int, dict] = {}
        for _ in range(3 * len(said)):  # a mark that was missed comes again
            before = page.evaluate("readings.length")
            number = page.evaluate(RECORD_AT_MARK)
            if pictures and not found:
                page.wait_for_timeout(1500)
                page.screenshot(path=str(pictures / "recording.png"), full_page=True)
            answer = next_reading(page, before)
            if number not in found or found[number]["captured"] < answer["captured"]:
                found[number] = answer
            if len(found) == len(said):
                break
        if pictures:
            page.add_script_tag(path=str(AXE))
            looks(table, page, "after the camera", pictures)
        numbers = sorted(found)
        compare(table, name, [said[n] for n in numbers], [python[n] for n in numbers],
                [(found[n]["greedy"], found[n]["grammar"]) for n in numbers])  # fmt: skip
        every = list(found.values())
        table.add(f"{name}: recordings", f"{len(found)} of {len(said)}", len(found) == len(said))
        lost = [one["lost"] for one in every]
        table.add(f"{name}: frames lost on the way", f"{np.median(lost):g}, {max(lost)} at most")
        captured = min(one["captured"] for one in every)
        table.add(f"{name}: frames captured of 75", f"{captured} at least", captured >= CAPTURED)
        taken = page.get_attribute("#live", "data-taken")
        table.add(f"{name}: frames are taken", taken, taken == "in a worker")
        told = sum("few frames" in one["warnings"] for one in every)
        short = sum(one["distinct"] < CAPTURED for one in every)
        table.add(f"{name}: told that frames are missing", f"{told} of {short} times", told == short)
        table.add(f"{name}: longest queue", f"{max(one['queue'] for one in every)} frames")
        waits = [one["waited"] / 1000 for one in every]
        text = f"{np.median(waits):.1f} s, {max(waits):.1f} s at most"
        table.add(
            f"{name}: sentence after the recording", text, throttle > 1 or np.median(waits) <= FIRST_WORD
        )
        table.add(f"{name}: requests, errors", page.strayed or "none", not page.strayed)


def check_refusal(table: Table, address: str) -> None:
    """A camera that is refused is explained, and the other ways go on working."""
    flags = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream=deny")
    with opened(address, *flags, allow=False) as page:
        enter(page, "camera")
        page.click(part("camera-start"))
        page.wait_for_selector("[data-kind=problem]")
        text = page.inner_text(part("status"))
        page.click(part("way-sample"))
        page.click(".live-sample")
        found = next_reading(page, 0)
        good = "was refused" in text and len(found["grammar"].split()) == 6
        table.add("camera refused, then a sample", text[:44], good)


def main() -> int:
    parser = argparse.ArgumentParser(description="Use the live page as a visitor does, in a browser.")
    parser.add_argument("folders", nargs="*", type=Path, help="mouth sets with raw/sN/ID.mpg")
    parser.add_argument("--clips", type=int, default=CLIPS, help="videos for the camera (%(default)s)")
    parser.add_argument("--pictures", type=Path, help="a folder for pictures of each state")
    parser.add_argument("--only", choices=("sample", "files", "camera", "throttled", "refusal"))
    options = parser.parse_args()
    html, table = BUILD / "html", Table()
    if not (html / "live" / "data" / "about.json").is_file():
        print(f"live page: found no {html / 'live' / 'data'}, expected it from `make site`")
        return 1

    def wanted(name: str) -> bool:
        return options.only in (None, name)

    videos = every_nth(validation_videos(options.folders), options.clips) if options.folders else []
    model = checkpoint.load(MODELS["people"])
    check_sizes(table, html)
    with served(html) as address, tempfile.TemporaryDirectory() as folder:
        if wanted("sample"):
            check_sample(table, address, options.pictures)
        if wanted("refusal"):
            check_refusal(table, address)
        if wanted("files"):
            check_files(table, address, model, videos, options.pictures)
        if videos and (wanted("camera") or wanted("throttled")):
            y4m = Path(folder) / "camera.y4m"
            write_y4m(y4m, [video.path for video in videos])
            python = [read_both(video.path, model) for video in videos]
            said = [video.said for video in videos]
            if wanted("camera"):
                check_camera(table, address, y4m, python, said, name="camera", pictures=options.pictures)
            if wanted("throttled"):
                check_camera(
                    table, address, y4m, python, said, name="camera, CPU throttled 4 times", throttle=4
                )
    if not videos:
        print("skipped: the camera and files of people, for want of a folder with videos of faces")
    print(f"{len(table.rows)} checks, {table.faults} faults")
    return 1 if table.faults else 0


def every_nth(videos: list[Video], n: int) -> list[Video]:
    """n of the videos, spread over all of them."""
    return [videos[k * len(videos) // n] for k in range(min(n, len(videos)))] if n < len(videos) else videos


if __name__ == "__main__":
    raise SystemExit(main())
