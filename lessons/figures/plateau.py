"""A training run in three lanes on one time axis: the loss, the share of blanks, and what was read when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from lessons.figures.style import FAINT, INK, PALETTE, RULE, house_style, new_figure, to_numpy


@house_style()
def plateau(
    loss: Mapping[str, Any],
    blank_share: Mapping[str, Any],
    *,
    shaded: tuple[float, float] | None = None,
    levels: Mapping[str, float] | None = None,
    texts: Sequence[tuple[int, str]] = (),
    title: str | None = None,
    width: float = 7.5,
) -> Figure:
    """Loss above, share of blanks below it, and readings of one clip at several steps.

    The loss is on a logarithmic axis, where a plateau is flat and the fall after it steep.

    Args:
        loss: name of a run -> (N,) values, one a step.
        blank_share: the same names -> (N,) shares, 0 to 1.
        shaded: (first, last) step of the blank plateau of the first run.
        levels: name -> a loss to draw as a dashed line.
        texts: (step, reading), in the order of the steps; an empty reading is drawn as "nothing".

    Raises:
        ValueError: the two do not hold the same runs, a run has two lengths, or a share is no share.
    """
    if not loss or list(loss) != list(blank_share):
        raise ValueError(f"blank_share: runs {list(blank_share)}, expected those of loss, {list(loss)}")
    fig = new_figure(width, 4.2 + (0.75 if texts else 0))
    heights = [2.6, 1.1, *([0.75] if texts else [])]
    above, below, *lane = fig.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    n_steps = 0
    for (name, values), color in zip(loss.items(), PALETTE, strict=False):
        y = to_numpy(values, f"loss[{name!r}]", 1)
        share = to_numpy(blank_share[name], f"blank_share[{name!r}]", 1)
        if len(share) != len(y):
            raise ValueError(f"blank_share[{name!r}]: {len(share)} steps, loss has {len(y)}")
        if share.min() < 0 or share.max() > 1:
            raise ValueError(
                f"blank_share[{name!r}]: from {share.min():g} to {share.max():g}, expected 0 to 1"
            )
        n_steps = max(n_steps, len(y))
        above.plot(np.arange(len(y)), y, color=color, label=name)
        below.plot(np.arange(len(y)), share, color=color)
    if len(loss) > 1:
        above.legend(loc="upper center")
    for name, level in (levels or {}).items():
        above.axhline(level, color=FAINT, lw=1, ls=(0, (4, 3)), zorder=0)
        above.text(
            0.995, level, name, transform=above.get_yaxis_transform(), ha="right", va="bottom",
            fontsize=9, color=FAINT,
        )  # fmt: skip
    if shaded is not None:
        for ax in (above, below):
            ax.axvspan(*shaded, color=RULE, alpha=0.5, lw=0, zorder=-1)
        above.text(
            shaded[0], 0.03, " blank plateau", transform=above.get_xaxis_transform(),
            ha="left", va="bottom", fontsize=9, color=INK,
        )  # fmt: skip
    above.set(ylabel="loss a character", yscale="log")
    above.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    above.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
    above.yaxis.set_minor_formatter(NullFormatter())
    below.set(ylabel="share of blanks", ylim=(0, 1.05), yticks=[0, 0.5, 1])
    for ax in lane:
        ax.set(ylim=(0, 1), yticks=[])
        ax.spines[["left"]].set_visible(False)
        ax.tick_params(axis="x", length=0)
        for i, (step, text) in enumerate(texts):
            ax.plot([step], [0.97], marker="v", ms=4, color=INK, clip_on=False)
            ax.text(
                step, 0.62 - 0.42 * (i % 2), text or "nothing", ha="left" if i == 0 else "center",
                va="center", fontsize=9, color=INK if text else FAINT, style="normal" if text else "italic",
            )  # fmt: skip
    (lane or [below])[-1].set(xlabel="step", xlim=(-0.01 * n_steps, 1.01 * n_steps))
    if title:
        above.set_title(title)
    return fig
