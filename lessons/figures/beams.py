"""Decoding in pictures: which label each path spells, and how the prefixes of a beam grow and merge."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from lessons.figures.style import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    PAPER,
    RULE,
    SKY,
    VERMILION,
    house_style,
    new_figure,
)

Ends = tuple[float, float]  # probability of the paths that end in a blank, and of those that end in a label

EMPTY = "“”"
BAR = 0.6  # width of a bar of probability 1, in columns; bars are scaled so that the longest has this width


def _probability(p: float) -> str:
    """A probability as ".36", or with three places when it is small."""
    return f"{p:.2f}".removeprefix("0") if p >= 0.0995 or p == 0 else f"{p:.3f}".removeprefix("0")


@house_style()
def path_shares(
    labels: Mapping[str, Mapping[str, float]],
    *,
    dropped: Collection[str] | None = None,
    title: str | None = None,
    width: float = 7.0,
) -> Figure:
    """One bar a label, laid together from the probabilities of the paths that spell it.

    The most probable of all paths is red; with ``dropped``, color tells instead which paths are lost.

    Args:
        labels: label -> path -> probability, rows from top to bottom; the empty label is drawn as “”.
        dropped: paths that a search has lost: gray, at the end of their bar.
    """
    if not labels or not all(labels.values()):
        raise ValueError("labels: expected at least one label, each with at least one path")
    shares = [p for paths in labels.values() for p in paths.values()]
    if min(shares) < 0 or sum(shares) > 1 + 1e-6:
        raise ValueError(f"labels: probabilities from {min(shares):g}, in all {sum(shares):g}; at most 1")
    lost = set(dropped or ())
    if strays := lost - {path for paths in labels.values() for path in paths}:
        raise ValueError(f"dropped: {min(strays)!r} is no path of these labels")
    fig = new_figure(width, 0.5 * len(labels) + 1.0)
    ax = fig.add_subplot()
    longest = max(sum(paths.values()) for paths in labels.values())
    for row, paths in enumerate(labels.values()):
        left = 0.0
        for path, p in sorted(paths.items(), key=lambda item: item[0] in lost):
            best = dropped is None and p == max(shares)
            color = RULE if path in lost else VERMILION if best else SKY
            ax.barh(row, p, left=left, height=0.66, color=color, edgecolor="white", lw=1.5)
            if p > 0.07 * longest:
                ax.text(
                    left + p / 2, row, f"{path}\n{_probability(p)}", ha="center", va="center",
                    fontsize=8, color="white" if best else INK, linespacing=1.1,
                )  # fmt: skip
            left += p
        counted = sum(p for path, p in paths.items() if path not in lost)
        total = _probability(left) if dropped is None else f"{_probability(counted)} of {_probability(left)}"
        ax.annotate(total, (left, row), (5, 0), textcoords="offset points", va="center", fontsize=10)
    ax.set_yticks(range(len(labels)), [label or EMPTY for label in labels])
    ax.tick_params(axis="y", length=0, labelsize=11)
    ax.set(
        ylim=(len(labels) - 0.5, -0.5),
        xlim=(0, (1.1 if dropped is None else 1.25) * longest),
        xlabel="probability: one box a path",
    )
    ax.spines[["left"]].set_visible(False)
    if title:
        ax.set_title(title)
    return fig


@house_style()
def beams(
    columns: Sequence[Mapping[str, Ends]],
    kept: Sequence[Collection[str]],
    flows: Sequence[Mapping[tuple[str, str], float]],
    *,
    frames: Sequence[str] = (),
    upto: int | None = None,
    title: str | None = None,
    width: float = 9.0,
) -> Figure:
    """Prefix beam search, frame by frame: a row for each prefix, a column after each frame.

    A bar is as long as its prefix is probable: blue the paths that end in a blank, red those that end in the
    prefix's last letter. Lines carry probability on: level when the prefix stays as it is, downwards when it
    grows. Where lines from two prefixes meet, their paths are merged: a green frame. Gray bars are dropped.

    Args:
        columns: T+1 mappings, prefix -> (probability ending in a blank, ending in the last letter); the first
            is the beam before any frame. Prefixes without probability are left out.
        kept: T+1 collections: the prefixes that stay in the beam.
        flows: T mappings, (prefix before, prefix after) -> probability that goes that way.
        frames: T strings to write under the columns after the first.
        upto: draw only the columns after this many frames, in the same frame of axes; all when None.
    """
    n_frames = len(columns) - 1
    if n_frames < 1 or len(kept) != n_frames + 1 or len(flows) != n_frames:
        raise ValueError(
            f"columns: {len(columns)} with {len(kept)} kept and {len(flows)} flows; expected T+1, T+1 and T"
        )
    if frames and len(frames) != n_frames:
        raise ValueError(f"frames: {len(frames)} strings for {n_frames} frames")
    upto = n_frames if upto is None else upto
    if not 0 <= upto <= n_frames:
        raise ValueError(f"upto: {upto}, expected 0 to {n_frames}")
    strays = [
        prefix for column, stay in zip(columns, kept, strict=True) for prefix in set(stay) - set(column)
    ]
    if strays:
        raise ValueError(f"kept: {strays[0]!r} is not in its column")

    prefixes = sorted({p for column in columns for p, ends in column.items() if sum(ends) > 0})
    row = {prefix: i for i, prefix in enumerate(prefixes)}
    longest = max(sum(ends) for column in columns[1:] for ends in column.values())
    scale = BAR / max(longest, 1e-12)
    fig = new_figure(width, 0.4 * len(prefixes) + 1.15)
    ax = fig.add_subplot()
    for i in range(0, len(prefixes), 2):
        ax.axhspan(i - 0.5, i + 0.5, color=PAPER, lw=0, zorder=0)

    for t in range(1, upto + 1):
        total = {}
        for (before, after), p in flows[t - 1].items():
            if p <= 0:
                continue
            total.setdefault(after, []).append(before)
            stays = after in kept[t]
            ax.plot(
                [t - 1 + min(sum(columns[t - 1][before]) * scale, BAR), t], [row[before], row[after]],
                color=INK if stays else RULE, lw=max(0.7, 9 * p), alpha=0.45 if stays else 0.9,
                solid_capstyle="butt", zorder=2 if stays else 1,
            )  # fmt: skip
        for prefix, ends in columns[t].items():
            if sum(ends) > 0:
                _bar(ax, t, row[prefix], ends, scale, prefix in kept[t], len(total.get(prefix, ())) > 1)
    for prefix, ends in columns[0].items():
        _bar(ax, 0, row[prefix], ends, min(scale, BAR / max(sum(ends), 1e-12)), True, False)

    ax.set_yticks(range(len(prefixes)), [prefix or EMPTY for prefix in prefixes])
    below = [f"frame {t}\n{text}" for t, text in enumerate(frames or [""] * n_frames, start=1)]
    ax.set_xticks(range(n_frames + 1), ["start", *below], ha="left")
    ax.tick_params(length=0)
    ax.tick_params(axis="y", labelsize=11)
    ax.set(ylim=(len(prefixes) - 0.5, -0.5), xlim=(-0.08, n_frames + BAR + 0.12))
    ax.spines[["left", "bottom"]].set_visible(False)
    handles = [
        Patch(color=BLUE, label="ends in a blank"),
        Patch(color=VERMILION, label="ends in its last letter"),
        Patch(facecolor="white", edgecolor=GREEN, lw=1.8, label="merged"),
        Patch(color=RULE, label="dropped"),
    ]
    fig.legend(handles=handles, loc="outside lower right", ncols=4, handlelength=1.2, columnspacing=1.4)
    if title:
        ax.set_title(title)
    return fig


def _bar(ax, x: float, y: float, ends: Ends, scale: float, kept: bool, merged: bool) -> None:
    """A prefix: its two probabilities end to end, and their sum."""
    blank, label = ends
    for left, p, color in ((0.0, blank, BLUE), (blank, label, VERMILION)):
        ax.add_patch(
            Rectangle(
                (x + left * scale, y - 0.2),
                p * scale,
                0.4,
                facecolor=color if kept else RULE,
                lw=0,
                zorder=3,
            )
        )
    if merged:
        ax.add_patch(
            Rectangle(
                (x, y - 0.2), (blank + label) * scale, 0.4, facecolor="none",
                edgecolor=GREEN if kept else FAINT, lw=2.2 if kept else 0.8, zorder=4,
            )
        )  # fmt: skip
    ax.annotate(
        _probability(blank + label), (x + (blank + label) * scale, y), (4, 0), textcoords="offset points",
        va="center", fontsize=8.5, color=INK if kept else FAINT, zorder=5,
        bbox={"facecolor": "white", "alpha": 0.75, "lw": 0, "pad": 0.6},
    )  # fmt: skip
