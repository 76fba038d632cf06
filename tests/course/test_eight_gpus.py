"""Every number on docs/eight_gpus.md is counted, cited or assumed there, or follows from those that are."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest
import torch

from lessons.cli.train import PRESETS
from lessons.lipreading.lipnet import LipNet
from lessons.measure.counting import count
from lessons.training.distributed import Processes

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "eight_gpus.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| ([^|]+) \| ([^|]+) \| ([^|]+) \|$", PAGE, flags=re.MULTILINE)
SOURCES = PAGE[PAGE.index("## Sources") :]


def given(quantity: str) -> float:
    """A number of the page's first table, which is cited or assumed, not computed."""
    (value,) = [value for name, _, value in ROWS if name == quantity]
    return float(re.match(r"[\d.,]+", value)[0].replace(",", ""))


def percent(share: float) -> str:
    return f"{100 * share:.2g} %"


def computed() -> dict[str, str]:
    """The values that the page must show, by the first column of its tables."""
    gpus, epochs = int(given("GPUs")), PRESETS["full"][2].epochs
    clips, batch = int(given("clips to train on")), int(given("clips in a batch, a GPU"))
    peak, share = given("GPU: products and sums") * 1e12, given("share of it that is reached") / 100
    nvlink, pcie, link_share = (
        given(name) * 1e9
        for name in ("NVLink, each way", "PCIe, each way", "share of a link that is reached")
    )
    link_share /= 1e9 * 100
    prepare, collect = (given(f"CPU to {work}") / 1e3 for work in ("prepare a clip", "collect its bytes"))

    with torch.device("meta"):
        counted = count(LipNet(), torch.zeros(1, 3, 75, 64, 128))
    forward, first = counted.multiply_adds, counted.rows[0].multiply_adds
    assert counted.rows[0].name == "stcnn1.conv"
    backward = 2 * forward - first
    flop = 2 * (forward + backward)
    rate = peak * share / flop
    whole, step = gpus * batch, batch / rate
    steps = math.ceil(clips / whole) * epochs
    hours = {n: clips * epochs / rate / 3600 / n for n in (1, gpus)}

    gray = 75 * 64 * 128
    total, video = given("usable clips of 33 speakers"), given("a clip's video file") * 1e3
    ring = 2 * (gpus - 1) / gpus
    gradient = 4 * counted.weights
    sent = ring * gradient
    wire = {name: sent / (speed * link_share) for name, speed in (("nvlink", nvlink), ("pcie", pcie))}
    epochs_there = [given("epochs elsewhere, fewest"), given("epochs elsewhere, most")]
    there = [clips * n / (given("hours elsewhere") * 3600) for n in epochs_there]
    slow, bytes_only = prepare * batch + step, collect * batch + step
    paper = int(given("clips in a batch, the paper"))
    sizes = [len(Processes(rank, gpus).part(paper).places) for rank in range(gpus)]
    last = clips % whole
    return {
        "epochs": f"{epochs}",
        "weights": f"{counted.weights:,}",
        "multiply-adds forward": f"{forward / 1e9:.2f} billion",
        "multiply-adds backward": f"{backward / 1e9:.2f} billion",
        "products and sums, both ways": f"{flop / 1e9:.1f} billion",
        "clips per second, one GPU": f"{rate:.0f}",
        "clips per second, all": f"{gpus * rate:,.0f}",
        "a step": f"{step * 1e3:.0f} ms",
        "clips per second, elsewhere": f"{there[0]:.0f} to {there[1]:.0f}",
        "products and sums per second, elsewhere": " to ".join(f"{n * flop / 1e12:.1f}" for n in there)
        + " million million",
        "we assume more, by": f"{rate / there[1]:.0f} to {rate / there[0]:.0f} times",
        "GRU steps that wait for each other": f"{2 * 2 * 75}",
        "a clip in bytes": f"{gray:,}",
        "a clip as the network sees it": f"{gray * 3 * 4:,} bytes",
        "all clips in memory": f"{total * gray / 1e9:.1f} GB",
        "in every process": f"{gpus * total * gray / 1e9:.0f} GB",
        "all clips as video files": f"{total * video / 1e9:.1f} GB",
        "bytes to a GPU": f"{rate * gray / 1e9:.2f} GB per second, "
        f"{percent(rate * gray / (pcie * link_share))} of the link",
        "floats to a GPU": f"{rate * gray * 12 / 1e9:.2f} GB per second, "
        f"{percent(rate * gray * 12 / (pcie * link_share))} of the link",
        "frames to decode, were it done in every epoch": f"{gpus * rate * 75:,.0f} per second",
        "cores that prepare for one GPU": f"{math.ceil(rate * prepare)}",
        "cores that prepare for all": f"{math.ceil(gpus * rate * prepare)}",
        "a step when one core prepares": f"{slow:.2f} s",
        "the training then": f"{steps * slow / 3600:.1f} hours",
        "a step when the core collects bytes": f"{bytes_only:.2f} s",
        "the training with bytes": f"{steps * bytes_only / 3600:.1f} hours",
        "gradient": f"{gradient / 1e6:.1f} MB",
        "a ring's share of it": f"{ring:.2f}",
        "each GPU sends, a step": f"{sent / 1e6:.1f} MB",
        "over NVLink": f"{wire['nvlink'] * 1e3:.2f} ms, {percent(wire['nvlink'] / step)} of a step",
        "over PCIe": f"{wire['pcie'] * 1e3:.1f} ms, {percent(wire['pcie'] / step)} of a step",
        "each GPU sends, the training": f"{steps * sent / 1e9:.0f} GB",
        "steps": f"{steps:,}",
        "clips to go through": f"{clips * epochs:,}",
        "one GPU": f"{hours[1]:.1f} hours",
        "all, if nothing waits": f"{hours[gpus] * 60:.1f} minutes",
        "all, with the gradient over PCIe": f"{hours[gpus] * 60 * (1 + wire['pcie'] / step):.1f} minutes",
        "GPU hours": f"{hours[1]:.1f}",
        "the same at 5 %": f"{hours[1] * share / 0.05:.1f} GPU hours",
        "the same at 30 %": f"{hours[1] * share / 0.30:.1f} GPU hours",
        "GPU hours when one core prepares": f"{gpus * steps * slow / 3600:.1f}",
        "GPU hours with bytes": f"{gpus * steps * bytes_only / 3600:.1f}",
        "clips in a batch, all": f"{whole}",
        "the last batch of an epoch": f"{last} clips: parts of {math.ceil(last / gpus)} and {last // gpus}",
        "the paper's batch in parts": f"{sizes.count(max(sizes))} of {max(sizes)}, "
        f"{sizes.count(min(sizes))} of {min(sizes)}",
        "of the GPUs' time it uses": percent(paper / (gpus * max(sizes))),
        "its steps": f"{math.ceil(clips / paper) * epochs:,}",
    }


