"""Frames of clips: side by side, in rows, with captions, boxes and saliency maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
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
    house_style,
    new_figure,
    to_numpy,
)


def evenly_spread(total: int, count: int) -> list[int]:
    """``count`` frame numbers, evenly evenly_spread from the first to the last of ``total``."""
    return [int(i) for i in np.linspace(0, total - 1, min(count, total)).round()]


def check_frames(frames: Any, chosen: Sequence[int] | None, captions: Sequence[str] | None):
    """The frames as numpy and the chosen frame numbers, or a ValueError that says what is wrong."""
    frames = to_numpy(frames, "frames", (3, 4))  # (T, H, W) or (T, H, W, 3)
    if frames.ndim == 4 and frames.shape[3] != 3:
        raise ValueError(f"frames: shape {frames.shape}, expected (T, H, W) or (T, H, W, 3)")
    chosen = evenly_spread(len(frames), 8) if chosen is None else [int(i) for i in chosen]
    if not chosen or min(chosen) < 0 or max(chosen) >= len(frames):
        raise ValueError(f"chosen: {chosen}, expected frame numbers from 0 to {len(frames) - 1}")
    if captions is not None and len(captions) != len(chosen):
        raise ValueError(f"captions: {len(captions)} of them for {len(chosen)} chosen frames")
    return frames, chosen


def grid_of_axes(count: int, columns: int, aspect: float, width: float, extra: float):
    """A figure and its axes, row by row, for ``count`` pictures of height/width ``aspect``."""
    columns = min(columns, count)
    rows = -(-count // columns)
    fig = new_figure(width, rows * (width / columns * aspect + extra) + 0.1)
    fig.set_layout_engine("compressed", w_pad=0.02, h_pad=0.03, wspace=0.02, hspace=0.02)
    axes = fig.subplots(rows, columns, squeeze=False).ravel()
    for ax in axes[count:]:
        ax.set_axis_off()
    for ax in axes[:count]:
        ax.set(xticks=[], yticks=[])
        for spine in ax.spines.values():
            spine.set(visible=True, color=RULE)
    return fig, axes[:count]


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
            brightest value of the whole film, so that brightness can be compared between frames.
        chosen: frame numbers; by default eight, evenly evenly_spread.
        captions: one string for each chosen frame.
    """
    frames, chosen = check_frames(frames, chosen, captions)
    if frames.dtype != np.uint8 and frames.ndim == 4:  # matplotlib shows RGB floats only within 0..1
        frames = (frames - frames.min()) / max(float(np.ptp(frames)), 1e-12)
    low, high = (0, 255) if frames.dtype == np.uint8 else (float(frames.min()), float(frames.max()))
    _, height, wide = frames.shape[:3]
    fig, axes = grid_of_axes(len(chosen), columns, height / wide, width, 0.62 if captions else 0.3)
    for i, (ax, t) in enumerate(zip(axes, chosen, strict=True)):
        ax.imshow(frames[t], cmap="gray", vmin=low, vmax=high)
        ax.set_title(f"{t}", fontsize=8, color=FAINT, loc="center", pad=3)
        if captions is not None:
            ax.set_xlabel(captions[i], fontsize=13, labelpad=4)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


