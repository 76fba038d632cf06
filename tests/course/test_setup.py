"""lessons.setup: one line, and the same line for nbval on every machine."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from IPython.core.formatters import PNGFormatter
from matplotlib.figure import Figure

import lessons
from lessons import figures
from lessons.course import COURSE, find

CFG = (Path(__file__).parents[1] / "nbval.cfg").read_text(encoding="utf-8")


@pytest.fixture(autouse=True)
def keep_threads():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def sanitized(text: str) -> str:
    """As nbval does it."""
    for regex, replacement in re.findall(r"^regex: (.*)\nreplace: (.*)$", CFG, flags=re.MULTILINE):
        text = re.sub(regex, replacement, text)
    return text


def test_one_line_and_one_thread(capsys, monkeypatch):
    monkeypatch.setattr(lessons, "device", lambda: torch.device("cpu"))
    monkeypatch.setattr(torch, "__version__", "2.13.0+cpu")
    torch.set_num_threads(2)
    lessons.setup("00_start_here")
    assert capsys.readouterr().out == "torch 2.13.0 · device cpu · about 1 minute on one CPU core\n"
    assert torch.get_num_threads() == 1


@pytest.mark.parametrize(("version", "device"), [("2.6.0", "cuda"), ("2.15.0.dev2", "mps")])
def test_nbval_sees_no_version_and_no_device(capsys, monkeypatch, version, device):
    lessons.setup("02_stcnn")
    here = capsys.readouterr().out
    monkeypatch.setattr(torch, "__version__", version)
    monkeypatch.setattr(lessons, "device", lambda: torch.device(device))
    lessons.setup("02_stcnn")
    there = capsys.readouterr().out
    assert here != there and sanitized(here) == sanitized(there)
    assert version not in sanitized(there) and f"device {device}" not in sanitized(there)


def test_nbval_still_compares_the_minutes_and_other_text():
    line = "torch 2.13.0 · device cpu · about 1 minute on one CPU core\n"
    assert sanitized(line) != sanitized(line.replace("1 minute", "2 minutes"))
    assert sanitized("loss 0.52\n") == "loss 0.52\n"


def test_unknown_notebook_is_named():
    with pytest.raises(ValueError, match=r"notebook: found '02_cnn', expected one of 00_start_here, "):
        lessons.setup("02_cnn")


def test_course_is_numbered_and_named_once():
    assert [entry.number for entry in COURSE] == list(range(len(COURSE)))
    assert len({entry.slug for entry in COURSE}) == len(COURSE)
    assert all(find(entry.name) is entry for entry in COURSE)


def test_device_exists():
    assert torch.zeros(1, device=lessons.device()).device.type == lessons.device().type


@pytest.mark.parametrize("gpu", [True, False])
def test_the_environment_chooses_the_device(monkeypatch, gpu):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.delenv("LESSONS_DEVICE", raising=False)
    assert lessons.device().type == ("cuda" if gpu else "cpu")
    monkeypatch.setenv("LESSONS_DEVICE", "cpu")
    assert lessons.device().type == "cpu"
    monkeypatch.setenv("LESSONS_DEVICE", "gpu")
    with pytest.raises(
        ValueError, match=r"LESSONS_DEVICE='gpu': expected one of cpu, cuda, mps; or unset it"
    ):
        lessons.device()
    monkeypatch.setenv("LESSONS_DEVICE", "cuda")
    if gpu:
        assert lessons.device().type == "cuda"
    else:
        with pytest.raises(ValueError, match="LESSONS_DEVICE='cuda': torch finds no such device here"):
            lessons.device()


@pytest.mark.parametrize(
    ("png", "expected"),
    [("png", ("png", {"alt": "A line."})), (("png", {"width": 3}), ("png", {"width": 3, "alt": "A line."}))],
)
def test_an_alt_text_goes_into_the_metadata_of_the_output(png, expected):
    formatter = PNGFormatter()
    formatter.for_type(Figure, lambda figure: png)
    lessons._write_alt_texts(formatter)
    assert formatter(figures.describe(Figure(), "A line.")) == expected
    assert formatter(Figure()) == png
    formatter.for_type(Figure, lambda figure: None)
    lessons._write_alt_texts(formatter)
    assert formatter(figures.describe(Figure(), "Nothing drawn.")) is None
