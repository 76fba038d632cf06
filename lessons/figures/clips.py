"""Frames of clips: side by side, in rows, with captions, boxes, saliency maps and words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from PIL import Image, ImageDraw, ImageFont

from lessons.figures.style import (
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PALETTE,
    PAPER,
    PURPLE,
    RULE,
    SKY,
    VERMILION,
    as_clip,
    at_least,
    colored,
    describe,
    draw_box,
    finish,
    frame_axes,
    gray_scale,
    grid,
    house_style,
    listed,
    name_rows,
    new_figure,
    plural,
    probabilities,
    to_numpy,
    trend,
    visible,
    write,
)

CLOSE = {"w_pad": 0.02, "h_pad": 0.02, "wspace": 0.02, "hspace": 0.02}  # frames stand side by side


def caption(ax: Axes, text: str, color: str = FAINT) -> None:
    """A small text above a frame."""
    ax.set_title(text, fontsize=8, color=color, loc="center", pad=3)


# One clip


@house_style()
def filmstrip(
    frames: Any,
    chosen: Sequence[int] | None = None,
    captions: Sequence[str] | None = None,
    *,
    columns: int = 8,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """Chosen frames side by side, the frame number above and a caption (a letter, a word) below.

    Args:
        frames: (T, H, W) gray or (T, H, W, 3) RGB; uint8 as it is, floats scaled by the darkest and the
            brightest value of the whole clip, so that brightness can be compared between frames.
        chosen: frame numbers; by default eight, evenly spread.
        captions: one string per chosen frame.
    """
    fig, _, chosen = _filmstrip(frames, chosen, captions, columns, width)
    return finish(fig, _told(chosen, captions), title)


@house_style()
def saliency_overlay(
    frames: Any,
    saliency: Any,
    chosen: Sequence[int] | None = None,
    captions: Sequence[str] | None = None,
    *,
    columns: int = 6,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """A filmstrip with a saliency map over each frame, one color scale for the whole clip.

    Args:
        frames, chosen, captions: as in :func:`filmstrip`.
        saliency: (T, H, W), at least 0: for example the size of the gradient at each pixel. The scale ends
            at the 99.5th percentile of the clip, so that one large pixel does not hide all others.
    """
    fig, axes, chosen = _filmstrip(frames, chosen, captions, columns, width)
    shape = np.shape(frames)[:3]
    heat = to_numpy(saliency, "saliency", 3).astype(float)  # (T, H, W)
    if heat.shape != shape:
        raise ValueError(f"saliency: shape {heat.shape}, expected that of the frames, {shape}")
    at_least(heat, 0, "saliency", "absolute values")
    heat = np.clip(heat / max(float(np.quantile(heat, 0.995)), 1e-12), 0, 1)
    for ax, t in zip(axes, chosen, strict=True):
        ax.imshow(heat[t], cmap=HEAT, vmin=0, vmax=1, interpolation="bilinear")
    bar = fig.colorbar(ScalarMappable(cmap=HEAT_ON_WHITE), ax=axes, fraction=0.02, pad=0.01, aspect=18)
    bar.set_ticks([0, 1], labels=["none", "most"])
    bar.outline.set_visible(False)
    return finish(fig, f"Saliency maps over {_told(chosen, captions)}", title)


# From clear to opaque: where the saliency is nothing, the frame is seen untouched.
STOPS = np.array(
    [[0.90, 0.62, 0.0, 0.0], [0.90, 0.62, 0.0, 0.45], [0.84, 0.37, 0.0, 0.8], [0.60, 0.05, 0.1, 0.95]]
)
HEAT = LinearSegmentedColormap.from_list("heat", STOPS)
# The same over white, for the color bar, which has no frame behind it.
HEAT_ON_WHITE = LinearSegmentedColormap.from_list("heat on white", 1 - STOPS[:, 3:] * (1 - STOPS[:, :3]))


@house_style()
def boxed_frames(
    frames: Any,
    boxes: Mapping[str, Any],
    chosen: Sequence[int] | None = None,
    *,
    columns: int = 4,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """A filmstrip of all frames with one box of each kind in every frame, named in its color in the legend.

    Args:
        frames: (K, H, W) or (K, H, W, 3).
        boxes: kind -> (K, 4): left, top, right, bottom in pixels.
        chosen: the number to write above each frame; by default 0 … K-1.
    """
    clip = as_clip(frames, "frames")
    if not boxes:
        raise ValueError("boxes: empty, expected at least one named kind")
    corners = {kind: to_numpy(values, f"boxes[{kind!r}]", 2) for kind, values in boxes.items()}
    for kind, values in corners.items():
        if values.shape != (len(clip), 4):
            raise ValueError(f"boxes[{kind!r}]: shape {values.shape}, expected ({len(clip)}, 4)")
    chosen = range(len(clip)) if chosen is None else chosen
    if len(chosen) != len(clip):
        raise ValueError(f"chosen: {len(chosen)} numbers for {len(clip)} frames")
    fig, axes, _ = _filmstrip(clip, range(len(clip)), None, columns, width)
    for k, ax in enumerate(axes):
        caption(ax, f"{chosen[k]}")
        for (kind, values), color in zip(corners.items(), PALETTE[1:] + PALETTE[:1], strict=False):
            draw_box(ax, values[k], color, 1.8, label=kind)
    fig.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=len(boxes))
    return finish(fig, f"{_told(chosen, None)[:-1]}, with boxes: {listed(boxes)}.", title)


def _filmstrip(
    frames: Any, chosen: Sequence[int] | None, captions: Sequence[str] | None, columns: int, width: float
) -> tuple[Figure, list[Axes], list[int]]:
    """The figure, the axes of the chosen frames, and their numbers."""
    clip = as_clip(frames, "frames")
    if chosen is None:
        chosen = np.linspace(0, len(clip) - 1, min(8, len(clip))).round()
    chosen = [int(t) for t in chosen]
    if not chosen or min(chosen) < 0 or max(chosen) >= len(clip):
        raise ValueError(f"chosen: {chosen}, expected frame numbers from 0 to {len(clip) - 1}")
    if captions is not None and len(captions) != len(chosen):
        raise ValueError(f"captions: {len(captions)} of them for {len(chosen)} chosen frames")
    look = gray_scale(clip)
    if clip.dtype != np.uint8 and clip.ndim == 4:  # matplotlib shows RGB floats only within 0..1
        clip = (clip - clip.min()) / max(float(np.ptp(clip)), 1e-12)
    high = width / min(columns, len(chosen)) * clip.shape[1] / clip.shape[2]
    fig, axes = grid(len(chosen), columns, width, high + (0.62 if captions else 0.3), 0.1)
    fig.set_layout_engine("compressed", **CLOSE | {"h_pad": 0.03})
    for i, (ax, t) in enumerate(zip(axes, chosen, strict=True)):
        frame_axes(ax)
        ax.imshow(clip[t], **look)
        caption(ax, f"{t}")
        if captions is not None:
            ax.set_xlabel(captions[i], fontsize=13, labelpad=4)
    return fig, axes, chosen


def _told(numbers: Sequence[int], captions: Sequence[str] | None) -> str:
    span = f"frame {numbers[0]}" if len(numbers) == 1 else f"frames {numbers[0]} to {numbers[-1]}"
    below = f", captioned {listed(captions, 24)}" if captions else ""
    return f"{plural(len(numbers), 'image')} of a clip, {span}{below}."


# Several clips


@house_style()
def clip_rows(
    clips: Mapping[str, Any],
    captions: Sequence[str] | None = None,
    *,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """One row per clip, its name on the left; column k shows frame k of every clip.

    Args:
        clips: name -> (K, H, W) gray or (K, H, W, 3) RGB, the same K for all; uint8 as it is, floats scaled
            by the darkest and the brightest value of their own clip.
        captions: K strings above the columns, such as frame numbers.
    """
    if not clips:
        raise ValueError("clips: empty, expected at least one named clip")
    rows = {name: as_clip(clip, f"clips[{name!r}]") for name, clip in clips.items()}
    count = len(next(iter(rows.values())))
    for name, clip in rows.items():
        if len(clip) != count:
            raise ValueError(f"clips[{name!r}]: {len(clip)} frames, expected {count} as in the first clip")
    if captions is not None and len(captions) != count:
        raise ValueError(f"captions: {len(captions)} of them for {count} columns")
    fig, axes = rows_of_frames(rows, width, title)
    for line, clip in zip(axes, rows.values(), strict=True):
        for frame, ax in zip(clip, line, strict=True):
            ax.imshow(frame, **gray_scale(clip))
    for ax, text in zip(axes[0], captions or [], strict=False):
        caption(ax, text)
    above = f"; columns: {listed(captions)}" if captions else ""
    names = f": {listed(rows)}" if any(rows) else ""
    alt = f"{plural(len(rows), 'row')} of {plural(count, 'frame')}{names}{above}."
    return finish(fig, alt, title)


def rows_of_frames(
    rows: Mapping[str, np.ndarray], width: float, title: str | None
) -> tuple[Figure, np.ndarray]:
    """A figure and its axes, one row per clip (K, H, W, …), with the names on the left."""
    count = len(next(iter(rows.values())))
    margin = 0.08 * max(map(len, rows)) + 0.15  # inches for the names
    aspects = [clip.shape[1] / clip.shape[2] for clip in rows.values()]
    fig = new_figure(
        width, sum(aspects) * (width - margin) / count + 0.05 * len(rows) + (0.55 if title else 0.25)
    )
    fig.set_layout_engine("compressed", **CLOSE)
    axes = fig.subplots(len(rows), count, squeeze=False, height_ratios=aspects)
    for ax in axes.flat:
        frame_axes(ax)
    for ax, name in zip(axes[:, 0], rows, strict=True):
        ax.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10, labelpad=6)
    return fig, axes


BOX_COLORS = (VERMILION, GREEN, SKY, PURPLE, ORANGE)  # those that stand out on gray frames


@house_style()
def boxed_clip_rows(
    clips: Mapping[str, Any],
    boxes: Mapping[str, Sequence[Mapping[str, Any]]],
    captions: Sequence[str] | None = None,
    *,
    dashed: Sequence[str] = (),
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """Rows as in :func:`clip_rows` with boxes; each kind of box has one color, and is named below.

    Args:
        clips, captions: as in :func:`clip_rows`.
        boxes: name of a clip -> per frame: kind -> (n, 4) left, top, right, bottom in pixels. A clip may have
            none.
        dashed: kinds that are drawn with dashes, such as objects that are there but hidden.

    Raises:
        ValueError: boxes of a clip that is not there, or not one entry per frame.
    """
    for name, frames in boxes.items():
        if name not in clips:
            raise ValueError(f"boxes[{name!r}]: no clip of this name")
        if len(frames) != len(clips[name]):
            raise ValueError(f"boxes[{name!r}]: of {len(frames)} frames, the clip has {len(clips[name])}")
    kinds = list(dict.fromkeys(kind for frames in boxes.values() for frame in frames for kind in frame))
    if len(kinds) > len(BOX_COLORS):
        raise ValueError(f"boxes: {len(kinds)} kinds, expected at most {len(BOX_COLORS)}")
    look = {
        kind: {"color": color, "ls": (0, (2, 1.5)) if kind in dashed else "-", "lw": 1.5}
        for kind, color in zip(kinds, BOX_COLORS, strict=False)
    }
    fig = clip_rows(clips, captions, title=title, width=width)
    columns = len(next(iter(clips.values())))
    for row, name in enumerate(clips):
        for k, frame in enumerate(boxes.get(name, ())):
            for kind, corners in frame.items():
                if len(corners):
                    for box in to_numpy(corners, f"boxes[{name!r}][{k}][{kind!r}]", 2):
                        draw_box(fig.axes[row * columns + k], box - 0.5, **look[kind])
    if kinds:
        fig.set_size_inches(width, fig.get_size_inches()[1] + 0.3)
        handles = [Line2D([], [], label=kind, **look[kind]) for kind in kinds]
        fig.legend(handles=handles, loc="outside lower left", ncols=len(handles))
        describe(fig, f"{fig.alt_text[:-1]}; boxes: {listed(kinds)}.")
    return fig


@house_style()
def live_transcript(
    frames: Any,
    crops: Any,
    boxes: Sequence[Mapping[str, Any]],
    transcripts: Sequence[str],
    captions: Sequence[str],
    *,
    dashed: Sequence[str] = (),
    width: float = 9.5,
) -> Figure:
    """Live lipreading: per moment a column with the frame and its boxes, the mouth crop, the newest word.

    Args:
        frames: (K, H, W) of the clip.
        crops: (K, h, w) the input of the lipreading network.
        boxes, dashed: as in :func:`boxed_clip_rows`, for the frames.
        transcripts: K transcripts so far; the newest word of each is what the one before lacks.
        captions: K strings above the columns.

    Raises:
        ValueError: not as many of each.
    """
    counts = [len(part) for part in (frames, crops, boxes, transcripts, captions)]
    if len(set(counts)) != 1:
        raise ValueError(f"frames, crops, boxes, transcripts, captions: {counts}, expected as many of each")
    rows = {"clip": frames, "crop": crops}
    fig = boxed_clip_rows(rows, {"clip": boxes}, captions, dashed=dashed, width=width)  # (2 * K axes)
    fig.set_size_inches(width, fig.get_size_inches()[1] + 0.45)
    before = ""
    for ax, words in zip(fig.axes[len(frames) :], transcripts, strict=True):
        new = words[len(before) :].strip() if words.startswith(before) else words
        ax.set_xlabel(new or "·", fontsize=10, color=INK if new else FAINT, fontweight="bold", labelpad=4)
        before = words
    return describe(fig, f"{fig.alt_text[:-1]}; transcribed at the end: “{before}”.")


# A clip and its words

Part = tuple[float, float, str]  # start, end, label
FRAMES_SHOWN = 10  # frames above the words
SILENT = ("sil", "sp")


@house_style()
def word_timeline(
    rows: Mapping[str, Sequence[Part]],
    curves: Mapping[str, Any] | None = None,
    clip: Any = None,
    *,
    span: tuple[float, float] | None = None,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """Words (and phonemes, visemes) as blocks over time, with frames of the clip above and curves below.

    Args:
        rows: name -> parts (start, end, label) in frames. ``sil`` and ``sp`` are drawn pale.
        curves: name -> (T,) values, one per frame, drawn at the middle of their frame.
        clip: (T, H, W) or (T, H, W, 3); ten of the frames in ``span`` stand where they happen.
        span: the first and the last moment shown, in frames; by default all of the first row.
    """
    if not rows or not all(rows.values()):
        raise ValueError("rows: expected at least one named row with parts (start, end, label)")
    for name, parts in rows.items():
        for start, end, label in parts:
            if not start < end:
                raise ValueError(f"rows[{name!r}]: {label!r} from {start} to {end}; expected start < end")
    lines = colored(curves, "curves") if curves else []
    first = next(iter(rows.values()))
    span = span or (first[0][0], first[-1][1])
    frames = None if clip is None else as_clip(clip, "clip")
    strip = [] if frames is None else [(width - 0.7) / FRAMES_SHOWN * frames.shape[1] / frames.shape[2]]
    ratios = strip + [0.4 * len(rows)] + [1.7] * bool(lines)
    fig = new_figure(width, sum(ratios) + 0.75 + 0.3 * bool(title))
    axes = list(fig.subplots(len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False)[:, 0])
    axes[-1].set(xlim=span, xlabel="frame")
    if frames is not None:
        _frames_in_time(axes.pop(0), frames, span)
    _blocks(axes.pop(0), rows, span)
    told = [f"{name} {listed((part[2] for part in parts), 12)}" for name, parts in rows.items()]
    for name, values, color in lines:
        y = to_numpy(values, f"curves[{name!r}]", 1)
        axes[0].plot(np.arange(len(y)) + 0.5, y, color=color, marker="o", ms=2.5, lw=1.4, label=name)
        told.append(f"{name} {trend(y)}")
    if lines:
        axes[0].legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1)
    return finish(fig, f"Timeline from frame {span[0]:g} to {span[1]:g}; {'; '.join(told)}.", title)


def _blocks(ax: Axes, rows: Mapping[str, Sequence[Part]], span: tuple[float, float]) -> None:
    """One line of labeled blocks per row."""
    for y, parts in enumerate(rows.values()):
        for start, end, label in parts:
            start, end = max(start, span[0]), min(end, span[1])
            if end <= start:
                continue
            quiet = label in SILENT
            face = PAPER if quiet else RULE
            ax.barh(y, end - start, left=start, height=0.86, lw=0.8, edgecolor="white", color=face)
            room = (end - start) / (span[1] - span[0]) * 85 / max(len(label), 1)  # characters that would fit
            size = 9.5 if room > 1.1 else 7
            write(ax, (start + end) / 2, y, label, clip_on=True, fontsize=size, color=FAINT if quiet else INK)
    name_rows(ax, rows)
    ax.set_ylim(len(rows) - 0.5, -0.5)


def _frames_in_time(ax: Axes, frames: np.ndarray, span: tuple[float, float]) -> None:
    """Frames of the clip above the moments they show, side by side."""
    wide = (span[1] - span[0]) / FRAMES_SHOWN
    for i in range(FRAMES_SHOWN):
        left = span[0] + i * wide
        t = min(int(left + wide / 2), len(frames) - 1)
        extent = (left + 0.03 * wide, left + 0.97 * wide, 0, 1)
        ax.imshow(frames[t], **gray_scale(frames), aspect="auto", extent=extent)
    ax.set(ylim=(0, 1), yticks=[])
    ax.spines[:].set_visible(False)
    ax.tick_params(axis="x", length=0)


@house_style()
def frame_posterior(
    frame: Any, posterior: Any, symbols: Sequence[str], *, title: str | None = None, width: float = 7.5
) -> Figure:
    """One frame, and beside it the probability of each class in this frame, the likeliest in orange.

    Args:
        frame: (H, W) gray or (H, W, 3) RGB.
        posterior: (V,) probabilities.
        symbols: V names, class 0 (the blank) first; a space is drawn as ␣.
    """
    p = probabilities(to_numpy(posterior, "posterior", 1)[None], "posterior")[0]  # (V,)
    if len(p) != len(symbols):
        raise ValueError(f"symbols: {len(symbols)} of them for {len(p)} classes")
    image, best = as_clip(np.asarray(frame)[None], "frame"), int(p.argmax())
    fig = new_figure(width, 2.3)
    left, right = fig.subplots(1, 2, width_ratios=(1, 1.5))
    frame_axes(left)
    left.imshow(image[0], **gray_scale(image))
    right.bar(range(len(p)), p, color=[VERMILION if v == best else FAINT for v in range(len(p))])
    right.set_xticks(range(len(p)), [visible(symbol) for symbol in symbols], fontsize=8)
    right.tick_params(axis="x", length=0)
    right.set(ylim=(0, 1), yticks=[0, 0.5, 1], ylabel="probability", xlabel="class")
    alt = f"A frame, and bars of the probability of {plural(len(p), 'class')}, highest for {symbols[best]!r}."
    return finish(fig, alt, title)


SPOKEN, UNSPOKEN, WHITE = (20, 20, 20), (190, 190, 190), (255, 255, 255)


def add_subtitles(frames: np.ndarray, words: Sequence[tuple[int, int, str]], width: int = 384) -> np.ndarray:
    """Write a sentence under every frame; a word darkens when it is spoken.

    Args:
        frames: (T, H, W, 3) or (T, H, W) uint8.
        words: (first frame, one past the last, word), in the order of the sentence.
        width: of the new frames in pixels; an even number, so that they can become a video too.

    Returns:
        (T, H', width, 3) uint8, H' even.

    Raises:
        ValueError: frames of another dtype or shape.
    """
    if frames.dtype != np.uint8 or frames.ndim not in (3, 4):
        raise ValueError(f"frames: {frames.dtype} {frames.shape}, expected uint8 (T, H, W) or (T, H, W, 3)")
    height = round(frames.shape[1] * width / frames.shape[2] / 2) * 2
    strip = max(24, width // 16 * 2)
    sentence = " ".join(word for _, _, word in words)
    size = strip * 0.6
    while ImageFont.load_default(size).getlength(sentence) > width * 0.96 and size > 6:
        size -= 1  # a long sentence is written smaller rather than cut
    font = ImageFont.load_default(size)
    shown = []
    for t, frame in enumerate(frames):
        page = Image.new("RGB", (width, height + strip), WHITE)
        page.paste(Image.fromarray(frame).convert("RGB").resize((width, height), Image.Resampling.BICUBIC))
        draw = ImageDraw.Draw(page)
        x = (width - font.getlength(sentence)) / 2
        for start, _, word in words:
            color = SPOKEN if t >= start else UNSPOKEN
            draw.text((x, height + strip / 2), word, fill=color, font=font, anchor="lm")
            x += font.getlength(word + " ")
        shown.append(np.asarray(page))
    return np.stack(shown)  # (T, H', width, 3)
