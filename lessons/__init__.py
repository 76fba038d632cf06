"""The finished version of everything that the notebooks build; start at notebooks/00_start_here.ipynb.

Importing `lessons` is cheap: torch is imported by `setup`, or by the first module that needs it.
"""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

from lessons.course import find

if TYPE_CHECKING:
    import torch

__all__ = ["device", "setup"]


def device() -> torch.device:
    """The device to train on: the GPU if there is one, else the CPU.

    The environment variable LESSONS_DEVICE overrides the choice: ``cpu``, ``cuda`` or ``mps``. Apple's MPS is
    never chosen automatically: it has no float64, which our CTC loss needs.

    Raises:
        ValueError: LESSONS_DEVICE names another device, or one that this machine does not have.
    """
    import torch

    available = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    name = os.environ.get("LESSONS_DEVICE") or ("cuda" if available["cuda"] else "cpu")
    if name not in available:
        raise ValueError(f"LESSONS_DEVICE={name!r}: expected one of {', '.join(available)}; or unset it")
    if not available[name]:
        raise ValueError(
            f"LESSONS_DEVICE={name!r}: torch finds no such device here; set it to cpu or unset it"
        )
    return torch.device(name)


def _show_figures_inline() -> None:
    """In a notebook, show a returned Figure as an image with its alt text, with or without pyplot."""
    if "IPython" in sys.modules:
        from IPython import get_ipython

        shell = get_ipython()
        if hasattr(shell, "kernel"):  # a notebook, not a terminal
            shell.run_line_magic("matplotlib", "inline")
            _write_alt_texts(shell.display_formatter.formatters["image/png"])


def _write_alt_texts(formatter) -> None:
    """Let IPython's formatter for PNGs put ``figure.alt_text`` into the metadata of the output."""
    from matplotlib.figure import Figure

    draw = formatter.lookup_by_type(Figure)

    def draw_with_alt_text(figure):
        png = draw(figure)
        if png is None or not getattr(figure, "alt_text", ""):  # an empty figure, one that is not ours
            return png
        png, metadata = png if isinstance(png, tuple) else (png, {})
        return png, {**metadata, "alt": figure.alt_text}

    formatter.for_type(Figure, draw_with_alt_text)


def setup(notebook: str) -> None:
    """Prepare a notebook and print one line: torch's version, the device, the minutes to expect.

    CPU work is set to one thread. The number of threads changes the order of sums, and so the last
    digits: with one thread you see the figures that are printed in the course. On models as small as
    ours one thread is also the fastest on a busy machine. LESSONS_THREADS sets another number.

    Args:
        notebook: its name without the ending, for example "02_stcnn".

    Raises:
        ValueError: no notebook of the course has this name.
    """
    entry = find(notebook)

    import torch

    torch.set_num_threads(int(os.environ.get("LESSONS_THREADS") or 1))
    _show_figures_inline()
    version = torch.__version__.split("+")[0]  # "2.13.0+cpu" is the same torch as "2.13.0"
    minutes = "1 minute" if entry.minutes == 1 else f"{entry.minutes} minutes"
    print(f"torch {version} · device {device().type} · about {minutes} on one CPU core")
