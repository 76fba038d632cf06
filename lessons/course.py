"""The course table: every notebook with its title, what the reader builds, and the minutes it runs."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Notebook:
    """One notebook of the course. `notebooks/src/{name}.py` is its source."""

    number: int
    slug: str
    title: str
    builds: str
    minutes: int  # running time on one CPU core, rounded up; a plan while written is False
    written: bool = False

    @property
    def name(self) -> str:
        """File name without the ending, for example "02_stcnn"."""
        return f"{self.number:02d}_{self.slug}"

    @property
    def heading(self) -> str:
        """The notebook's first line, for example "# 02 · STCNN"."""
        return f"# {self.number:02d} · {self.title}"


COURSE: tuple[Notebook, ...] = (
    Notebook(0, "start_here", "Start here", "nothing yet: a trained model reads a mouth; the map", 1, True),
    Notebook(
        1, "video_tensors", "Video tensors", "a clip as (B, C, T, H, W): layouts, strides, scale", 1, True
    ),
    Notebook(2, "stcnn", "STCNN: convolution over space and time", "conv3d by loops, its gradient", 1, True),
    Notebook(3, "gru", "GRU: memory with gates", "RNN, LSTM, GRU and both directions", 1, True),
    Notebook(4, "ctc_loss", "CTC, the loss", "blank, collapse, trellis, forward-backward, gradient", 1, True),
    Notebook(
        5, "ctc_decoding", "CTC, decoding", "greedy, prefix beam search, a language model, CER, WER", 1, True
    ),
    Notebook(6, "lipnet", "LipNet", "the whole model, 6,638,844 weights, layer by layer", 1, True),
    Notebook(7, "lip_data", "Lip data", "GRID, word timings, mouth crops, corrupted clips", 1, True),
    Notebook(8, "talker", "Words that look alike", "the synthetic talker, its Bayes error, splits", 1, True),
    Notebook(
        9, "train_lipnet", "Train LipNet", "a training run: plateau, fall, alignments, saliency", 2, True
    ),
    Notebook(10, "strangers", "Strangers", "a lip reader for people whom it never saw", 2, True),
    Notebook(11, "bottleneck", "The bottleneck", "589,824 weights become 69,632", 1, True),
    Notebook(12, "conv_lstm", "ConvLSTM", "an LSTM whose state is an image", 1, True),
    Notebook(13, "bottleneck_lstm", "Bottleneck-LSTM", "the cell from the paper's equations", 1, True),
    Notebook(14, "video_detection", "Video detection", "a small detector, with and without memory", 1, True),
    Notebook(15, "capstone", "Capstone", "one stream: find the mouth, then read it", 1, True),
    Notebook(16, "make_it_fast", "Make it fast", "profile, Amdahl, mixed precision, data loading", 1, True),
    Notebook(17, "scale_and_ship", "Scale and ship", "several processes, folding, a checked export", 1, True),
)


def find(name: str) -> Notebook:
    """The course's entry for a notebook's name.

    Raises:
        ValueError: no notebook has this name; the message lists those there are.
    """
    for notebook in COURSE:
        if notebook.name == name:
            return notebook
    names = ", ".join(notebook.name for notebook in COURSE)
    raise ValueError(f"notebook: found {name!r}, expected one of {names}")