@house_style()
def clip_rows(
    clips: Mapping[str, Any],
    captions: Sequence[str] | None = None,
    *,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """One row a clip, its name on the left; column k shows moment k of every clip.

    Args:
        clips: name -> (K, H, W) gray or (K, H, W, 3) RGB, the same K for all; uint8 as it is, floats scaled
            by the darkest and the brightest value of their own clip.
        captions: K strings above the columns, such as frame numbers.
    """
    if not clips:
        raise ValueError("clips: empty, expected at least one named clip")
    rows = {name: to_numpy(clip, f"clips[{name!r}]", (3, 4)) for name, clip in clips.items()}
    count = len(next(iter(rows.values())))
    for name, clip in rows.items():
        if len(clip) != count:
            raise ValueError(f"clips[{name!r}]: {len(clip)} frames, expected {count} as in the first clip")
        if clip.ndim == 4 and clip.shape[3] != 3:
            raise ValueError(f"clips[{name!r}]: shape {clip.shape}, expected (K, H, W) or (K, H, W, 3)")
    if captions is not None and len(captions) != count:
        raise ValueError(f"captions: {len(captions)} of them for {count} columns")
    margin = 0.08 * max(map(len, rows)) + 0.15  # inches for the names
    aspects = [clip.shape[1] / clip.shape[2] for clip in rows.values()]
    column = (width - margin) / count
    fig = new_figure(width, sum(aspects) * column + 0.05 * len(rows) + (0.55 if title else 0.25))
    fig.set_layout_engine("compressed", w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
    axes = fig.subplots(len(rows), count, squeeze=False, height_ratios=aspects)
    for row, (name, clip) in zip(axes, rows.items(), strict=True):
        whole = clip.dtype == np.uint8
        low, high = (0, 255) if whole else (float(clip.min()), float(clip.max()))
        for k, ax in enumerate(row):
            ax.imshow(clip[k], cmap="gray", vmin=low, vmax=high)
            ax.set(xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set(visible=True, color=RULE)
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=10, labelpad=6)
    if captions is not None:
        for ax, caption in zip(axes[0], captions, strict=True):
            ax.set_title(caption, fontsize=8, color=FAINT, loc="center", pad=3)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


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
    """A filmstrip with one box of each kind in every frame, named under it in its color.

    Args:
        frames: (K, H, W) or (K, H, W, 3).
        boxes: kind -> (K, 4): left, top, right, bottom in pixels.
        chosen: the number to write above each frame; by default its place.
    """
    film = to_numpy(frames, "frames", (3, 4))
    if not boxes:
        raise ValueError("boxes: empty, expected at least one named kind")
    corners = {name: to_numpy(kind, f"boxes[{name!r}]", 2) for name, kind in boxes.items()}
    for name, kind in corners.items():
        if kind.shape != (len(film), 4):
            raise ValueError(f"boxes[{name!r}]: shape {kind.shape}, expected ({len(film)}, 4)")
    if chosen is not None and len(chosen) != len(film):
        raise ValueError(f"chosen: {len(chosen)} numbers for {len(film)} frames")
    fig = filmstrip(film, range(len(film)), columns=columns, title=title, width=width)
    for k, ax in enumerate(fig.axes[: len(film)]):
        if chosen is not None:
            ax.title.set_text("")
            ax.set_title(f"{chosen[k]}", fontsize=8, color=ax.title.get_color(), loc="center", pad=3)
        for (name, kind), color in zip(corners.items(), PALETTE[1:] + PALETTE[:1], strict=False):
            left, top, right, bottom = kind[k]
            ax.add_patch(
                Rectangle((left, top), right - left, bottom - top, fill=False, lw=1.8, ec=color, label=name)
            )
    handles = fig.axes[0].get_legend_handles_labels()
    fig.legend(*handles, loc="outside lower left", ncols=len(boxes))
    return fig


BOX_COLORS = (VERMILION, GREEN, SKY, PURPLE, ORANGE)  # those that stand out on gray pictures


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
    """Rows as in :func:`clip_rows`; a kind of box has one color in all of them, and is named below.

    Args:
        clips: name -> (K, H, W) or (K, H, W, 3).
        boxes: name of a clip -> for each of its K frames: kind -> (n, 4) left, top, right, bottom in pixels.
            A clip may have none.
        captions: K strings above the columns.
        dashed: kinds that are drawn with dashes, such as what is there but cannot be seen.

    Raises:
        ValueError: boxes of a clip that is not there, or not one entry for each of its frames.
    """
    for name, frames in boxes.items():
        if name not in clips:
            raise ValueError(f"boxes[{name!r}]: no clip of this name")
        if len(frames) != len(clips[name]):
            raise ValueError(f"boxes[{name!r}]: of {len(frames)} frames, the clip has {len(clips[name])}")
    kinds = list(dict.fromkeys(kind for frames in boxes.values() for frame in frames for kind in frame))
    if len(kinds) > len(BOX_COLORS):
        raise ValueError(f"boxes: {len(kinds)} kinds, expected at most {len(BOX_COLORS)}")
    colors = dict(zip(kinds, BOX_COLORS, strict=False))
    styles = {kind: (0, (2, 1.5)) if kind in dashed else "-" for kind in kinds}
    fig = clip_rows(clips, captions, title=title, width=width)
    columns = len(next(iter(clips.values())))
    for row, name in enumerate(clips):
        for k, frame in enumerate(boxes.get(name, ())):
            ax = fig.axes[row * columns + k]
            for kind, corners in frame.items():
                if not len(corners):
                    continue
                for left, top, right, bottom in to_numpy(corners, f"boxes[{name!r}][{k}][{kind!r}]", 2):
                    ax.add_patch(
                        Rectangle(
                            (left - 0.5, top - 0.5),
                            right - left,
                            bottom - top,
                            fill=False,
                            lw=1.5,
                            ec=colors[kind],
                            ls=styles[kind],
                        )
                    )
    handles = [Line2D([], [], color=colors[kind], ls=styles[kind], lw=1.5, label=kind) for kind in kinds]
    if handles:
        fig.set_size_inches(width, fig.get_size_inches()[1] + 0.3)
        fig.legend(handles=handles, loc="outside lower left", ncols=len(handles))
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
    """One column a moment: the picture with its boxes, the crop, the words transcripts so far.

    Args:
        frames: (K, H, W) of the film.
        crops: (K, h, w) what the reader is shown.
        boxes, dashed: as in :func:`boxed_clip_rows`, for the frames.
        transcripts: K sentences so far; the newest word of each is the one that the sentence before has not.
        captions: K strings above the columns.

    Raises:
        ValueError: not as many of each.
    """
    if not len(frames) == len(crops) == len(boxes) == len(transcripts) == len(captions):
        counts = [len(part) for part in (frames, crops, boxes, transcripts, captions)]
        raise ValueError(f"frames, crops, boxes, transcripts, captions: {counts}, expected as many of each")
    fig = boxed_clip_rows(
        {"clip": frames, "crop": crops}, {"clip": boxes}, captions, dashed=dashed, width=width
    )  # (2 * K axes)
    fig.set_size_inches(width, fig.get_size_inches()[1] + 0.45)
    before = ""
    for ax, words in zip(fig.axes[len(frames) :], transcripts, strict=True):
        new = words[len(before) :].strip() if words.startswith(before) else words
        ax.set_xlabel(new or "·", fontsize=10, color=INK if new else FAINT, fontweight="bold", labelpad=4)
        before = words
    return fig


# From clear to opaque: where the saliency is nothing, the frame is seen untouched.
STOPS = np.array(
    [[0.90, 0.62, 0.0, 0.0], [0.90, 0.62, 0.0, 0.45], [0.84, 0.37, 0.0, 0.8], [0.60, 0.05, 0.1, 0.95]]
)
HEAT = LinearSegmentedColormap.from_list("heat", STOPS)
# The same over white, for the color bar, which has no frame behind it.
HEAT_ON_WHITE = LinearSegmentedColormap.from_list("heat on white", 1 - STOPS[:, 3:] * (1 - STOPS[:, :3]))


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
    """Frames with a saliency map over them, one color scale for the whole film.

    Args:
        frames: (T, H, W) gray or (T, H, W, 3) RGB.
        saliency: (T, H, W), at least 0: for example the size of the gradient at each pixel. The scale ends
            at the 99.5th percentile of the film, so that one hot pixel does not hide all others.
        chosen, captions: as in :func:`lessons.figures.filmstrip`.
    """
    frames, chosen = check_frames(frames, chosen, captions)
    heat = to_numpy(saliency, "saliency", 3).astype(float)  # (T, H, W)
    if heat.shape != frames.shape[:3]:
        raise ValueError(f"saliency: shape {heat.shape}, expected that of the frames, {frames.shape[:3]}")
    if heat.min() < 0:
        raise ValueError(f"saliency: smallest value {heat.min():.3g}; take the absolute value first")
    heat = np.clip(heat / max(float(np.quantile(heat, 0.995)), 1e-12), 0, 1)
    low, high = (0, 255) if frames.dtype == np.uint8 else (float(frames.min()), float(frames.max()))
    _, height, wide = frames.shape[:3]
    fig, axes = grid_of_axes(len(chosen), columns, height / wide, width, 0.62 if captions else 0.3)
    for i, (ax, t) in enumerate(zip(axes, chosen, strict=True)):
        ax.imshow(frames[t], cmap="gray", vmin=low, vmax=high)
        ax.imshow(heat[t], cmap=HEAT, vmin=0, vmax=1, interpolation="bilinear")
        ax.set_title(f"{t}", fontsize=8, color=FAINT, loc="center", pad=3)
        if captions is not None:
            ax.set_xlabel(captions[i], fontsize=13, labelpad=4)
    bar = fig.colorbar(ScalarMappable(cmap=HEAT_ON_WHITE), ax=list(axes), fraction=0.02, pad=0.01, aspect=18)
    bar.set_ticks([0, 1], labels=["none", "most"])
    bar.outline.set_visible(False)
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


Part = tuple[float, float, str]  # begin, end, what
SHOWN = 10  # frames on top
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
    """Words (and phonemes, visemes) as blocks along the frames, with the frames above and curves below.

    Args:
        rows: name -> parts (begin, end, label) in frames. ``sil`` and ``sp`` are drawn pale.
        curves: name -> (T,) values, one a frame, drawn at the middle of their frame.
        clip: (T, H, W) or (T, H, W, 3); ten of the frames in ``span`` stand where they happen.
        span: the first and the last moment shown, in frames; by default all of the first row.
    """
    if not rows or not all(rows.values()):
        raise ValueError("rows: expected at least one named row with parts (begin, end, label)")
    if curves and len(curves) > len(PALETTE):
        raise ValueError(f"curves: {len(curves)}, expected at most {len(PALETTE)}: more cannot be told apart")
    for name, parts in rows.items():
        for begin, end, label in parts:
            if not begin < end:
                raise ValueError(
                    f"rows[{name!r}]: {label!r} lasts from {begin} to {end}; expected begin < end"
                )
    first = next(iter(rows.values()))
    span = span or (first[0][0], first[-1][1])
    frames = None if clip is None else to_numpy(clip, "clip", (3, 4))
    strip = [] if frames is None else [(width - 0.7) / SHOWN * frames.shape[1] / frames.shape[2]]
    ratios = strip + [0.4 * len(rows)] + [1.7] * bool(curves)
    fig = new_figure(width, sum(ratios) + 0.75 + 0.3 * bool(title))
    axes = list(fig.subplots(len(ratios), 1, sharex=True, height_ratios=ratios, squeeze=False)[:, 0])
    last = axes[-1]
    if frames is not None:
        _frames(axes.pop(0), frames, span)
    _blocks(axes.pop(0), rows, span)
    if curves:
        ax = axes.pop(0)
        for (name, values), color in zip(curves.items(), PALETTE, strict=False):
            y = to_numpy(values, f"curves[{name!r}]", 1)
            ax.plot(np.arange(len(y)) + 0.5, y, color=color, marker="o", ms=2.5, lw=1.4, label=name)
        ax.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.1)
    last.set(xlim=span, xlabel="frame")
    if title:
        fig.suptitle(title, x=0.01, ha="left")
    return fig


def _blocks(ax, rows: Mapping[str, Sequence[Part]], span: tuple[float, float]) -> None:
    """One line of labeled blocks a row."""
    for y, parts in enumerate(rows.values()):
        for begin, end, label in parts:
            begin, end = max(begin, span[0]), min(end, span[1])
            if end <= begin:
                continue
            quiet = label in SILENT
            ax.barh(
                y, end - begin, left=begin, height=0.86, lw=0.8, edgecolor="white",
                color=PAPER if quiet else RULE,
            )  # fmt: skip
            room = (end - begin) / (span[1] - span[0]) * 85 / max(len(label), 1)  # characters that would fit
            ax.text(
                (begin + end) / 2, y, label, ha="center", va="center", clip_on=True,
                fontsize=9.5 if room > 1.1 else 7, color=FAINT if quiet else INK,
            )  # fmt: skip
    ax.set_yticks(range(len(rows)), list(rows))
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.spines["left"].set_visible(False)


def _frames(ax, frames: np.ndarray, span: tuple[float, float]) -> None:
    """Frames of the film above the moments they show, side by side."""
    wide = (span[1] - span[0]) / SHOWN
    low, high = (0, 255) if frames.dtype == np.uint8 else (float(frames.min()), float(frames.max()))
    for i in range(SHOWN):
        left = span[0] + i * wide
        t = min(int(left + wide / 2), len(frames) - 1)
        ax.imshow(
            frames[t], cmap="gray", vmin=low, vmax=high, aspect="auto",
            extent=(left + 0.03 * wide, left + 0.97 * wide, 0, 1),
        )  # fmt: skip
    ax.set(ylim=(0, 1), yticks=[])
    ax.spines[:].set_visible(False)
    ax.tick_params(axis="x", length=0)


SPOKEN, UNSPOKEN, WHITE = (20, 20, 20), (190, 190, 190), (255, 255, 255)


def add_subtitles(frames: np.ndarray, words: Sequence[tuple[int, int, str]], width: int = 384) -> np.ndarray:
    """Write a sentence under every frame; a word darkens when it is spoken.

    Args:
        frames: (T, H, W, 3) or (T, H, W) uint8.
        words: (first frame, one past the last, word), in the order of the sentence.
        width: of the film in pixels; an even number, so that it can become a video too.

    Returns:
        (T, H', width, 3) uint8, H' even.

    Raises:
        ValueError: frames of another dtype or shape.
    """
    if frames.dtype != np.uint8 or frames.ndim not in (3, 4):
        raise ValueError(f"frames: {frames.dtype} {frames.shape}, expected uint8 (T, H, W) or (T, H, W, 3)")
    picture_height = round(frames.shape[1] * width / frames.shape[2] / 2) * 2
    strip = max(24, width // 16 * 2)
    sentence = " ".join(word for _, _, word in words)
    size = strip * 0.6
    while ImageFont.load_default(size).getlength(sentence) > width * 0.96 and size > 6:
        size -= 1  # a long sentence is written smaller rather than cut
    font = ImageFont.load_default(size)
    shown = []
    for t, frame in enumerate(frames):
        page = Image.new("RGB", (width, picture_height + strip), WHITE)
        picture = Image.fromarray(frame).convert("RGB")
        page.paste(picture.resize((width, picture_height), Image.Resampling.BICUBIC))
        draw = ImageDraw.Draw(page)
        x = (width - font.getlength(sentence)) / 2
        for start, _, word in words:
            color = SPOKEN if t >= start else UNSPOKEN
            draw.text((x, picture_height + strip / 2), word, fill=color, font=font, anchor="lm")
            x += font.getlength(word + " ")
        shown.append(np.asarray(page))
    return np.stack(shown)  # (T, H', width, 3)