VALUES = computed()


def test_every_row_is_given_or_computed():
    names = [name for name, _, _ in ROWS if name not in ("quantity", "---")]
    assert len(names) == len(set(names))
    assert set(VALUES) <= set(names)
    for name, source, _ in ROWS:
        if name not in {*VALUES, "quantity", "---"}:
            assert re.match(r"(cited|assumed|measured)", source), f"{name}: where from?"


@pytest.mark.parametrize("name", VALUES)
def test_a_row_shows_what_comes_out(name):
    (shown,) = [value for row, _, value in ROWS if row == name]
    assert shown == VALUES[name]


def test_no_other_number_stands_on_the_page():
    """Beside tables and sources: those of the tables, the picture's size, and a whole (1)."""
    text = PAGE.replace(SOURCES, "")
    text = re.sub(r"^\|.*\|$|\]\([^)]*\)|\[\d\]|`[^`]*`", "", text, flags=re.MULTILINE)
    known = " ".join([*(value for _, _, value in ROWS), "64 128 1"])
    numbers = {number.rstrip(".,") for number in re.findall(r"(?<!\w)\d[\d.,]*", text)}
    assert numbers - {number.rstrip(".,") for number in re.findall(r"\d[\d.,]*", known)} == set()


def test_every_citation_has_its_source():
    cited = set(re.findall(r"\[(\d)\]", PAGE.replace(SOURCES, "")))
    assert cited == set(re.findall(r"^(\d)\. ", SOURCES, flags=re.MULTILINE)) and cited


def test_no_price_is_invented():
    assert not re.search(r"[$€£]\s?\d|\d\s?(USD|EUR|dollars?|euros?)", PAGE)
